//! What a cache's own traffic tells: which keys are hot, and when.

mod hot_set;
mod predictor;
mod profile;
mod sketch;
mod successors;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    Clock, Error, ErrorKind, ReadTap, Result, Span, TappedRead, Tier, Timestamp, Ttl,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::{
    hot_set::{Hot, HotSet, Store},
    profile::{Profiles, Season},
};
pub use self::{
    predictor::{Foreseen, Predictor, PredictorConfig, PredictorStats},
    sketch::{About, HotKey, HotKeys},
};
use crate::{
    calendar::time_zone,
    keys::{Candidate, KeySource},
};

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
    /// When it began to listen; nothing where it knows what was before.
    since: Option<Timestamp>,
}

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

#[derive(Debug)]
struct HotSource(Learner);

#[async_trait]
impl KeySource for HotSource {
    fn name(&self) -> &str {
        "learned"
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        self.0.listen();
        let Learner(inner) = &self.0;
        let hot = inner.hits_an_hour(max, inner.clock.now());
        Ok(hot.into_iter().map(|hot| candidate(hot.key, hot.hits_an_hour, hot.about)).collect())
    }
}

#[derive(Debug)]
struct SeasonalSource {
    learner: Learner,
    ahead: Duration,
}

#[async_trait]
impl KeySource for SeasonalSource {
    fn name(&self) -> &str {
        "seasonal"
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        self.learner.listen();
        let Learner(inner) = &self.learner;
        let (now, rate) = (inner.clock.now(), inner.tap.rate());
        let state = inner.state.lock();
        let expected = state.profiles.expected(max, now.after(self.ahead));
        let about =
            |key: &str| state.hot.get(key, now).map_or_else(About::default, |hot| hot.about);
        let expected = expected.into_iter();
        Ok(expected
            .map(|Season { key, reads_an_hour }| {
                candidate(key.as_ref().to_owned(), reads_an_hour / rate, about(&key))
            })
            .collect())
    }
}

