//! What a history says about speed.

use serde::{Deserialize, Serialize};

use super::{
    history::{Act, Place, Record, Seen},
    node::CUT_AFTER,
    scenario::{Budgets, Scenario},
};

/// A span of the machine's monotonic clock, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begin_us: u64,
    pub(super) end_us: u64,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) before: Span,
    pub(super) fault: Span,
}

/// How long a breaker has to learn.
pub(super) const LEARNING_US: u64 = 1_000_000;

/// How much longer than before the fault a hot read may take, beside twice as long: a clock's tick.
pub(super) const NEAR_SLACK_US: u64 = 20;

/// What a load may cost beyond itself while a breaker learns.
pub(super) const LEARNING_MAX_US: u64 = 25_000;

/// And after that.
pub(super) const LEARNED_MAX_US: u64 = 1_000;

/// Two points of a distribution, in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Points {
    /// Half took at most this.
    pub median_us: u64,
    /// 99 of 100 took at most this.
    pub p99_us: u64,
    /// Of so many.
    pub count: usize,
}

impl Points {
    pub(super) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |share: usize| {
            let place = (values.len() * share).div_ceil(100).saturating_sub(1);
            values.get(place).copied().unwrap_or_default()
        };
        Self { median_us: at(50), p99_us: at(99), count: values.len() }
    }
}

/// What was measured in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Operations of all nodes.
    pub operations: usize,
    /// Reads that failed.
    pub read_errors: usize,
    /// Invalidations and inserts that failed.
    pub write_errors: usize,
    /// The longest read, less its own load, in µs; of a node that was itself stopped it does not
    /// count.
    pub read_stall_us: u64,
    /// The longest invalidation or insert, likewise.
    pub write_stall_us: u64,
    /// Reads of shared keys while the fault lasted.
    pub reads: Points,
    /// Reads of the hot key before the fault.
    pub hot_before: Points,
    /// Reads of the hot key while the fault lasted.
    pub hot: Points,
    /// Those among them that began while the near tier could not count as cut off yet.
    pub hot_at_first: Points,
    /// What cold reads took beyond their load, before the fault.
    pub cold_before: Points,
    /// What cold reads took beyond their load, in the first second of the fault.
    pub cold_learning: Points,
    /// And after that.
    pub cold_learned: Points,
    /// How long after the end of the fault each node had been answered by L1 again, in µs; nothing
    /// when one was not.
    pub recovery_us: Option<u64>,
    /// Budgets that were not met, as a person reads them.
    pub missed: Vec<String>,
}

impl Figures {
    pub(super) fn of(
        history: &[Seen],
        scenario: &Scenario,
        timeline: Timeline,
        nodes: usize,
    ) -> Self {
        let Timeline { before, fault } = timeline;
        let learning = Span { end_us: fault.end_us.min(fault.begin_us + LEARNING_US), ..fault };
        let learned = Span { begin_us: learning.end_us, ..fault };
        // It may have heard of the others a third of the time before.
        let at_first = Span { end_us: fault.begin_us + CUT_AFTER.as_micros() as u64 / 2, ..fault };
        let errors = |read: bool| {
            let failed = |seen: &&Seen| seen.record.error.is_some();
            history.iter().filter(failed).filter(|seen| seen.record.act.is_read() == read).count()
        };
        let stall = |read: bool| {
            // Not the first calls of all: they make connections and tables.
            let calls = history.iter().filter(|seen| {
                seen.record.act.is_read() == read && seen.record.begin_us >= before.begin_us
            });
            let counted = calls.filter(|Seen { node, record }| {
                let is_stopped =
                    scenario.fault.stops_a_node() && scenario.fault.node() == Some(*node);
                !(is_stopped && record.overlaps(fault.begin_us, fault.end_us))
            });
            counted.map(|seen| beyond_load(&seen.record)).max().unwrap_or_default()
        };
        let points = |act: Act, span: Span, value: fn(&Record) -> u64| {
            let records = history.iter().map(|seen| &seen.record);
            let within = records.filter(|record| {
                record.act == act
                    && record.begin_us >= span.begin_us
                    && record.begin_us < span.end_us
            });
            Points::of(within.map(value).collect())
        };
        let mut figures = Self {
            operations: history.len(),
            read_errors: errors(true),
            write_errors: errors(false),
            read_stall_us: stall(true),
            write_stall_us: stall(false),
            reads: points(Act::Read, fault, Record::took_us),
            hot_before: points(Act::Hot, before, Record::took_us),
            hot: points(Act::Hot, fault, Record::took_us),
            hot_at_first: points(Act::Hot, at_first, Record::took_us),
            cold_before: points(Act::Cold, before, beyond_load),
            cold_learning: points(Act::Cold, learning, beyond_load),
            cold_learned: points(Act::Cold, learned, beyond_load),
            recovery_us: recovery_us(history, fault.end_us, nodes),
            missed: Vec::new(),
        };
        figures.missed = figures.judge(scenario.budgets);
        figures
    }

