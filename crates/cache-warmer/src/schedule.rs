//! Keeps a plan warm in the background.

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{Change, Log};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agenda::Agenda,
    config::Ahead,
    outcome::{NOT_READ, Outcome, Settled},
    plan::Plan,
    report::Report,
    run::Runner,
    warmer::Mode,
};

/// How many changes may wait to be looked at.
const CHANGED_MAX: usize = 10_000;

/// How long one reading of a log waits, and how soon one that failed is tried again.
const LOG_WAIT: Duration = Duration::from_secs(1);
const LOG_RETRY: Duration = Duration::from_secs(1);

/// What is so far away that it does not come: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A task that keeps a plan warm, see [`spawn_schedule`](crate::Warmer::spawn_schedule).
///
/// Dropped, it ends at once: what is being loaded still fills the cache, and nothing more is begun.
pub struct Schedule {
    task: JoinHandle<()>,
    stop: CancellationToken,
    warmed: watch::Receiver<bool>,
    first: Arc<First>,
}

/// How far the first look at the plan has come.
#[derive(Debug)]
struct First {
    began: Instant,
    planned: usize,
    done: AtomicUsize,
}

impl Schedule {
    pub(crate) fn spawn<V: Send + Sync + 'static>(
        runner: Arc<Runner<V>>,
        plan: Plan,
        log: Option<Arc<dyn Log>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (tell_warmed, warmed) = watch::channel(false);
        let done = AtomicUsize::new(0);
        let first = Arc::new(First { began: Instant::now(), planned: plan.len(), done });
        let plan = plan.called_unless_named("schedule");
        let keeper = Keeper { runner, plan, log, stop: stop.clone(), first: Arc::clone(&first) };
        let task = tokio::spawn(keeper.keep_warm(tell_warmed));
        Self { task, stop, warmed, first }
    }

    /// Whether the plan is warm, for a health check: ready once it is [`warmed`](Self::warmed), or
    /// `deadline` after the schedule was spawned, whichever is earlier. A source that is away keeps
    /// no service from starting.
    #[must_use]
    pub fn readiness(&self, deadline: Duration) -> Readiness {
        let began = self.first.began;
        let until = began.checked_add(deadline).unwrap_or(began + FAR);
        Readiness { first: Arc::clone(&self.first), warmed: self.warmed.clone(), until }
    }

    /// Waits until every key of the plan has been looked at, and what was due of it has been loaded
    /// or has failed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn warmed(&self) {
        // An error says that the task is gone: there is nothing to wait for any more.
        let _ = self.warmed.clone().wait_for(|warmed| *warmed).await;
    }

    /// Begins no further load, and waits for those that are under way.
    ///
    /// # Cancel safety
    ///
    /// A dropped future ends the schedule at once.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the schedule of a warmer ended early");
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("is_finished", &self.task.is_finished())
            .finish_non_exhaustive()
    }
}

/// A gate for health checks, see [`Schedule::readiness`]. It outlives its schedule.
#[derive(Clone, Debug)]
pub struct Readiness {
    first: Arc<First>,
    warmed: watch::Receiver<bool>,
    until: Instant,
}

/// Whether a service may be given traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// Not yet: so many keys of the plan are settled.
    Warming {
        /// Keys that were looked at, and loaded where they were due, or failed.
        done: usize,
        /// Keys of the plan.
        planned: usize,
    },
    /// Yes: every key is settled.
    Warmed,
    /// Yes, because the time is over.
    TimeIsOver {
        /// Keys that are settled.
        done: usize,
        /// Keys of the plan.
        planned: usize,
    },
}

impl Ready {
    /// Whether it may.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        !matches!(self, Self::Warming { .. })
    }
}

impl Readiness {
    /// How it stands now.
    #[must_use]
    pub fn now(&self) -> Ready {
        let (done, planned) = (self.first.done.load(Ordering::Relaxed), self.first.planned);
        if *self.warmed.borrow() {
            Ready::Warmed
        } else if Instant::now() >= self.until {
            Ready::TimeIsOver { done, planned }
        } else {
            Ready::Warming { done, planned }
        }
    }

    /// Waits until it is ready.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn ready(&self) -> Ready {
        let mut warmed = self.warmed.clone();
        // An error says that the schedule is gone: then the time decides.
        let work = async {
            if warmed.wait_for(|warmed| *warmed).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout_at(self.until, work).await;
        self.now()
    }
}

