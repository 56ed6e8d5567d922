//! Brings a source's values into a cache.

use std::{fmt, sync::Arc};

use cache_core::{Cache, Log, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    brake::Brake,
    config::WarmerConfig,
    pace::Pace,
    plan::Plan,
    report::{Report, WarmerStats},
    run::Runner,
    schedule::Schedule,
    source::Source,
};

/// Which keys of a plan are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Those that the cache does not have, has stale, or will have stale within
    /// [`lead`](WarmerConfig::lead).
    Due,
    /// All of them.
    Forced,
}

/// Is told how a run goes on. Closures over a [`Report`] are one.
pub trait Progress: Send + Sync {
    /// Some more keys are settled. `so_far` is the run's report up to here, without its duration;
    /// [`done`](Report::done) of [`planned`](Report::planned) is how far it got.
    fn advanced(&self, so_far: &Report);
}

impl<F: Fn(&Report) + Send + Sync> Progress for F {
    fn advanced(&self, so_far: &Report) {
        self(so_far);
    }
}

/// Loads keys from a source into a cache, before anybody asks for them.
///
/// Cheap to clone; clones share their bound on concurrent loads and their statistics.
///
/// A value is written under the key that readers read, with the fence that was read before its
/// load: warming never undoes an insert or an invalidation, and never replaces a newer version. A
/// load that fails leaves what the cache has.
pub struct Warmer<V>(Arc<Runner<V>>);

impl<V: Send + Sync + 'static> Warmer<V> {
    /// A warmer of `cache` from `source`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](cache_core::ErrorKind::Config) for a setting out of its range.
    pub fn new(cache: Cache<V>, source: Arc<dyn Source<V>>, config: WarmerConfig) -> Result<Self> {
        config.validate()?;
        let events = cache.events().clone();
        Ok(Self(Arc::new(Runner {
            cache,
            source,
            brake: Arc::new(Brake::new(config.concurrency, config.live_slowdown_max, events)),
            pace: Pace::new(config.keys_per_s_max),
            config,
            stats: Mutex::default(),
            watched: Mutex::default(),
        })))
    }

    /// Warms the keys of `plan` now.
    ///
    /// Failures are no error: the report counts them by reason.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, no further load is started. Those under way go on and fill the
    /// cache. The run is not counted.
    pub async fn warm(&self, plan: &Plan, mode: Mode) -> Report {
        self.warm_with(plan, mode, &|_: &Report| ()).await
    }

    /// As [`warm`](Self::warm), and tells `progress` how it goes on.
    ///
    /// # Cancel safety
    ///
    /// As `warm`.
    pub async fn warm_with(&self, plan: &Plan, mode: Mode, progress: &dyn Progress) -> Report {
        let never = CancellationToken::new();
        let deadline = self.0.deadline();
        let mut on_settled = |_: &[_], so_far: &Report| progress.advanced(so_far);
        let report = self.0.run(plan, mode, &never, deadline, &mut on_settled).await;
        self.0.stats.lock().add_plan(plan.name(), &report);
        report
    }

    /// Warms what is due of `plan` once, unless `cache_warming_enabled` is off.
    ///
    /// # Cancel safety
    ///
    /// As [`warm`](Self::warm).
    pub async fn run_at_startup(&self, plan: &Plan) -> Option<Report> {
        if !self.0.config.cache_warming_enabled {
            return None;
        }
        Some(self.warm(plan, Mode::Due).await)
    }

    /// Keeps the keys of `plan` warm from now on, unless `cache_warming_enabled` is off.
    ///
    /// It begins at once with what is due, and then loads each key shortly before it expires
    /// ([`lead`](WarmerConfig::lead)). What cannot be loaded is tried again after 1 s, 2 s, 4 s, and
    /// so on up to the interval; what the source does not have, or refuses for good, after the
    /// interval.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "a dropped schedule ends"]
    pub fn spawn_schedule(&self, plan: &Plan) -> Option<Schedule> {
        let enabled = self.0.config.cache_warming_enabled;
        enabled.then(|| Schedule::spawn(Arc::clone(&self.0), plan.clone(), None))
    }

    /// As [`spawn_schedule`](Self::spawn_schedule), and loads a key of the plan anew as soon as `log`
    /// tells that it was changed, if it is one that is read: the next reader finds the new value.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "a dropped schedule ends"]
    pub fn spawn_schedule_with(&self, plan: &Plan, log: Arc<dyn Log>) -> Option<Schedule> {
        let enabled = self.0.config.cache_warming_enabled;
        enabled.then(|| Schedule::spawn(Arc::clone(&self.0), plan.clone(), Some(log)))
    }

    /// What all runs of this warmer and its clones did so far.
    #[must_use]
    pub fn stats(&self) -> WarmerStats {
        let mut stats = self.0.stats.lock().clone();
        self.0.watched.lock().tell(&mut stats);
        stats
    }

    pub(crate) const fn runner(&self) -> &Arc<Runner<V>> {
        &self.0
    }

    /// Counts from now on what readers make of the keys of `plan`, in place of those of an earlier
    /// plan of its name: [`stats`](Self::stats) then tells what warming was good for, by plan and by
    /// source of keys. A schedule watches its plan by itself.
    pub fn watch(&self, plan: &Plan) {
        self.0.watched.lock().watch(&self.0.cache, plan);
    }

    /// How many calls of the source may be under way now: `concurrency`, or less while the source
    /// suffers; below 1 there are pauses between calls.
    #[must_use]
    pub fn concurrency_now(&self) -> f64 {
        self.0.brake.calls_now()
    }

    /// Which part of the time it may work on the tiers now, 0 to 1: little at the beginning and
    /// while live reads suffer, more while they are well or nobody reads.
    #[must_use]
    pub fn share_now(&self) -> f64 {
        self.0.brake.share_now()
    }
}

impl<V> Clone for Warmer<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Warmer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer")
            .field("cache", &self.0.cache)
            .field("source", &self.0.source)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