fn candidate(key: String, hits_an_hour: f64, about: About) -> Candidate {
    let About { load_cost_us, size, ttl_ms } = about;
    Candidate {
        load_cost: (load_cost_us > 0).then(|| Duration::from_micros(load_cost_us.into())),
        size: (size > 0).then(|| size.into()),
        ttl: (ttl_ms > 0).then(|| Ttl::fresh(Duration::from_millis(ttl_ms.into()))),
        ..Candidate::new(key, hits_an_hour)
    }
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{ByteSize, Cache, ManualClock, MemoryTier};

    use super::*;

    struct Setup {
        clock: ManualClock,
        durable: Arc<dyn Tier>,
    }

    impl Setup {
        fn new() -> Self {
            let clock = ManualClock::new();
            let durable = MemoryTier::shared(ByteSize::mib(4), Arc::new(clock.clone()));
            Self { clock, durable }
        }

        /// A process: its cache and its learner.
        async fn process(&self) -> (Cache<u64>, Learner) {
            let tap = ReadTap::new(1.0).unwrap();
            let builder = Cache::builder("n").read_tap(tap.clone());
            let cache = builder.clock(Arc::new(self.clock.clone())).build().unwrap();
            let config = LearnerConfig::default();
            let learner = Learner::new(config, tap, Arc::new(self.clock.clone())).unwrap();
            let learner = learner.keep_in(Arc::clone(&self.durable), "n").unwrap();
            learner.restore().await.unwrap();
            (cache, learner)
        }
    }

    async fn read(cache: &Cache<u64>, key: &str, times: usize) {
        for _ in 0..times {
            cache.get(key).await.unwrap();
        }
    }

    async fn hot(learner: &Learner) -> Vec<String> {
        let hot = learner.hot().candidates(10).await.unwrap();
        hot.into_iter().map(|candidate| candidate.key).collect()
    }

    #[tokio::test]
    async fn what_was_hot_is_known_to_the_next_process_and_fades_there() {
        let setup = Setup::new();
        let (cache, learner) = setup.process().await;
        read(&cache, "a", 30).await;
        read(&cache, "b", 50).await;
        let learning = learner.spawn();
        assert_eq!(hot(&learner).await, ["b", "a"]);
        learning.stop().await.unwrap();

        let (cache, learner) = setup.process().await;
        assert_eq!(hot(&learner).await, ["b", "a"]);
        setup.clock.advance(Duration::from_secs(20 * 3_600));
        read(&cache, "c", 2).await;
        assert_eq!(hot(&learner).await, ["c", "b", "a"]);
    }

    #[tokio::test]
    async fn processes_add_what_each_of_them_found_hot() {
        let setup = Setup::new();
        let ((one, learns_one), (two, learns_two)) = (setup.process().await, setup.process().await);
        read(&one, "a", 9).await;
        read(&two, "b", 5).await;
        for learner in [learns_one, learns_two] {
            learner.listen();
            learner.save().await.unwrap();
        }
        let (_, third) = setup.process().await;
        assert_eq!(hot(&third).await, ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_writes_at_intervals_and_what_a_tier_has_broken_is_learnt_anew() {
        let setup = Setup::new();
        let (cache, learner) = setup.process().await;
        let _learning = learner.spawn();
        read(&cache, "a", 3).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        let store = Store::new(Arc::clone(&setup.durable), "n").unwrap();
        assert_eq!(store.load().await.unwrap().unwrap().keys[0].key, "a");

        let key = cache_core::Namespace::new("n").unwrap().reserved("warming").key("hot-set");
        let entry = cache_core::Entry::new(
            bytes::Bytes::from_static(b"HOT1 garbage"),
            cache_core::CodecId(0),
            setup.clock.now(),
            Ttl::fresh(Duration::from_secs(9_999)),
        );
        let condition = cache_core::Condition::Always;
        let put = cache_core::Put { key: key.unwrap(), entry, condition };
        setup.durable.put_many(&[put]).await.unwrap();
        assert_eq!(learner.restore().await.unwrap_err().kind(), ErrorKind::Incompatible);
        assert_eq!(learner.save().await.unwrap(), 1);
        assert_eq!(learner.restore().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_a_market_opening_wants_is_known_before_it() {
        let setup = Setup::new();
        // ManualClock begins on Tuesday, 14 November 2023, at 22:13:20 UTC.
        let (cache, learner) = setup.process().await;
        for _day in 0..3 {
            setup.clock.advance(Duration::from_secs(11 * 3_600 + 20 * 60));
            read(&cache, "open", 40).await;
            learner.listen();
            setup.clock.advance(Duration::from_secs(12 * 3_600 + 40 * 60));
            read(&cache, "night", 40).await;
            learner.listen();
        }
        let ahead = |hours: u64| learner.seasonal(Duration::from_secs(hours * 3_600 + 20 * 60));
        let first = ahead(11).candidates(10).await.unwrap();
        assert_eq!(first[0].key, "open");
        assert!(first.iter().all(|candidate| candidate.key != "night"), "{first:?}");
        assert!(ahead(5).candidates(10).await.unwrap().is_empty(), "nobody reads then");
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let default = LearnerConfig::default;
        for (config, name) in [
            (LearnerConfig { keys_max: 0, ..default() }, "keys_max"),
            (LearnerConfig { half_life: Span::millis(5), ..default() }, "half_life"),
            (LearnerConfig { kept_max: 20_000, ..default() }, "kept_max"),
            (LearnerConfig { save_every: Span::millis(5), ..default() }, "save_every"),
            (LearnerConfig { listen_every: Span::millis(5), ..default() }, "listen_every"),
            (LearnerConfig { time_zone: "Mars".to_owned(), ..default() }, "Mars"),
        ] {
            let tap = ReadTap::new(1.0).unwrap();
            let error = Learner::new(config, tap, Arc::new(ManualClock::new())).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
