//! Puts a cache together.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::TaskTracker;

use super::{
    Cache,
    cluster::Cluster,
    coherence::{CUT_AFTER_MIN, Coherence, WhenCut},
    flights::{FLIGHTS_MAX, Flights},
    metrics::Metrics,
    near::{Near, NearConfig, NearEngine},
    policy::{Dice, Policy},
    pressure::PressureWatches,
    shared::Shared,
    studies::Studies,
    tag_book::TagBook,
};
use crate::{
    access_log::AccessLog,
    clock::{Clock, SystemClock},
    codec::{Codec, Json},
    entry::{PAYLOAD_LEN_MAX, TTL_MAX},
    error::{Error, ErrorKind, Result},
    event::{Event, Events},
    eviction::Eviction,
    key::Namespace,
    layers::{Guard, Guarded, Observed},
    live_curve::{CurveTracker, LiveCurve},
    load_limit::{LoadLimit, LoadLimitConfig},
    memory::MemoryTier,
    pressure::{Misfit, PressureConfig, PressureGauge, ProcessMemory, TierRoom},
    read_tap::ReadTap,
    stack::Stack,
    tier::Tier,
    ttl_rule::TtlRule,
    units::ByteSize,
};

/// The shortest and the longest period of a lease.
const LEASE_MIN: Duration = Duration::from_millis(50);
const LEASE_MAX: Duration = Duration::from_secs(60);

/// What the generations of tags may take where there is no tier to keep them.
const TAGS_BYTES: ByteSize = ByteSize::mib(4);

/// The limit of a cache that is given none. Its least is not the least there is: many a source
/// answers with errors that do not mean that it is overloaded.
const LOAD_LIMIT: LoadLimitConfig =
    LoadLimitConfig { min: 32, max: 1_024, start: 256, waiting_max: FLIGHTS_MAX };

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Begins a cache of the namespace `namespace` whose values are stored as JSON.
    pub fn builder(namespace: &str) -> Builder<V> {
        Self::builder_with(namespace, Json)
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Begins a cache of the namespace `namespace` whose values are stored by `codec`.
    pub fn builder_with(namespace: &str, codec: impl Codec<V>) -> Builder<V> {
        Builder {
            namespace: namespace.to_owned(),
            codec: Arc::new(codec),
            near: Some(ByteSize::mib(64)),
            near_ttl: TTL_MAX,
            near_eviction: Eviction::default(),
            near_engine: NearEngine::default(),
            near_entries_max: None,
            tiers: Vec::new(),
            policy: Policy::default(),
            load_limit: None,
            seed: None,
            events: None,
            payload_len_max: PAYLOAD_LEN_MAX,
            clock: None,
            guard: Some(Guard::default()),
            lease: None,
            when_cut: WhenCut::default(),
            cut_after: Duration::from_secs(1),
            access_log: None,
            live_curve: None,
            memory_pressure: None,
            memory_gauge: None,
            read_tap: None,
            ttl_rule: None,
        }
    }
}

/// The settings of a [`Cache`] that is about to be built.
///
/// Without any: a near tier of 64 MiB, no other tier, values fresh for 5 minutes and never served
/// stale.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::{ByteSize, Cache, MemoryTier, SystemClock};
///
/// # fn main() -> cache_core::Result<()> {
/// let cache: Cache<String> = Cache::builder("news")
///     .near(ByteSize::mib(16))
///     .tier(MemoryTier::shared(ByteSize::mib(256), SystemClock::shared()))
///     .ttl(Duration::from_secs(600))
///     .max_stale(Duration::from_secs(3_600))
///     .build()?;
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<V> {
    namespace: String,
    codec: Arc<dyn Codec<V>>,
    near: Option<ByteSize>,
    near_ttl: Duration,
    near_eviction: Eviction,
    near_engine: NearEngine,
    near_entries_max: Option<u64>,
    tiers: Vec<Arc<dyn Tier>>,
    policy: Policy,
    load_limit: Option<LoadLimit>,
    seed: Option<u64>,
    events: Option<Events>,
    payload_len_max: usize,
    clock: Option<Arc<dyn Clock>>,
    guard: Option<Guard>,
    lease: Option<Duration>,
    when_cut: WhenCut,
    cut_after: Duration,
    access_log: Option<AccessLog>,
    live_curve: Option<LiveCurve>,
    memory_pressure: Option<PressureConfig>,
    memory_gauge: Option<Arc<dyn PressureGauge>>,
    read_tap: Option<ReadTap>,
    ttl_rule: Option<Arc<dyn TtlRule>>,
}

