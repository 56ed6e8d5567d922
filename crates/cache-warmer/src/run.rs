//! One run over a plan: look at what the cache has, load what is due, count what became of it.

use std::{ops::Range, pin::pin, sync::Arc, time::Duration};

use cache_core::{Cache, Hit, Item, LoadError};
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::WarmerConfig,
    outcome::{Fault, Outcome, Settled},
    plan::{Life, Plan},
    report::{Report, WarmerStats},
    source::Source,
    source_error::{SourceError, SourceErrorKind},
    warmer::Mode,
};

/// What a warmer, its clones and its schedules share.
pub(crate) struct Runner<V> {
    pub(crate) cache: Cache<V>,
    pub(crate) source: Arc<dyn Source<V>>,
    pub(crate) config: WarmerConfig,
    /// One for each call of the source, in whichever run.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) stats: Mutex<WarmerStats>,
}

/// Is given what has just been settled, and the report up to there.
pub(crate) type OnSettled<'a> = &'a mut (dyn FnMut(&[Settled], &Report) + Send);

/// A part of a plan once the cache has been asked for it.
enum Part {
    Fresh(Vec<Settled>),
    Due(Vec<usize>),
}

impl<V: Send + Sync + 'static> Runner<V> {
    /// Settles every key of `plan`. Once `stop` is cancelled no further load is started.
    pub(crate) async fn run(
        &self,
        plan: &Plan,
        mode: Mode,
        stop: &CancellationToken,
        on_settled: OnSettled<'_>,
    ) -> Report {
        let started = std::time::Instant::now();
        let mut tally = Tally {
            plan,
            report: Report::new(plan.len()),
            open: vec![true; plan.len()],
            on_settled,
        };
        let work = async {
            let mut parts = pin!(self.settled(plan, mode, stop));
            while let Some(settled) = parts.next().await {
                tally.note(&settled);
            }
        };
        let deadline = self.config.deadline.map_or(Duration::MAX, |deadline| deadline.0);
        if tokio::time::timeout(deadline, work).await.is_err() {
            // The loads that are under way are given up here alone: they still fill the cache.
            tally.note_late();
        }
        let mut report = tally.report;
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
    ) -> impl Stream<Item = Vec<Settled>> + Send + 'a {
        let concurrency = self.config.concurrency;
        let surveys =
            plan.batches(self.config.batch_len).map(move |places| self.survey(plan, places, mode));
        stream::iter(surveys)
            .buffer_unordered(concurrency)
            .flat_map(stream::iter)
            .map(move |part| self.settle(plan, part, stop))
            .buffer_unordered(concurrency)
    }

    /// Asks the cache for some keys, and divides those that are due among calls of the source.
    async fn survey(&self, plan: &Plan, places: Range<usize>, mode: Mode) -> Vec<Part> {
        let mut fresh = Vec::new();
        let mut due = Vec::new();
        let lives = match mode {
            Mode::Due => self.lives(&plan.keys()[places.clone()]).await,
            Mode::Forced => vec![None; places.len()],
        };
        for (place, life) in places.zip(lives) {
            match life.map(|life| life.due_in(&self.config)) {
                None | Some(Duration::ZERO) => due.push(place),
                Some(due_in) => {
                    let due_at = Instant::now() + due_in;
                    fresh.push(Settled { place, outcome: Outcome::AlreadyFresh { due_at } });
                }
            }
        }
        let batch_len = self.source.batch_len_max().clamp(1, self.config.batch_len);
        let mut parts: Vec<Part> = due.chunks(batch_len).map(|due| Part::Due(due.into())).collect();
        parts.push(Part::Fresh(fresh));
        parts
    }

    async fn lives(&self, keys: &[String]) -> Vec<Option<Life>> {
        match self.cache.get_many(keys).await {
            Ok(hits) => hits.iter().map(|hit| hit.as_ref().map(Life::of)).collect(),
            // A cache that cannot tell what it has may still take what it is given.
            Err(error) => {
                tracing::debug!(%error, "a warmer could not look at what is cached");
                vec![None; keys.len()]
            }
        }
    }

    async fn settle(&self, plan: &Plan, part: Part, stop: &CancellationToken) -> Vec<Settled> {
        match part {
            Part::Fresh(settled) => settled,
            Part::Due(places) => {
                let keys = places.iter().map(|place| plan.keys()[*place].as_str()).collect();
                let outcomes = self.load(keys, stop).await;
                let settled = places.into_iter().zip(outcomes);
                settled.map(|(place, outcome)| Settled { place, outcome }).collect()
            }
        }
    }

    /// One call of the source.
    async fn load(&self, keys: Vec<&str>, stop: &CancellationToken) -> Vec<Outcome> {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        if stop.is_cancelled() {
            return keys.iter().map(|_| Outcome::Failed(Fault::stopped())).collect();
        }
        let source = Arc::clone(&self.source);
        let loader = move |keys| ask(source, keys, permit);
        let answers = self.cache.refresh_many(keys, loader).await;
        answers.into_iter().map(|answer| self.outcome(answer)).collect()
    }

    fn outcome(&self, answer: Result<Option<Hit<V>>, LoadError<SourceError>>) -> Outcome {
        match answer {
            Ok(Some(hit)) => {
                Outcome::Loaded { due_at: Instant::now() + Life::of(&hit).due_in(&self.config) }
            }
            Ok(None) => Outcome::MissingAtSource,
            Err(LoadError::Source(error)) => Outcome::Failed(Fault::from(&*error)),
            Err(LoadError::Cache(error)) => Outcome::Failed(Fault::from(&error)),
        }
    }
}

/// Asks the source on the cache's own task, which goes on when the run is dropped: the permit is
/// held here, by the call itself.
async fn ask<V: Send + 'static>(
    source: Arc<dyn Source<V>>,
    keys: Vec<String>,
    _permit: OwnedSemaphorePermit,
) -> Result<Vec<(String, Result<Item<V>, SourceError>)>, SourceError> {
    let answers = source.load_many(&keys).await;
    if answers.len() != keys.len() {
        let message = format!("the source gave {} answers for {} keys", answers.len(), keys.len());
        return Err(SourceError::new(SourceErrorKind::Malformed, message)
            .hint("`load_many` must answer for each key, in their order"));
    }
    let brought = keys.into_iter().zip(answers);
    Ok(brought.filter_map(|(key, answer)| Some((key, answer.transpose()?))).collect())
}

/// The count of a run.
struct Tally<'a> {
    plan: &'a Plan,
    report: Report,
    /// By place: whether the key is not settled yet.
    open: Vec<bool>,
    on_settled: OnSettled<'a>,
}

impl Tally<'_> {
    fn note(&mut self, settled: &[Settled]) {
        for Settled { place, outcome } in settled {
            self.open[*place] = false;
            self.report.count(&self.plan.keys()[*place], outcome);
        }
        (self.on_settled)(settled, &self.report);
    }

    fn note_late(&mut self) {
        let open = (0..self.open.len()).filter(|place| self.open[*place]);
        let late = |place| Settled { place, outcome: Outcome::Failed(Fault::deadline()) };
        let late: Vec<Settled> = open.map(late).collect();
        self.note(&late);
    }
}
