//! One run over a plan: look at what the cache has, load what is due, count what became of it.

use std::{
    ops::Range,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Cache, Hit, Item, LoadError, Origin};
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    brake::{Brake, Pass, Verdict},
    config::WarmerConfig,
    outcome::{Fault, Outcome, SUPERSEDED, Settled},
    pace::Pace,
    payoff::Watched,
    plan::{Life, Plan},
    report::{Report, WarmerStats},
    source::Source,
    source_error::{SourceError, SourceErrorKind},
    warmer::Mode,
};

/// How often a key is asked for while the source says when to come again.
const TRIES_MAX: usize = 3;

/// The longest that a source may have a run wait. Whoever wants more has failed.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a warmer, its clones and its schedules share.
pub(crate) struct Runner<V> {
    pub(crate) cache: Cache<V>,
    pub(crate) source: Arc<dyn Source<V>>,
    pub(crate) config: WarmerConfig,
    /// Bounds the calls of the source, in whichever run.
    pub(crate) brake: Arc<Brake>,
    pub(crate) pace: Pace,
    pub(crate) stats: Mutex<WarmerStats>,
    /// What readers make of warmed keys, where somebody asked for it.
    pub(crate) watched: Mutex<Watched>,
}

/// Is given what has just been settled, and the report up to there.
pub(crate) type OnSettled<'a> = &'a mut (dyn FnMut(&[Settled], &Report) + Send);

/// A part of a plan once the cache has been asked for it.
enum Part {
    Fresh(Vec<Settled>),
    Due(Vec<usize>),
}