    /// Medians: 99 of 100 are shown beside them, and are the machine's as much as the cache's.
    fn judge(&self, budgets: Budgets) -> Vec<String> {
        const RECOVERY_MAX_US: u64 = 1_000_000;
        let mut missed = Vec::new();
        let mut check = |name: &str, found: Option<u64>, max: u64| {
            if found.is_none_or(|found| found > max) {
                let found = found.map_or("never".to_owned(), |us| format!("{us} µs"));
                missed.push(format!("{name} {found} > {max} µs"));
            }
        };
        check("recovery", self.recovery_us, RECOVERY_MAX_US);
        let hot = match budgets {
            Budgets::Recovery => None,
            Budgets::WithoutRedis => Some(self.hot.median_us),
            Budgets::WithoutTiers => Some(self.hot_at_first.median_us),
        };
        if hot.is_some() {
            check("hot read", hot, 2 * self.hot_before.median_us + NEAR_SLACK_US);
            check("cold load while learning", Some(self.cold_learning.median_us), LEARNING_MAX_US);
            // With more processes than cores a load waits for its turn of a core, with Redis or
            // without: it must not wait for longer than it did. What it costs by itself is shown
            // where nothing else runs.
            let learned_max = self.cold_before.median_us.max(LEARNED_MAX_US);
            check("cold load after that", Some(self.cold_learned.median_us), learned_max);
        }
        missed
    }
}

/// What a call took besides its own load.
pub(super) fn beyond_load(record: &Record) -> u64 {
    record.took_us().saturating_sub(record.load_us)
}

fn recovery_us(history: &[Seen], since_us: u64, nodes: usize) -> Option<u64> {
    let first = |node: usize| {
        let records = history.iter().filter(|seen| seen.node == node).map(|seen| &seen.record);
        let hits = records
            .filter(|record| record.place == Some(Place::Redis) && record.begin_us >= since_us);
        hits.map(|record| record.end_us - since_us).min()
    };
    // Every node must have had one: `None` is smaller than any time.
    let all: Option<Vec<u64>> = (0..nodes).map(first).collect();
    all?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(node: usize, begin_us: u64) -> Seen {
        let record = Record {
            act: Act::Below,
            key: "k".to_owned(),
            version: Some(0),
            begin_us,
            end_us: begin_us + 10,
            place: Some(Place::Redis),
            stale: false,
            load_us: 0,
            error: None,
        };
        Seen { node, record }
    }

    #[test]
    fn a_system_has_recovered_when_its_last_node_has() {
        let history = [hit(0, 50), hit(0, 110), hit(1, 90), hit(1, 500), hit(1, 700)];
        assert_eq!(recovery_us(&history, 100, 2), Some(410));
        assert_eq!(recovery_us(&history, 100, 3), None);
    }

    #[test]
    fn points_are_of_what_was_measured() {
        assert_eq!(Points::of(Vec::new()), Points::default());
        let points = Points::of((1..=100).rev().collect());
        assert_eq!((points.median_us, points.p99_us, points.count), (50, 99, 100));
    }
}
