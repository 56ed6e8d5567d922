//! What became of the operations of one scenario.

use std::{collections::BTreeMap, time::Duration};

use cache_core::LatencyHistogram;

use super::subject::{Outcome, Performed};
use crate::scenario::Operation;

/// Counters and latencies. Those of several tasks are merged into one; percentiles are taken of the
/// whole, never averaged.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations that were started.
    pub operations: u64,
    /// Those that brought what they should.
    pub successes: u64,
    /// Those that brought another value than the one that was asked for.
    pub wrong: u64,
    /// Those that never ended.
    pub lost: u64,
    /// Those that ended in an error, by its kind.
    pub errors: BTreeMap<String, u64>,
    /// Successful reads.
    pub reads: u64,
    /// Successful reads that only the source could answer.
    pub loaded: u64,
    /// Of successful reads.
    pub read_latency: LatencyHistogram,
    /// Of successful writes.
    pub write_latency: LatencyHistogram,
    /// From the first operation's start to the last one's end.
    pub elapsed: Duration,
}

impl Tally {
    /// Notes how one operation ended. A failed one has no place among the latencies: a fast error
    /// would make them look better.
    pub fn note(&mut self, performed: Performed) {
        self.operations += 1;
        match performed.outcome {
            Outcome::Right { loaded } => {
                self.successes += 1;
                match performed.operation {
                    Operation::Read(_) => {
                        self.reads += 1;
                        self.loaded += u64::from(loaded);
                        self.read_latency.record(performed.latency, 1);
                    }
                    Operation::Write(_) => self.write_latency.record(performed.latency, 1),
                }
            }
            Outcome::Wrong => self.wrong += 1,
            Outcome::Failed(kind) => *self.errors.entry(kind).or_default() += 1,
        }
    }

    /// Notes operations that never ended.
    pub fn note_lost(&mut self, operations: u64) {
        self.operations += operations;
        self.lost += operations;
    }

    /// Adds what another one counted at the same time.
    pub fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.successes += other.successes;
        self.wrong += other.wrong;
        self.lost += other.lost;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.reads += other.reads;
        self.loaded += other.loaded;
        self.read_latency.merge(&other.read_latency);
        self.write_latency.merge(&other.write_latency);
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// Latencies of reads and writes together.
    #[must_use]
    pub fn latency(&self) -> LatencyHistogram {
        let mut all = self.read_latency.clone();
        all.merge(&self.write_latency);
        all
    }

    /// Successes a second.
    #[must_use]
    pub fn throughput_per_s(&self) -> f64 {
        self.successes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The share of successful reads that needed no load; nothing without reads.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.reads > 0).then(|| 1.0 - self.loaded as f64 / self.reads as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn performed(operation: Operation, outcome: Outcome, latency_ms: u64) -> Performed {
        let latency = Duration::from_millis(latency_ms);
        Performed { operation, outcome, latency, ended: Instant::now() }
    }

    #[test]
    fn only_successes_count_for_throughput_and_latency() {
        let mut tally = Tally { elapsed: Duration::from_secs(2), ..Tally::default() };
        for _ in 0..100 {
            tally.note(performed(Operation::Read(0), Outcome::Right { loaded: false }, 10));
        }
        tally.note(performed(Operation::Write(0), Outcome::Right { loaded: false }, 20));
        tally.note(performed(Operation::Read(0), Outcome::Failed("Timeout".to_owned()), 900));
        tally.note(performed(Operation::Read(0), Outcome::Wrong, 900));
        tally.note_lost(3);
        assert_eq!((tally.operations, tally.successes, tally.wrong, tally.lost), (106, 101, 1, 3));
        assert_eq!(tally.errors, BTreeMap::from([("Timeout".to_owned(), 1)]));
        assert!((tally.throughput_per_s() - 50.5).abs() < 0.01);
        let latency = tally.latency().summary();
        assert_eq!(latency.count, 101);
        assert!(latency.max_us < 20_500.0, "{latency:?}");
    }

    #[test]
    fn a_read_that_was_loaded_is_no_hit() {
        let mut tally = Tally::default();
        assert_eq!(tally.hit_ratio(), None);
        for loaded in [true, false, false, false] {
            tally.note(performed(Operation::Read(0), Outcome::Right { loaded }, 1));
        }
        assert_eq!(tally.hit_ratio(), Some(0.75));
    }

    #[test]
    fn merged_tallies_are_the_sum_of_their_parts() {
        let mut parts = [Tally::default(), Tally::default()];
        parts[0].note(performed(Operation::Read(0), Outcome::Failed("Full".to_owned()), 1));
        parts[1].note(performed(Operation::Read(0), Outcome::Failed("Full".to_owned()), 1));
        parts[1].note(performed(Operation::Write(0), Outcome::Right { loaded: false }, 1));
        let mut whole = Tally::default();
        parts.iter().for_each(|part| whole.merge(part));
        assert_eq!((whole.operations, whole.successes), (3, 1));
        assert_eq!(whole.errors["Full"], 2);
        assert_eq!(whole.latency().count(), 1);
    }
}
