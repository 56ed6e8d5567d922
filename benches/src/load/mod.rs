//! One scenario against one stack: warmed, run in, measured, and its writes looked for afterwards.

mod closed_loop;
mod ledger;
mod subject;
mod tally;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use cache_core::{CacheStats, TierStats};

pub use closed_loop::{Phase, Stop, drive};
pub use ledger::Ledger;
pub use subject::{Caller, Found, Outcome, Performed, Subject};
pub use tally::Tally;

use crate::{
    market::Market,
    report::{Latency, Run},
    scenario::Scenario,
    stacks::Stack,
    warm,
};

/// How long the load that is under way may take to end when its cache is shut down.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Before anything is counted.
    pub run_in: Duration,
    /// While it is.
    pub measured: Duration,
    /// So many operations for each task, even if they take longer (up to six times).
    pub rounds_min: u64,
}

impl Effort {
    /// Figures that can be compared.
    pub const FULL: Self =
        Self { run_in: Duration::from_secs(1), measured: Duration::from_secs(5), rounds_min: 10 };

    /// A fraction of that, for orientation.
    pub const QUICK: Self = Self {
        run_in: Duration::from_millis(250),
        measured: Duration::from_secs(1),
        rounds_min: 2,
    };

    /// `measured` of measuring, and a little before.
    #[must_use]
    pub fn lasting(measured: Duration) -> Self {
        Self { run_in: measured / 4, measured, rounds_min: 1 }
    }

    /// What a scenario takes when no operation is slower than expected.
    #[must_use]
    pub fn planned(&self) -> Duration {
        self.run_in + self.measured
    }
}

/// Runs `scenario` against `stack`, in a namespace of its own that is cleared afterwards.
///
/// # Errors
///
/// The cache cannot be built, warmed or read back. What fails under load is counted instead.
///
/// # Cancel safety
///
/// A dropped future ends the load; its namespace is not cleared.
pub async fn measure(
    stack: &Stack,
    scenario: Scenario,
    market: &Arc<Market>,
    effort: Effort,
    seed: u64,
    stop: &Stop,
) -> Result<Run> {
    let bars = market.sample(scenario.keys)?;
    warm::warm(stack.cache(), market, &bars).await?;
    let subject = Arc::new(Subject::new(stack.cache().clone(), bars));

    let measured = Measured::take(&subject, scenario, effort, seed, stop).await;
    let mut lost_writes = 0;
    let views = stack.views()?;
    for (place, view) in views.iter().enumerate() {
        let found = match place {
            0 => Found::Everything,
            _ if place == views.len() - 1 => Found::Everything,
            _ => Found::Copies,
        };
        lost_writes += subject.lost_writes(view, found).await?;
    }
    stack.cache().clear().await?;
    // What hangs is counted as lost already, and would not end now either.
    if measured.tally.lost == 0 {
        stack.cache().shutdown(SHUTDOWN).await?;
    }
    Ok(Run {
        scenario: scenario.name.to_owned(),
        stack: stack.kind().name().to_owned(),
        concurrency: scenario.concurrency,
        keys: scenario.keys,
        lost: measured.tally.lost + lost_writes,
        lost_writes,
        read_latency_us: scenario.reads().then(|| Latency::of(&measured.tally.read_latency)),
        write_latency_us: scenario.writes().then(|| Latency::of(&measured.tally.write_latency)),
        partial: stop.is_set(),
        ..measured.into_run()
    })
}

/// What was counted while the load went on.
struct Measured {
    tally: Tally,
    loads: u64,
    before: CacheStats,
    after: CacheStats,
}

impl Measured {
    async fn take(
        subject: &Arc<Subject>,
        scenario: Scenario,
        effort: Effort,
        seed: u64,
        stop: &Stop,
    ) -> Self {
        let run_in = drive(subject, scenario, Phase::timed(effort.run_in), seed, stop).await;
        let before = subject.cache().stats().await;
        let loads_before = subject.loads();
        let phase = Phase {
            lasting: effort.measured,
            operations_min: effort.rounds_min * scenario.concurrency as u64,
        };
        // Another stream than the run-in's, from the same seed.
        let mut tally = drive(subject, scenario, phase, !seed, stop).await;
        let after = subject.cache().stats().await;
        // The run-in is not measured; but a fault in it is a fault.
        tally.lost += run_in.lost;
        tally.wrong += run_in.wrong;
        Self { tally, loads: subject.loads() - loads_before, before, after }
    }

    /// The figures. What it was measured on is left open.
    fn into_run(self) -> Run {
        let Self { tally, loads, before, after } = self;
        let changes = tier_changes(&before, &after);
        Run {
            seconds: tally.elapsed.as_secs_f64(),
            operations: tally.operations,
            successes: tally.successes,
            errors: tally.errors.values().sum(),
            wrong: tally.wrong,
            loads,
            throughput_per_s: tally.throughput_per_s(),
            latency_us: Latency::of(&tally.latency()),
            hit_ratio: hit_ratios(&changes, &tally),
            tier_reads: by_name(&changes, |change| change.hits + change.misses),
            tier_errors: by_name(&changes, |change| change.errors),
            tier_silences: by_name(&changes, |change| change.silences),
            last_tier_error: changes.iter().find_map(|change| change.last_error.clone()),
            errors_by_kind: tally.errors,
            ..Run::default()
        }
    }
}

/// What each tier counted while it was measured.
struct TierChange<'a> {
    name: &'a str,
    hits: u64,
    misses: u64,
    errors: u64,
    /// Those of them that were given up, because the server had said nothing to anybody.
    silences: u64,
    last_error: Option<String>,
}

fn tier_changes<'a>(before: &CacheStats, after: &'a CacheStats) -> Vec<TierChange<'a>> {
    let tiers = before.tiers.iter().zip(&after.tiers);
    let change = |(before, after): (&TierStats, &'a TierStats)| TierChange {
        name: &after.name,
        hits: after.hits - before.hits,
        misses: after.misses - before.misses,
        errors: after.errors - before.errors,
        silences: silences(after) - silences(before),
        last_error: after.last_error.clone().filter(|_| after.errors > before.errors),
    };
    tiers.map(change).collect()
}

/// How many keys' operations were given up for the silence of the tier.
fn silences(tier: &TierStats) -> u64 {
    tier.errors_by_kind.get("Timeout").copied().unwrap_or(0)
}

/// One number for each tier, by its name.
fn by_name<T>(
    changes: &[TierChange<'_>],
    number: impl Fn(&TierChange<'_>) -> T,
) -> BTreeMap<String, T> {
    changes.iter().map(|change| (change.name.to_owned(), number(change))).collect()
}

/// The share of keys that each tier had of those that it was asked for, and that of the whole, as
/// the callers saw it; nothing where no key was asked for.
fn hit_ratios(changes: &[TierChange<'_>], tally: &Tally) -> BTreeMap<String, Option<f64>> {
    let mut ratios = by_name(changes, |TierChange { hits, misses, .. }| {
        (hits + misses > 0).then(|| *hits as f64 / (hits + misses) as f64)
    });
    ratios.insert(Run::OVERALL.to_owned(), tally.hit_ratio());
    ratios
}
