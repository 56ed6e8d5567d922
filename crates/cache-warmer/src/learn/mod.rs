//! What a cache's own traffic tells: which keys are hot, and when.

mod hot_set;
mod predictor;
mod profile;
mod sketch;
mod sources;
mod successors;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use cache_core::{
    AccessOutcome, Clock, Error, ErrorKind, ReadTap, Result, Span, TappedRead, Tier, Timestamp,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use self::profile::{Profiles, Season};
use self::{
    hot_set::{Hot, HotSet, Store},
    sources::{FollowersSource, HotSource, SeasonalSource},
};
pub use self::{
    predictor::{Foreseen, Predictor, PredictorConfig, PredictorStats},
    sketch::{About, HotKey, HotKeys},
};
use crate::{calendar::time_zone, keys::KeySource};

/// The settings of a [`Learner`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnerConfig {
    /// How many keys are followed. 4,096 unless set, from 1 to 1,048,576. Each takes about 450
    /// bytes and its key twice: 2 MB for 4,096 of 30 bytes, 6 MB for as many of 512.
    pub keys_max: usize,
    /// After which time a read counts half. `"1h"` unless set.
    pub half_life: Span,
    /// How many keys are kept in the tier, at most 10,000. 1,000 unless set.
    pub kept_max: usize,
    /// How often they are written there. `"60s"` unless set.
    pub save_every: Span,
    /// How often what the tap has heard is taken. `"1s"` unless set.
    pub listen_every: Span,
    /// The time zone of the habits of those who read, an IANA name. `"UTC"` unless set.
    pub time_zone: String,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            keys_max: 4_096,
            half_life: Span::secs(3_600),
            kept_max: 1_000,
            save_every: Span::secs(60),
            listen_every: Span::secs(1),
            time_zone: "UTC".to_owned(),
        }
    }
}

impl LearnerConfig {
    fn validate(&self) -> Result<()> {
        let advice = |setting: &str, advice: &str| {
            let message = format!("`{setting}` of the learner is out of its range");
            Err(Error::new(ErrorKind::Config, message).hint(advice))
        };
        if !(1..=1 << 20).contains(&self.keys_max) {
            return advice("keys_max", "set it to 1 to 1048576");
        }
        if self.half_life.0 < Duration::from_secs(1) {
            return advice("half_life", "set it to 1s or more");
        }
        if self.kept_max > hot_set::KEYS_MAX {
            return advice("kept_max", "set it to 10000 at most");
        }
        if self.save_every.0 < Duration::from_secs(1) {
            return advice("save_every", "set it to 1s or more");
        }
        if self.listen_every.0 < Duration::from_millis(10) {
            return advice("listen_every", "set it to 10ms or more");
        }
        Ok(())
    }
}

/// Learns from a [`ReadTap`] which keys are hot, and at what times. Cheap to clone; clones are the
/// same.
///
/// [`hot`](Self::hot) and [`seasonal`](Self::seasonal) are sources of keys for a plan. What is hot is
/// kept in a tier, for the next process: [`keep_in`](Self::keep_in).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use cache_core::{ByteSize, Cache, MemoryTier, ReadTap, SystemClock};
/// use cache_warmer::{Budget, Learner, LearnerConfig, Plan};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// let clock = SystemClock::shared();
/// let durable = MemoryTier::shared(ByteSize::mib(1), Arc::clone(&clock));
/// let tap = ReadTap::new(1.0)?;
/// let cache: Cache<u64> = Cache::builder("price").read_tap(tap.clone()).build()?;
/// let learner = Learner::new(LearnerConfig::default(), tap, clock)?.keep_in(durable, "price")?;
/// learner.restore().await?;
/// let learning = learner.spawn();
///
/// cache.get("AAPL").await?;
/// let plan = Plan::from_sources(&[learner.hot()], Budget::keys(100)).await?;
/// assert_eq!(plan.keys(), ["AAPL"]);
/// learning.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Learner(Arc<Inner>);

struct Inner {
    config: LearnerConfig,
    tap: ReadTap,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    store: Option<Store>,
}

struct State {
    hot: HotKeys,
    profiles: Profiles,
    followers: Option<Followers>,
    /// When it began to listen; nothing where it knows what was before.
    since: Option<Timestamp>,
}

/// What foresees the next reads, and what it named that has not been asked for yet.
struct Followers {
    predictor: Predictor,
    is_cached: IsCached,
    named: VecDeque<Foreseen>,
}

/// How much of the reads a tap hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    All,
    InPart,
}

