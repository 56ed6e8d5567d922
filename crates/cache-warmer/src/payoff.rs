//! What warming was good for: what readers made of the keys that it warmed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cache_core::{Cache, ReadWatch, WatchedReads};
use serde::{Deserialize, Serialize};

use crate::{plan::Plan, report::WarmerStats};

/// What became of warmed keys afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Payoff {
    /// Reads of watched keys that were hits.
    pub hits: u64,
    /// Reads of watched keys that had to be loaded, or were not answered.
    pub misses: u64,
    /// Of the reads, 0 to 1; nothing before the first.
    pub hit_ratio: Option<f64>,
    /// Hits for each call of the source that warming has made; nothing without calls.
    pub hits_per_call: Option<f64>,
}

/// What became of the keys of one plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanPayoff {
    /// Of all its keys.
    pub all: Payoff,
    /// Of those of each source of keys.
    pub sources: BTreeMap<String, Payoff>,
}

impl Payoff {
    fn new(reads: WatchedReads, source_calls: f64) -> Self {
        let WatchedReads { hits, misses } = reads;
        let of = |all: f64| (all > 0.0).then(|| hits as f64 / all);
        let hit_ratio = of((hits + misses) as f64);
        Self { hits, misses, hit_ratio, hits_per_call: of(source_calls) }
    }
}

impl fmt::Display for Payoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hits, misses, hits_per_call, .. } = self;
        let per_call = hits_per_call.map_or("-".to_owned(), |hits| format!("{hits:.1}"));
        write!(f, "{hits} hits and {misses} misses of warmed keys; {per_call} hits a source call")
    }
}

/// The plans that are watched, by their names.
#[derive(Debug, Default)]
pub(crate) struct Watched(BTreeMap<String, WatchedPlan>);

#[derive(Debug)]
struct WatchedPlan {
    plan: Plan,
    reads: Arc<ReadWatch>,
    /// Of earlier plans of this name.
    before: Sums,
}

/// Reads of all keys, and of those of each source of keys.
#[derive(Clone, Debug, Default)]
struct Sums {
    all: WatchedReads,
    sources: BTreeMap<Arc<str>, WatchedReads>,
}

impl Watched {
    /// Counts what readers make of the keys of `plan` from now on, in place of those of an earlier
    /// plan of this name, whose counts are kept.
    pub(crate) fn watch<V: Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        plan: &Plan,
    ) -> Arc<ReadWatch> {
        let before = self.0.remove(plan.name()).map_or_else(Sums::default, |known| known.sums());
        let reads = Arc::new(cache.watch_reads(plan.keys()));
        let watched = WatchedPlan { plan: plan.clone(), reads: Arc::clone(&reads), before };
        self.0.insert(plan.name().to_owned(), watched);
        reads
    }

    /// Tells in `stats`, which has the calls of the source, what came of them.
    pub(crate) fn tell(&self, stats: &mut WarmerStats) {
        if self.0.is_empty() {
            return;
        }
        let mut total = WatchedReads::default();
        for (name, watched) in &self.0 {
            let sums = watched.sums();
            add(&mut total, sums.all);
            let report = stats.plans.get(name);
            let calls = |source: &str| {
                report
                    .and_then(|report| report.sources.get(source))
                    .map_or(0.0, |of| of.source_calls)
            };
            let all_calls = report.map_or(0.0, |report| report.source_calls as f64);
            let sources = sums.sources.iter();
            let sources = sources
                .map(|(name, reads)| (name.as_ref().to_owned(), Payoff::new(*reads, calls(name))));
            let payoff =
                PlanPayoff { all: Payoff::new(sums.all, all_calls), sources: sources.collect() };
            stats.payoffs.insert(name.clone(), payoff);
        }
        stats.payoff = Some(Payoff::new(total, stats.total.source_calls as f64));
    }
}

impl WatchedPlan {
    fn sums(&self) -> Sums {
        let mut sums = self.before.clone();
        for place in 0..self.plan.len() {
            let reads = self.reads.of(place);
            add(&mut sums.all, reads);
            if let Some(origin) = self.plan.origin(place) {
                add(sums.sources.entry(Arc::clone(origin)).or_default(), reads);
            }
        }
        sums
    }
}

fn add(sum: &mut WatchedReads, more: WatchedReads) {
    sum.hits += more.hits;
    sum.misses += more.misses;
}
