//! Plans that are made anew of sources of keys, again and again.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    keys::{Budget, KeySource},
    plan::Plan,
    run::Runner,
    warmer::{Mode, Warmer},
};

/// The shortest time between two plans.
const EVERY_MIN: Duration = Duration::from_millis(10);

impl<V: Send + Sync + 'static> Warmer<V> {
    /// Makes a plan of `sources` every `every`, and warms what is due of it, unless
    /// `cache_warming_enabled` is off. It begins after a random part of
    /// [`start_jitter`](crate::WarmerConfig::start_jitter), and ends when the answer is dropped.
    ///
    /// This is what carries a prediction out: what follows is read within a second, so ask
    /// [`Learner::followers`](crate::Learner::followers) every quarter of one, and
    /// [`Learner::seasonal`](crate::Learner::seasonal) every few minutes, that far ahead. A plan
    /// that is still being warmed when the next one falls due has that one wait. Sources that fail
    /// or name nothing cost one plan.
    ///
    /// [`stats`](Self::stats) tells under `name` what was done and what came of it, for the keys
    /// of the latest plan.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use cache_core::{Cache, ReadTap, SystemClock};
    /// use cache_warmer::{
    ///     Budget, Learner, LearnerConfig, PredictorConfig, Warmer, WarmerConfig, sample,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> cache_core::Result<()> {
    /// let tap = ReadTap::new(1.0)?;
    /// let cache: Cache<serde_json::Value> =
    ///     Cache::builder("price").read_tap(tap.clone()).build()?;
    /// let learner = Learner::new(LearnerConfig::default(), tap, SystemClock::shared())?;
    /// let near = cache.clone();
    /// let followers = learner.followers(PredictorConfig::default(), move |key| {
    ///     near.peek(key).is_some_and(|hit| !hit.is_stale())
    /// })?;
    /// let warmer = Warmer::new(cache, Arc::new(sample::prices()), WarmerConfig::default())?;
    /// let every = Duration::from_millis(250);
    /// let foresight = warmer.spawn_plans("followers", vec![followers], Budget::keys(100), every);
    /// assert!(foresight.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a dropped planning ends"]
    pub fn spawn_plans(
        &self,
        name: &str,
        sources: Vec<Arc<dyn KeySource>>,
        budget: Budget,
        every: Duration,
    ) -> Option<Planning> {
        let runner = self.runner();
        let work = plan_and_warm(Arc::clone(runner), name.into(), sources, budget, every);
        let enabled = runner.config.cache_warming_enabled;
        enabled.then(|| Planning { _task: AbortOnDropHandle::new(tokio::spawn(work)) })
    }
}

/// A task that plans and warms, see [`Warmer::spawn_plans`]. Dropped, it ends: loads that are under
/// way still fill the cache.
#[derive(Debug)]
#[must_use = "a dropped planning ends"]
pub struct Planning {
    _task: AbortOnDropHandle<()>,
}

async fn plan_and_warm<V: Send + Sync + 'static>(
    runner: Arc<Runner<V>>,
    name: Arc<str>,
    sources: Vec<Arc<dyn KeySource>>,
    budget: Budget,
    every: Duration,
) {
    runner.pause_at_start().await;
    let mut tick = tokio::time::interval(every.max(EVERY_MIN));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let plan = match Plan::from_sources(&sources, budget).await {
            Ok(plan) => plan.called(Arc::clone(&name)),
            Err(error) => {
                tracing::warn!(plan = %name, %error, "no source of keys named any; asked again later");
                continue;
            }
        };
        if !plan.is_empty() {
            runner.watched.lock().watch(&runner.cache, &plan);
            runner.run_named(&plan, Mode::Due).await;
        }
    }
}