impl<V: Send + Sync + 'static> Builder<V> {
    /// Bounds the near tier.
    ///
    /// Counted are the values' encoded forms, their keys and 256 bytes each. Without tiers below,
    /// inserts encode nothing: what their values take is measured ([`Codec::measure`]).
    pub fn near(self, bytes_max: ByteSize) -> Self {
        Self { near: Some(bytes_max), ..self }
    }

    /// Does without a near tier: every read asks the first tier.
    pub fn without_near(self) -> Self {
        Self { near: None, ..self }
    }

    /// Bounds how long the near tier keeps a value, and with that how long this process may go on
    /// serving what another process has changed.
    pub fn near_ttl(self, ttl_max: Duration) -> Self {
        Self { near_ttl: ttl_max, ..self }
    }

    /// Which value goes when the near tier is full. The default is what measurements favour.
    ///
    /// Moka holds the values for [`Eviction::Lru`] and [`Eviction::WTinyLfu`], which are policies of
    /// its own; an engine of this crate for all others. Set [`near_engine`](Self::near_engine) to
    /// [`NearEngine::Own`] where values of these two have priorities.
    pub fn near_eviction(self, eviction: Eviction) -> Self {
        Self { near_eviction: eviction, ..self }
    }

    /// What holds the near tier's values.
    pub fn near_engine(self, engine: NearEngine) -> Self {
        Self { near_engine: engine, ..self }
    }

    /// Bounds how many values the near tier keeps, beside their bytes.
    pub fn near_entries_max(self, entries_max: u64) -> Self {
        Self { near_entries_max: Some(entries_max), ..self }
    }

    /// Adds a tier below those added so far: L1 first, then L2.
    pub fn tier(mut self, tier: Arc<dyn Tier>) -> Self {
        self.tiers.push(tier);
        self
    }

    /// All settings of time at once: see [`Policy`] for each, and how they work together.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// How long a value is fresh, unless its [`Item`](crate::Item) says otherwise.
    pub fn ttl(self, fresh: Duration) -> Self {
        self.with(|policy| policy.ttl = fresh)
    }

    /// How long after that a value may still be served, when its load fails or is slow.
    pub fn max_stale(self, stale: Duration) -> Self {
        self.with(|policy| policy.max_stale = stale)
    }

    /// By which share of it, 0 to 0.5, the fresh time is shortened at random: [`Policy::jitter`].
    pub fn jitter(self, share: f64) -> Self {
        self.with(|policy| policy.jitter = share)
    }

    /// How eagerly values are refreshed before they expire, 0 (never) to 10:
    /// [`Policy::early_refresh`].
    pub fn early_refresh(self, eagerness: f64) -> Self {
        self.with(|policy| policy.early_refresh = eagerness)
    }

    /// After which time a caller that waits for a load is answered by a stale value, if there is
    /// one.
    pub fn soft_timeout(self, limit: Duration) -> Self {
        self.with(|policy| policy.soft_timeout = Some(limit))
    }

    /// How long a load may take. 30 s unless set, and at most what every tier remembers fences for.
    pub fn load_timeout(self, limit: Duration) -> Self {
        self.with(|policy| policy.load_timeout = limit)
    }

    /// Remembers for so long that the source has no value under a key.
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.with(|policy| policy.negative_ttl = Some(ttl))
    }

    /// For how long after its last write a [`Session`](crate::Session) reads its own writes.
    pub fn session_ttl(self, ttl: Duration) -> Self {
        self.with(|policy| policy.session_ttl = ttl)
    }

    /// How many loads may run at the same time: a limit that caches and warmers of one source share.
    ///
    /// A load that finds no room is not started where there is a stale value, which answers instead;
    /// else it waits for room for at most the `load_timeout`. Refreshes in the background leave
    /// room for misses. A batch counts as one load. Unless set, a cache has a limit of its own,
    /// which begins at 256 and adapts between 32 and 1,024.
    pub fn load_limit(self, limit: LoadLimit) -> Self {
        Self { load_limit: Some(limit), ..self }
    }

    /// Makes jitter and early refreshes the same in every run, for tests and simulations.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Where the cache's events go, where several caches share one place. Its own unless set.
    pub fn events(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// The largest encoded value. 16 MiB unless set.
    pub fn payload_len_max(self, limit: ByteSize) -> Self {
        let payload_len_max = usize::try_from(limit.as_u64()).unwrap_or(usize::MAX);
        Self { payload_len_max, ..self }
    }

    /// What is around each tier that has a server, so that its outage stays its own: see [`Guard`]
    /// for what that is unless set.
    pub fn guard(self, guard: Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Leaves the tiers as they are, for those that bring guards of their own.
    pub fn without_guards(self) -> Self {
        Self { guard: None, ..self }
    }

    /// Has one process at a time load a key that all of them miss, by a lease in the topmost tier
    /// that gives leases. It is renewed during the load; a process that dies holds the others up
    /// for `period`. While there are no leases to be had, each process loads for itself. Batch
    /// loads and refreshes take none.
    pub fn lease(self, period: Duration) -> Self {
        Self { lease: Some(period), ..self }
    }

    /// What the near tier does when nothing was heard for `after` of what other processes change:
    /// the log of a tier cannot be reached. It goes on unless set, and 1 s counts as cut off. At
    /// least 100 ms; a third of it is how often the tier's server is asked whether there is anything.
    pub fn when_cut(self, policy: WhenCut, after: Duration) -> Self {
        Self { when_cut: policy, cut_after: after, ..self }
    }

    /// Records the cache's reads, or a sample of them, for `cache-cli simulate` and for warming. Caches
    /// may share a log.
    pub fn access_log(self, log: AccessLog) -> Self {
        Self { access_log: Some(log), ..self }
    }

    /// Estimates while the cache runs what other sizes of its near tier would bring, and tells it in
    /// [`CacheStats::curve`](crate::CacheStats::curve).
    pub fn live_curve(self, settings: LiveCurve) -> Self {
        Self { live_curve: Some(settings), ..self }
    }

    /// Watches memory as long as the cache lives, and has its tiers give way while it is short.
    ///
    /// The near tier and tiers in this process give way to the memory of the process, against the
    /// limit of its cgroup or that of [`memory_gauge`](Self::memory_gauge). Each tier that has a room
    /// of its own ([`Tier::room`]: PostgreSQL, SQLite, a Redis whose entries are tracked) gives way to
    /// that. See [`PressureConfig`] for when and how far; [`CacheStats::pressure`] has what was done,
    /// and [`Event::MemoryPressure`] tells of it. When the cache ends, they have their room back.
    ///
    /// It is not on unless asked for: it asks each server once in `interval`, and what it has a
    /// server evict is missing to all processes that share it. An application decides that, not a
    /// library.
    ///
    /// [`CacheStats::pressure`]: crate::CacheStats::pressure
    pub fn memory_pressure(self, settings: PressureConfig) -> Self {
        Self { memory_pressure: Some(settings), ..self }
    }

    /// What tells the memory of this process for [`memory_pressure`](Self::memory_pressure), where
    /// the limit of the cgroup is not the one that counts:
    /// `ProcessMemory::new().with_limit(ByteSize::gib(2))`.
    pub fn memory_gauge(self, gauge: Arc<dyn PressureGauge>) -> Self {
        Self { memory_gauge: Some(gauge), ..self }
    }

    /// Has a tap hear a sample of the cache's reads, for who learns from them.
    pub fn read_tap(self, tap: ReadTap) -> Self {
        Self { read_tap: Some(tap), ..self }
    }

    /// Has `rule` decide how long a loaded value is fresh, such as an
    /// [`AdaptiveTtl`](crate::AdaptiveTtl). What its [`Item`](crate::Item) says goes before it; what
    /// is inserted has the cache's `ttl`.
    pub fn ttl_rule(self, rule: impl TtlRule) -> Self {
        Self { ttl_rule: Some(Arc::new(rule)), ..self }
    }

    /// Another clock: a [`ManualClock`](crate::ManualClock) in tests. Give the tiers the same one.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for the namespace, those of [`Policy::validate`], and
    /// [`ErrorKind::Config`] when a setting of the live curve is out of its range, there is neither a
    /// near tier nor another one, two tiers have the
    /// same name, the settings of the memory's pressure are out of their bounds or there is a gauge
    /// without them, or a load may take longer than a tier remembers its fences.
    pub fn build(self) -> Result<Cache<V>> {
        let namespace = Namespace::new(&self.namespace)?;
        let clock = self.clock.unwrap_or_else(SystemClock::shared);
        let policy = self.policy.validate()?;
        for tier in &self.tiers {
            check_retention(&**tier, policy.load_timeout)?;
        }
        let retentions = self.tiers.iter().map(|tier| tier.info().fence_retention);
        let fence_retention = retentions.min().unwrap_or(Duration::MAX);
        let events = self.events.unwrap_or_default();
        let observed: Vec<Arc<Observed>> = self
            .tiers
            .into_iter()
            .map(|tier| guarded(tier, self.guard.as_ref(), &events))
            .map(|tier| Arc::new(Observed::new(tier)))
            .collect();
        let tiers: Vec<Arc<dyn Tier>> =
            observed.iter().map(|tier| Arc::clone(tier) as Arc<dyn Tier>).collect();
        let stack = match (tiers.is_empty(), self.near) {
            (true, None) => {
                return Err(Error::new(ErrorKind::Config, "a cache needs a near tier or another")
                    .hint("add one with `tier`, or leave out `without_near`"));
            }
            (true, Some(_)) => None,
            (false, _) => Some(Arc::new(
                Stack::new(tiers, Arc::clone(&clock))?
                    .with_events(events.clone())
                    .with_followed_logs(),
            )),
        };
        let tags =
            TagBook::new(&namespace, keeper_of_tags(stack.as_ref(), &clock)?, Arc::clone(&clock))?;
        let cluster = match self.lease {
            Some(period) => Some(cluster(stack.as_deref(), period, &namespace, &events)?),
            None => None,
        };
        if self.when_cut != WhenCut::Serve && self.cut_after < CUT_AFTER_MIN {
            let message = format!(
                "`when_cut` after {:?}: a process would count as cut off all the time",
                self.cut_after
            );
            let hint = format!("choose {CUT_AFTER_MIN:?} at least");
            return Err(Error::new(ErrorKind::Config, message).hint(hint));
        }
        if self.near_entries_max == Some(0) {
            let message = "`near_entries_max` is 0: the near tier could keep nothing";
            return Err(Error::new(ErrorKind::Config, message)
                .hint("leave it out, or do without a near tier by `without_near`"));
        }
        let pressure = pressure(self.memory_pressure, self.memory_gauge)?;
        for tier in &observed {
            if let Some(Misfit { found, change }) =
                tier.room().as_ref().and_then(TierRoom::misfit).cloned()
            {
                let tier = Arc::clone(tier.name());
                events.emit(Event::EvictionMisfit { tier, found, change });
            }
        }
        let near = self.near.map(|bytes_max| {
            let config = NearConfig {
                bytes_max: bytes_max.as_u64(),
                entries_max: self.near_entries_max,
                ttl_max: self.near_ttl,
                eviction: self.near_eviction,
                engine: self.near_engine,
                seed: self.seed,
            };
            Near::new(config, Arc::clone(&clock))
        });
        let curve = self.live_curve.map(LiveCurve::validate).transpose()?;
        let curve = curve.map(|settings| CurveTracker::new(settings, self.seed));
        let coherence =
            Coherence::new(stack.as_deref(), clock.now(), self.when_cut, self.cut_after);
        Ok(Cache(Arc::new(Shared {
            namespace,
            codec: self.codec,
            clock,
            near,
            stack,
            tags,
            observed,
            coherence,
            cluster,
            events,
            auditor: RwLock::default(),
            pressure,
            studies: Studies::new(self.access_log, curve, self.read_tap),
            flights: Flights::new(),
            metrics: Metrics::default(),
            policy,
            ttl_rule: self.ttl_rule,
            load_limit: self.load_limit.unwrap_or_else(|| LoadLimit::new(LOAD_LIMIT)),
            dice: Dice::new(self.seed),
            fence_retention,
            payload_len_max: self.payload_len_max,
            tasks: TaskTracker::new(),
        })))
    }
}

/// A tier that has a server, in its guard.
fn guarded(tier: Arc<dyn Tier>, guard: Option<&Guard>, events: &Events) -> Arc<dyn Tier> {
    match guard {
        Some(guard) if guard.patience.or(tier.info().patience).is_some() => {
            Arc::new(Guarded::new(tier, guard.clone(), events.clone()))
        }
        _ => tier,
    }
}

fn pressure(
    settings: Option<PressureConfig>,
    memory: Option<Arc<dyn PressureGauge>>,
) -> Result<PressureWatches> {
    if settings.is_none() && memory.is_some() {
        let message = "`memory_gauge` is set, and nobody reads it";
        return Err(Error::new(ErrorKind::Config, message)
            .hint("set `memory_pressure` as well, or leave it out"));
    }
    let settings = settings.map(PressureConfig::validate).transpose()?;
    Ok(PressureWatches::new(settings, memory.unwrap_or_else(|| Arc::new(ProcessMemory::new()))))
}

fn cluster(
    stack: Option<&Stack>,
    period: Duration,
    namespace: &Namespace,
    events: &Events,
) -> Result<Arc<Cluster>> {
    if !(LEASE_MIN..=LEASE_MAX).contains(&period) {
        let message = format!("the lease period is {period:?}");
        return Err(Error::new(ErrorKind::Config, message)
            .hint(format!("choose one from {LEASE_MIN:?} to {LEASE_MAX:?}")));
    }
    let leases = stack.and_then(|stack| {
        let mut tiers = stack.tiers().iter().enumerate();
        tiers.find_map(|(level, tier)| Some((level, tier.leases()?)))
    });
    let Some(leases) = leases else {
        return Err(Error::new(ErrorKind::Config, "`lease` is set, and no tier gives leases")
            .hint("add a tier that does (Redis, PostgreSQL, SQLite), or leave `lease` out"));
    };
    Ok(Arc::new(Cluster::new(leases, period, namespace, events.clone())))
}

/// Where the generations of tags are kept: with the entries, or in memory where there is only a near
/// tier.
fn keeper_of_tags(stack: Option<&Arc<Stack>>, clock: &Arc<dyn Clock>) -> Result<Arc<Stack>> {
    match stack {
        Some(stack) => Ok(Arc::clone(stack)),
        None => {
            let tier = MemoryTier::shared(TAGS_BYTES, Arc::clone(clock));
            Ok(Arc::new(Stack::new(vec![tier], Arc::clone(clock))?))
        }
    }
}

/// A removal is remembered for a while only: a load that outlives it could undo it.
fn check_retention(tier: &dyn Tier, load_timeout: Duration) -> Result<()> {
    let info = tier.info();
    if load_timeout <= info.fence_retention {
        return Ok(());
    }
    let message = format!(
        "`load_timeout` is {load_timeout:?}, and `{}` remembers fences for {:?} only",
        info.name, info.fence_retention,
    );
    Err(Error::new(ErrorKind::Config, message)
        .hint("lower `load_timeout`, or raise the tier's `fence_retention`"))
}

impl<V> fmt::Debug for Builder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("namespace", &self.namespace)
            .field("near", &self.near)
            .field("tiers", &self.tiers)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
