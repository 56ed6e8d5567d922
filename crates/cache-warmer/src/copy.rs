//! Brings to a tier what the tiers below it have, without asking a source.

use std::{sync::Arc, time::Duration};

use cache_core::{Clock, Copied, Error, ErrorKind, Event, Key, Namespace, Result, Stack, Tier};
use futures::{StreamExt, stream};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    outcome::{Fault, Outcome, SUPERSEDED},
    plan::Plan,
    report::Report,
    run::Runner,
    warmer::Warmer,
};

/// How often a batch is tried, and how long after a failure: a server that has just lost its data
/// may refuse the first calls.
const TRIES: u32 = 4;
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How many keys a refill copies at once, which is what a live read waits for at most.
const PIECE_LEN: usize = 32;

impl<V: Send + Sync + 'static> Warmer<V> {
    /// Copies to the tier `to` of the warmer's cache what the tiers below it have of `plan`: version
    /// by version, with the remaining life, and without a call of the source. In the plan's order, so
    /// name the hottest keys first, as a plan of sources does; and as fast as live reads bear, within
    /// [`live_slowdown_max`](crate::WarmerConfig::live_slowdown_max) and
    /// [`keys_per_s_max`](crate::WarmerConfig::keys_per_s_max).
    ///
    /// What no lower tier has is left out: the report counts it as skipped, `not_below`. What the
    /// tier must not be given just now (it has still to be told of a change) counts as `blocked`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future copies no more.
    pub async fn refill(&self, plan: &Plan, to: &str) -> Report {
        self.runner().refill(plan, to).await
    }

    /// Refills the tier `to` from the tiers below it whenever it has lost its data, as a Redis has
    /// that was flushed or restarted. Ends when the answer is dropped.
    ///
    /// It waits for a random part of [`start_jitter`](crate::WarmerConfig::start_jitter) first, and
    /// copies nothing that another node has copied meanwhile.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "a dropped refill ends"]
    pub fn spawn_refill(&self, plan: &Plan, to: &str) -> Refilling {
        let (runner, plan, to) = (Arc::clone(self.runner()), plan.clone(), to.to_owned());
        let mut events = runner.cache.events().subscribe();
        let task = tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(Event::TierLostData { tier, .. } | Event::LogGap { tier })
                        if *tier == *to => {}
                    // What was lost may have been such an event.
                    Err(RecvError::Lagged(_)) => {}
                    Ok(_) => continue,
                    Err(RecvError::Closed) => return,
                }
                runner.pause_at_start().await;
                // The others that tell of the same loss are done with by this one refill.
                events = events.resubscribe();
                runner.refill(&plan, &to).await;
            }
        });
        Refilling { _task: AbortOnDropHandle::new(task) }
    }
}

/// A task that refills a tier, see [`Warmer::spawn_refill`]. Dropped, it ends.
#[derive(Debug)]
#[must_use = "a dropped refill ends"]
pub struct Refilling {
    _task: AbortOnDropHandle<()>,
}

impl<V: Send + Sync + 'static> Runner<V> {
    async fn refill(&self, plan: &Plan, to: &str) -> Report {
        let events = self.cache.events();
        let name: Arc<str> = format!("refill of {to}").into();
        events.emit(Event::WarmingBegan { plan: Arc::clone(&name), keys: plan.len(), done: 0 });
        let copy = |keys: Vec<String>| async move {
            self.pace.take(keys.len()).await;
            let _turn = self.brake.turn(|| self.cache.read_latencies()).await;
            self.cache.copy_up(to, keys).await
        };
        let report = copy_all(plan, self.config.batch_len.min(PIECE_LEN), 1, copy).await;
        events.emit(Event::WarmingEnded {
            plan: Arc::clone(&name),
            warmed: report.warmed(),
            failed: report.failed_keys(),
        });
        let mut stats = self.stats.lock();
        stats.add(&report);
        stats.add_plan(&name, &report);
        report
    }
}

/// Copies between tiers that no cache of this process is built of, as from one cluster to another.
///
/// A service moves from an old cluster to a new one in four steps, and is never cold:
///
/// 1. It is deployed with the new tiers above the old ones, in one cache: it writes to both, the
///    old ones first, and reads the old ones where the new ones have nothing.
/// 2. A `Copier` from the old to the new brings over what is not read by itself.
/// 3. When the copier reports nothing but `already_fresh` and `not_below`, the service is deployed
///    with the new tiers alone.
/// 4. The old cluster is switched off.
///
/// A copy never replaces something newer, and never brings back what was removed, as long as every
/// writer writes to `from` first, as a cache over both does. See [`Stack::copy_up`].
#[derive(Debug)]
pub struct Copier {
    stack: Stack,
    batch_len: usize,
    concurrency: usize,
}

impl Copier {
    /// Copies from `from` to `to`, 500 keys at a time, two batches at the same time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when both have the same name.
    pub fn new(from: Arc<dyn Tier>, to: Arc<dyn Tier>, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { stack: Stack::new(vec![to, from], clock)?, batch_len: 500, concurrency: 2 })
    }

    /// Copies what there is of `plan` in `namespace`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future copies no more.
    pub async fn copy(&self, namespace: &Namespace, plan: &Plan) -> Report {
        let copy = |texts: Vec<String>| async move {
            let keys = texts.iter().map(|text| namespace.key(text));
            let keys: Vec<Key> = keys.collect::<Result<_>>()?;
            self.stack.copy_up(0, &keys).await
        };
        copy_all(plan, self.batch_len, self.concurrency, copy).await
    }
}

async fn copy_all<F: Future<Output = Result<Vec<Copied>>>>(
    plan: &Plan,
    batch_len: usize,
    concurrency: usize,
    copy: impl Fn(Vec<String>) -> F,
) -> Report {
    let began = std::time::Instant::now();
    let mut report = Report::new(plan.len());
    let copy = &copy;
    let mut batches = stream::iter(plan.batches(batch_len))
        .map(|places| async move {
            let keys = &plan.keys()[places.clone()];
            let mut tries = 1;
            loop {
                match copy(keys.to_vec()).await {
                    Err(error) if error.is_retryable() && tries < TRIES => {
                        tries += 1;
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                    result => return (places, result),
                }
            }
        })
        .buffer_unordered(concurrency);
    while let Some((places, result)) = batches.next().await {
        let outcomes = match result {
            Ok(copied) => copied.into_iter().map(outcome).collect(),
            Err(error) => vec![Outcome::Failed(Fault::from(&error)); places.len()],
        };
        for (place, outcome) in places.zip(outcomes) {
            report.count(&plan.keys()[place], &outcome);
            if let Some(origin) = plan.origin(place) {
                report.count_source(origin, &outcome, 0.0);
            }
        }
    }
    drop(batches);
    report.took(began.elapsed());
    report
}

fn outcome(copied: Copied) -> Outcome {
    let due_at = Instant::now();
    match copied {
        Copied::Stored { bytes } => Outcome::Copied { due_at, bytes: bytes as u64 },
        Copied::AlreadyFresh => Outcome::AlreadyFresh { due_at },
        Copied::Absent => Outcome::Skipped { why: "not_below" },
        Copied::Superseded => Outcome::Skipped { why: SUPERSEDED },
        Copied::Blocked => Outcome::Skipped { why: "blocked" },
        _ => Outcome::Failed(Fault::from(&Error::new(
            ErrorKind::TooLarge,
            "the value is above what the tier takes; raise its `payload_len_max`",
        ))),
    }
}