impl Heard {
    fn by(tap: &ReadTap) -> Self {
        if tap.rate() < 1.0 { Self::InPart } else { Self::All }
    }
}

type IsCached = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// So many foreseen keys wait to be asked for; the oldest go first.
const NAMED_MAX: usize = 1_024;

impl Learner {
    /// A learner that knows nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting out of its range.
    pub fn new(config: LearnerConfig, tap: ReadTap, clock: Arc<dyn Clock>) -> Result<Self> {
        config.validate()?;
        let zone = time_zone(&config.time_zone)?;
        let state = State {
            hot: HotKeys::new(config.keys_max, config.half_life.0),
            profiles: Profiles::new(config.keys_max, zone),
            followers: None,
            since: Some(clock.now()),
        };
        Ok(Self(Arc::new(Inner { config, tap, clock, state: Mutex::new(state), store: None })))
    }

    /// Keeps what is hot of the cache `namespace` in `tier`, a durable one, under a reserved
    /// namespace beside that of the cache: at most 1 MiB.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for what is no namespace, [`ErrorKind::Config`] when the learner
    /// has been cloned already.
    pub fn keep_in(self, tier: Arc<dyn Tier>, namespace: &str) -> Result<Self> {
        let store = Store::new(tier, namespace)?;
        let inner = Arc::try_unwrap(self.0).map_err(|_| {
            Error::new(ErrorKind::Config, "a learner that is in use is given a tier")
                .hint("call `keep_in` before the learner is cloned")
        })?;
        Ok(Self(Arc::new(Inner { store: Some(store), ..inner })))
    }

    /// Learns what the tier has kept, and says how many keys that are. Without a tier none.
    ///
    /// # Errors
    ///
    /// Those of the tier, and [`ErrorKind::Incompatible`] for what cannot be trusted.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has learnt nothing.
    pub async fn restore(&self) -> Result<usize> {
        let Some(store) = &self.0.store else { return Ok(0) };
        let Some(set) = store.load().await? else { return Ok(0) };
        let now = self.0.clock.now();
        let (window_h, decay) = (self.0.window_h(None, now), self.0.decay(set.saved_at, now));
        let mut state = self.0.state.lock();
        for Hot { key, hits_an_hour, about } in &set.keys {
            let reads = hits_an_hour * window_h * decay * self.0.tap.rate();
            state.hot.note(key, reads, *about, now);
        }
        state.since = None;
        Ok(set.keys.len())
    }

    /// Writes what is hot to the tier, together with what other processes found hot that wrote
    /// before, by its age. Says how many keys that are. Without a tier none.
    ///
    /// # Errors
    ///
    /// Those of the tier.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have written.
    pub async fn save(&self) -> Result<usize> {
        let Some(store) = &self.0.store else { return Ok(0) };
        // What cannot be read is replaced.
        let before = store.load().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a hot set cannot be read, and is written anew");
            None
        });
        store.save(&self.0.merged(before)).await
    }

    /// Takes what the tap has heard.
    pub fn listen(&self) {
        let now = self.0.clock.now();
        let bursts = self.0.tap.take();
        let mut state = self.0.state.lock();
        for TappedRead { key, size, ttl_ms, load_cost_us, .. } in bursts.iter().flatten() {
            let about = About { load_cost_us: *load_cost_us, size: *size, ttl_ms: *ttl_ms };
            state.hot.note(key, 1.0, about, now);
            state.profiles.note(key, now);
        }
        state.profiles.pass(now);
        if let Some(followers) = &mut state.followers {
            followers.hear(&bursts, now, Heard::by(&self.0.tap));
        }
    }

    /// The keys that are read most, as a source.
    #[must_use]
    pub fn hot(&self) -> Arc<dyn KeySource> {
        Arc::new(HotSource(self.clone()))
    }

    /// The keys that are usually read at the time `ahead` from now, as a source: those of this half
    /// hour of the day, more or less by the day of the week.
    #[must_use]
    pub fn seasonal(&self, ahead: Duration) -> Arc<dyn KeySource> {
        Arc::new(SeasonalSource { learner: self.clone(), ahead })
    }

    /// Foresees the next reads from what is being read, as a source of keys: each plan is given what
    /// was foreseen since the last one, as long as that pays. `is_cached` says which keys need no
    /// load. Ask often: what is read within a second is foreseen in vain by a plan a minute.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting out of its range.
    pub fn followers(
        &self,
        config: PredictorConfig,
        is_cached: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<dyn KeySource>> {
        self.0.state.lock().followers = Some(Followers {
            predictor: Predictor::new(config)?,
            is_cached: Arc::new(is_cached),
            named: VecDeque::new(),
        });
        Ok(Arc::new(FollowersSource(self.clone())))
    }

    /// How well [`followers`](Self::followers) foresees; nothing where it is not in use.
    #[must_use]
    pub fn foresight(&self) -> Option<PredictorStats> {
        Some(self.0.state.lock().followers.as_ref()?.predictor.stats())
    }

    /// Listens from now on, and writes what is hot to the tier now and then.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "a dropped task ends"]
    pub fn spawn(&self) -> Learning {
        let stop = CancellationToken::new();
        let task = tokio::spawn(learn(self.clone(), stop.clone()));
        Learning { learner: self.clone(), stop, task }
    }
}