/// What a schedule works with.
struct Keeper<V> {
    runner: Arc<Runner<V>>,
    plan: Plan,
    /// Where other processes' changes are told.
    log: Option<Arc<dyn Log>>,
    stop: CancellationToken,
    first: Arc<First>,
}

impl<V: Send + Sync + 'static> Keeper<V> {
    /// Starts a run whenever keys fall due, beside the runs that are still waiting for a slow source.
    async fn keep_warm(self, warmed: watch::Sender<bool>) {
        let Self { runner, plan, log, stop, first } = &self;
        tokio::select! {
            () = runner.pause_at_start() => {}
            () = stop.cancelled() => return,
        }
        let reads = runner.watched.lock().watch(&runner.cache, plan);
        let mut agenda = Agenda::new(plan.len(), &runner.config, Instant::now());
        // A key is in one run at most, so there are never more messages than keys.
        let (tell, mut told) = mpsc::unbounded_channel();
        let begin = |due| run(runner, plan, due, stop, tell.clone());
        // The first run looks at the whole plan.
        let begun = begin(agenda.take(Instant::now())).map(|()| {
            warmed.send_replace(true);
        });
        let mut runs = FuturesUnordered::from_iter([begun.boxed()]);
        let mut read_before = vec![0; plan.len()];
        let (tell_changed, mut changed) = mpsc::channel(CHANGED_MAX);
        let follow = follow(log.clone(), runner, plan, tell_changed);
        let mut follow = pin!(follow);
        loop {
            tokio::select! {
                Some(()) = runs.next() => {}
                Some((place, outcome)) = told.recv() => {
                    if !*warmed.borrow() {
                        first.done.fetch_add(1, Ordering::Relaxed);
                    }
                    agenda.settle(place, &outcome, Instant::now());
                }
                () = sleep_until(agenda.wakes_at()) => {
                    let mut due = agenda.take(Instant::now());
                    if runner.config.ahead == Ahead::WhileRead {
                        due.retain(|&place| {
                            let total = reads.of(place).total();
                            let is_read = std::mem::replace(&mut read_before[place], total) < total;
                            if !is_read {
                                let outcome = Outcome::Skipped { why: NOT_READ };
                                agenda.settle(place, &outcome, Instant::now());
                            }
                            is_read
                        });
                    }
                    if !due.is_empty() {
                        runs.push(begin(due).boxed());
                    }
                }
                Some(place) = changed.recv() => {
                    // Only what is read: nobody misses the others.
                    if reads.of(place).total() > 0 {
                        agenda.hurry(place, Instant::now());
                    }
                }
                () = &mut follow => {}
                () = stop.cancelled() => break,
            }
        }
        while runs.next().await.is_some() {}
    }
}

/// Tells the places of keys that were changed, as long as there is a log. One that is behind leaves
/// changes out: the next look finds them.
async fn follow<V: Send + Sync + 'static>(
    log: Option<Arc<dyn Log>>,
    runner: &Runner<V>,
    plan: &Plan,
    tell: mpsc::Sender<usize>,
) {
    let Some(log) = log else { return std::future::pending().await };
    let namespace = runner.cache.namespace().as_str();
    let places: HashMap<&str, usize> =
        plan.keys().iter().enumerate().map(|(place, key)| (key.as_str(), place)).collect();
    let mut position = None;
    loop {
        let read = async {
            let after = match position.take() {
                Some(after) => after,
                None => log.end().await?,
            };
            log.read(&after, LOG_WAIT).await
        };
        let page = match read.await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "a warmer hears of no changes");
                tokio::time::sleep(LOG_RETRY).await;
                continue;
            }
        };
        for notice in &page.notices {
            let Change::Key(key) = &notice.change else { continue };
            if key.namespace() == namespace
                && let Some(place) = places.get(key.text())
            {
                let _ = tell.try_send(*place);
            }
        }
        position = Some(page.next);
    }
}

/// One run over the keys at `due`, which tells what became of each as soon as it is known.
async fn run<V: Send + Sync + 'static>(
    runner: &Runner<V>,
    plan: &Plan,
    due: Vec<usize>,
    stop: &CancellationToken,
    tell: mpsc::UnboundedSender<(usize, Outcome)>,
) {
    let mut on_settled = |settled: &[Settled], _: &Report| {
        for Settled { place, outcome, .. } in settled {
            // Nobody listens any more once the schedule is stopped.
            let _ = tell.send((due[*place], outcome.clone()));
        }
    };
    let part = plan.pick(&due);
    let report = runner.run(&part, Mode::Due, stop, runner.deadline(), &mut on_settled).await;
    runner.stats.lock().add_plan(plan.name(), &report);
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