impl<V: Send + Sync + 'static> Runner<V> {
    /// Waits for a random part of the jitter.
    pub(crate) async fn pause_at_start(&self) {
        let jitter = self.config.start_jitter.0;
        if !jitter.is_zero() {
            let pause = rand::rng().random_range(Duration::ZERO..=jitter);
            tokio::time::sleep(pause).await;
        }
    }

    /// The time of one run.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.config.deadline.map(|deadline| deadline.0)
    }

    /// Settles every key of `plan` within the time of one run, and counts it under the plan's name.
    pub(crate) async fn run_named(&self, plan: &Plan, mode: Mode) -> Report {
        let never = CancellationToken::new();
        let report = self.run(plan, mode, &never, self.deadline(), &mut |_, _| ()).await;
        self.stats.lock().add_plan(plan.name(), &report);
        report
    }

    /// Settles every key of `plan`, within `deadline`. Once `stop` is cancelled no further load is started.
    pub(crate) async fn run(
        &self,
        plan: &Plan,
        mode: Mode,
        stop: &CancellationToken,
        deadline: Option<Duration>,
        on_settled: OnSettled<'_>,
    ) -> Report {
        let started = std::time::Instant::now();
        let mut tally = Tally {
            plan,
            report: Report::new(plan.len()),
            calls: Arc::default(),
            open: vec![true; plan.len()],
            on_settled,
        };
        let work = async {
            let calls = Arc::clone(&tally.calls);
            let mut parts = pin!(self.settled(plan, mode, stop, &calls));
            while let Some(settled) = parts.next().await {
                tally.note(&settled);
            }
        };
        if tokio::time::timeout(deadline.unwrap_or(Duration::MAX), work).await.is_err() {
            // The loads that are under way are given up here alone: they still fill the cache.
            tally.note_late();
        }
        let mut report = tally.into_report();
        report.took(started.elapsed());
        self.stats.lock().add(&report);
        report
    }

    /// What becomes of the keys of `plan`, part by part, in no order.
    fn settled<'a>(
        &'a self,
        plan: &'a Plan,
        mode: Mode,
        stop: &'a CancellationToken,
        calls: &'a Arc<AtomicU64>,
    ) -> impl Stream<Item = Vec<Settled>> + Send + 'a {
        let concurrency = self.config.concurrency;
        let surveys = plan
            .batches(self.config.batch_len)
            .map(move |places| self.survey(plan, places, mode, stop));
        stream::iter(surveys)
            .buffer_unordered(concurrency)
            .flat_map(stream::iter)
            .map(move |part| self.settle(plan, part, stop, calls))
            .buffer_unordered(concurrency)
    }

    /// Asks the cache for some keys, and divides those that are due among calls of the source.
    async fn survey(
        &self,
        plan: &Plan,
        places: Range<usize>,
        mode: Mode,
        stop: &CancellationToken,
    ) -> Vec<Part> {
        let mut fresh = Vec::new();
        let mut due = Vec::new();
        let found = match mode {
            Mode::Due if !stop.is_cancelled() => self.look(&plan.keys()[places.clone()]).await,
            Mode::Due | Mode::Forced => vec![None; places.len()],
        };
        for (place, hit) in places.zip(found) {
            let due_in = hit.as_ref().map(|hit| Life::of(hit).due_in(&self.config));
            match (hit, due_in) {
                (Some(hit), Some(due_in)) if !due_in.is_zero() => {
                    let due_at = Instant::now() + due_in;
                    let outcome = match hit.origin() {
                        // The tiers above have it from the look.
                        Origin::Tier { level: 2.., .. } => {
                            Outcome::Copied { due_at, bytes: u64::from(hit.weight()) }
                        }
                        _ => Outcome::AlreadyFresh { due_at },
                    };
                    fresh.push(Settled { place, outcome, calls: 0.0 });
                }
                _ => due.push(place),
            }
        }
        let batch_len = self.source.batch_len_max().clamp(1, self.config.batch_len);
        let mut parts: Vec<Part> = due.chunks(batch_len).map(|due| Part::Due(due.into())).collect();
        parts.push(Part::Fresh(fresh));
        parts
    }

    async fn look(&self, keys: &[String]) -> Vec<Option<Hit<V>>> {
        let _turn = self.brake.turn(|| self.cache.read_latencies()).await;
        self.cache.survey(keys).await.unwrap_or_else(|error| {
            // A cache that cannot tell what it has may still take what it is given.
            tracing::debug!(%error, "a warmer could not look at what is cached");
            keys.iter().map(|_| None).collect()
        })
    }

    async fn settle(
        &self,
        plan: &Plan,
        part: Part,
        stop: &CancellationToken,
        calls: &Arc<AtomicU64>,
    ) -> Vec<Settled> {
        match part {
            Part::Fresh(settled) => settled,
            Part::Due(places) => {
                let keys: Vec<&str> =
                    places.iter().map(|place| plan.keys()[*place].as_str()).collect();
                let outcomes = self.load(&keys, stop, calls).await;
                let settled = places.into_iter().zip(outcomes);
                settled.map(|(place, (outcome, calls))| Settled { place, outcome, calls }).collect()
            }
        }
    }

    /// Loads keys with one call of the source, and with further ones where it says when to come
    /// again: what became of each, and its part of the calls.
    async fn load(
        &self,
        keys: &[&str],
        stop: &CancellationToken,
        calls: &Arc<AtomicU64>,
    ) -> Vec<(Outcome, f64)> {
        let mut settled = self.call(keys, stop, calls).await;
        for _ in 1..TRIES_MAX {
            let again: Vec<usize> = (0..keys.len()).filter(|i| waits(&settled[*i].0)).collect();
            if again.is_empty() {
                break;
            }
            let asked: Vec<&str> = again.iter().map(|i| keys[*i]).collect();
            let later = self.call(&asked, stop, calls).await;
            for (i, (outcome, part)) in again.into_iter().zip(later) {
                settled[i] = (outcome, settled[i].1 + part);
            }
        }
        settled
    }

    /// One call of the source.
    async fn call(
        &self,
        keys: &[&str],
        stop: &CancellationToken,
        calls: &Arc<AtomicU64>,
    ) -> Vec<(Outcome, f64)> {
        let stopped = || keys.iter().map(|_| (Outcome::Failed(Fault::stopped()), 0.0)).collect();
        let admitted = async {
            self.pace.take(keys.len()).await;
            self.brake.pass(|| self.cache.read_latencies()).await
        };
        let pass = tokio::select! {
            biased;
            () = stop.cancelled() => return stopped(),
            pass = admitted => pass,
        };
        let (source, brake) = (Arc::clone(&self.source), Arc::clone(&self.brake));
        let asked = Arc::new(Asked::default());
        let timer = (Arc::clone(calls), Arc::clone(&asked));
        let loader = move |keys| ask(source, keys, brake, pass, timer);
        let began = Instant::now();
        let answers = self.cache.refresh_many(keys, loader).await;
        // The source's own time is nobody else's: what is left is fences that were read and values
        // that were written.
        self.brake.worked(began.elapsed().saturating_sub(asked.took()));
        let part = asked.calls.load(Ordering::Relaxed) as f64 / keys.len() as f64;
        answers.into_iter().map(|answer| (self.outcome(answer), part)).collect()
    }

    fn outcome(&self, answer: Result<Option<Hit<V>>, LoadError<SourceError>>) -> Outcome {
        match answer {
            Ok(Some(hit)) if hit.is_superseded() => Outcome::Skipped { why: SUPERSEDED },
            Ok(Some(hit)) => Outcome::Loaded {
                due_at: Instant::now() + Life::of(&hit).due_in(&self.config),
                bytes: u64::from(hit.weight()),
            },
            Ok(None) => Outcome::MissingAtSource,
            Err(LoadError::Source(error)) => Outcome::Failed(Fault::from(&*error)),
            Err(LoadError::Cache(error)) => Outcome::Failed(Fault::from(&error)),
        }
    }
}