impl Inner {
    /// For how many hours' reads a decayed count stands.
    fn window_h(&self, since: Option<Timestamp>, now: Timestamp) -> f64 {
        let half_life_h = self.config.half_life.0.as_secs_f64() / 3_600.0;
        let whole = half_life_h / std::f64::consts::LN_2;
        // In the first minute a few reads would be taken for thousands an hour.
        let heard = since.map_or(f64::INFINITY, |since| now.since(since).as_secs_f64().max(60.0));
        whole * (1.0 - (-heard / 3_600.0 / half_life_h).exp2())
    }

    fn decay(&self, from: Timestamp, now: Timestamp) -> f64 {
        (-now.since(from).as_secs_f64() / self.config.half_life.0.as_secs_f64()).exp2()
    }

    fn hits_an_hour(&self, len: usize, now: Timestamp) -> Vec<Hot> {
        let state = self.state.lock();
        let reads = self.window_h(state.since, now) * self.tap.rate();
        let hot = |hot: HotKey| Hot {
            hits_an_hour: hot.at_least() / reads,
            key: hot.key.as_ref().to_owned(),
            about: hot.about,
        };
        state.hot.top(len, now).into_iter().map(hot).collect()
    }

    fn merged(&self, before: Option<HotSet>) -> HotSet {
        let now = self.clock.now();
        let mut keys = self.hits_an_hour(self.config.kept_max, now);
        if let Some(before) = before {
            let decay = self.decay(before.saved_at, now);
            let known: std::collections::HashSet<String> =
                keys.iter().map(|hot| hot.key.clone()).collect();
            let others = before.keys.into_iter().filter(|hot| !known.contains(&hot.key));
            keys.extend(others.map(|hot| Hot { hits_an_hour: hot.hits_an_hour * decay, ..hot }));
            keys.sort_by(|a, b| {
                b.hits_an_hour.total_cmp(&a.hits_an_hour).then_with(|| a.key.cmp(&b.key))
            });
            keys.truncate(self.config.kept_max);
        }
        HotSet { saved_at: now, keys }
    }
}

/// A task that learns, see [`Learner::spawn`]. Dropped, it ends, and the last moments are not
/// written.
#[derive(Debug)]
pub struct Learning {
    learner: Learner,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Learning {
    /// Ends it, and writes what is hot to the tier.
    ///
    /// # Errors
    ///
    /// Those of the tier.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has ended it, and may not have written.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "a learner ended early");
        }
        self.learner.listen();
        self.learner.save().await.map(drop)
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn learn(learner: Learner, stop: CancellationToken) {
    let mut listen = tokio::time::interval(learner.0.config.listen_every.0);
    let mut save = tokio::time::interval(learner.0.config.save_every.0);
    listen.set_missed_tick_behavior(MissedTickBehavior::Delay);
    save.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, when nothing has been heard.
    save.reset();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = listen.tick() => learner.listen(),
            _ = save.tick() => {
                if let Err(error) = learner.save().await {
                    tracing::warn!(%error, "what is hot could not be written; tried again later");
                }
            }
        }
    }
}

impl Followers {
    fn hear(&mut self, bursts: &[Vec<TappedRead>], now: Timestamp, heard: Heard) {
        for burst in bursts {
            if heard == Heard::InPart {
                // Between bursts reads were passed over.
                self.predictor.cut();
            }
            for TappedRead { key, outcome, .. } in burst {
                let hit = matches!(outcome, AccessOutcome::Near | AccessOutcome::Tier);
                let named = self.predictor.read(key, hit, now, &*self.is_cached);
                self.named.extend(named);
            }
        }
        let above = self.named.len().saturating_sub(NAMED_MAX);
        self.named.drain(..above);
    }
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