/// Whether the source has said when to ask again, and that is soon.
fn waits(outcome: &Outcome) -> bool {
    let pause = match outcome {
        Outcome::Failed(fault) => fault.pause,
        _ => None,
    };
    pause.is_some_and(|pause| pause <= PAUSE_MAX)
}

/// Asks the source on the cache's own task, which goes on when the run is dropped: the pass is held
/// here, by the call itself.
async fn ask<V: Send + 'static>(
    source: Arc<dyn Source<V>>,
    keys: Vec<String>,
    brake: Arc<Brake>,
    mut pass: Pass,
    (all, asked): (Arc<AtomicU64>, Arc<Asked>),
) -> Result<Vec<(String, Result<Item<V>, SourceError>)>, SourceError> {
    all.fetch_add(1, Ordering::Relaxed);
    let timer = Timer::start(asked);
    // Until it has answered: the cache gives up a call that takes too long, or that panics.
    pass.presume(Verdict::Suffers);
    let answers = source.load_many(&keys).await;
    drop(timer);
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    let pause = errors().filter_map(SourceError::pause).max();
    let verdict = if errors().any(SourceError::is_retryable) {
        Verdict::Suffers
    } else if errors().next().is_none() {
        Verdict::Fine
    } else {
        Verdict::Silent
    };
    if let Some(pause) = pause {
        brake.close_for(pause.min(PAUSE_MAX));
    }
    pass.judged(verdict);
    if answers.len() != keys.len() {
        let message = format!("the source gave {} answers for {} keys", answers.len(), keys.len());
        return Err(SourceError::new(SourceErrorKind::Malformed, message)
            .hint("`load_many` must answer for each key, in their order"));
    }
    let brought = keys.into_iter().zip(answers);
    Ok(brought.filter_map(|(key, answer)| Some((key, answer.transpose()?))).collect())
}

/// What a look for due keys has asked the source.
#[derive(Debug, Default)]
struct Asked {
    calls: AtomicU64,
    took_us: AtomicU64,
}

impl Asked {
    fn took(&self) -> Duration {
        Duration::from_micros(self.took_us.load(Ordering::Relaxed))
    }
}

/// Tells what a call of the source took, however it ends.
struct Timer {
    began: Instant,
    asked: Arc<Asked>,
}

impl Timer {
    fn start(asked: Arc<Asked>) -> Self {
        asked.calls.fetch_add(1, Ordering::Relaxed);
        Self { began: Instant::now(), asked }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let took_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.asked.took_us.fetch_add(took_us, Ordering::Relaxed);
    }
}

/// The count of a run.
struct Tally<'a> {
    plan: &'a Plan,
    report: Report,
    calls: Arc<AtomicU64>,
    /// By place: whether the key is not settled yet.
    open: Vec<bool>,
    on_settled: OnSettled<'a>,
}

impl Tally<'_> {
    fn note(&mut self, settled: &[Settled]) {
        for Settled { place, outcome, calls } in settled {
            self.open[*place] = false;
            self.report.count(&self.plan.keys()[*place], outcome);
            if let Some(origin) = self.plan.origin(*place) {
                self.report.count_source(origin, outcome, *calls);
            }
        }
        self.report.source_calls = self.calls.load(Ordering::Relaxed);
        (self.on_settled)(settled, &self.report);
    }

    fn into_report(self) -> Report {
        Report { source_calls: self.calls.load(Ordering::Relaxed), ..self.report }
    }

    fn note_late(&mut self) {
        let open = (0..self.open.len()).filter(|place| self.open[*place]);
        let outcome = || Outcome::Failed(Fault::deadline());
        let late = |place| Settled { place, outcome: outcome(), calls: 0.0 };
        let late: Vec<Settled> = open.map(late).collect();
        self.note(&late);
    }
}
