//! What is done to a stack: how many at once, over how many keys, and in which mix.

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A mix of reads and writes by many tasks at once, each with one operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Tasks, and with that operations in flight.
    pub concurrency: usize,
    /// Keys, each as likely as the others.
    pub keys: usize,
    /// Writes in 100 operations. The rest are reads.
    pub writes_percent: u32,
}

/// The seed system's four.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "read-1000", concurrency: 1_000, keys: 100, writes_percent: 0 },
    Scenario { name: "write-1000", concurrency: 1_000, keys: 1_000, writes_percent: 100 },
    Scenario { name: "mixed-1000", concurrency: 1_000, keys: 100, writes_percent: 20 },
    Scenario { name: "stress-5000", concurrency: 5_000, keys: 500, writes_percent: 0 },
];

impl Scenario {
    /// The scenario called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|scenario| scenario.name == name)
    }

    /// Whether any operation is a read.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.writes_percent < 100
    }

    /// Whether any operation is a write.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes_percent > 0
    }

    /// What the task `worker` does, one after the other, without end. The same for the same `seed`.
    #[must_use]
    pub fn operations(&self, seed: u64, worker: usize) -> Operations {
        // Apart by an odd constant: neighbouring workers must not do the same.
        let seed = seed.wrapping_add((worker as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Operations { rng: SmallRng::seed_from_u64(seed), scenario: *self }
    }
}

/// One operation, on the key of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read it, from its source where no tier has it.
    Read(usize),
    /// Write it.
    Write(usize),
}

/// What one task does. Ends never.
#[derive(Clone, Debug)]
pub struct Operations {
    rng: SmallRng,
    scenario: Scenario,
}

impl Iterator for Operations {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let key = self.rng.random_range(0..self.scenario.keys);
        let write = self.rng.random_range(0..100) < self.scenario.writes_percent;
        Some(if write { Operation::Write(key) } else { Operation::Read(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(scenario: Scenario, seed: u64, worker: usize) -> Vec<Operation> {
        scenario.operations(seed, worker).take(10_000).collect()
    }

    #[test]
    fn one_seed_is_one_stream_and_every_worker_has_its_own() {
        for scenario in SCENARIOS {
            assert_eq!(some(scenario, 1, 0), some(scenario, 1, 0));
            assert_ne!(some(scenario, 1, 0), some(scenario, 1, 1));
            assert_ne!(some(scenario, 1, 0), some(scenario, 2, 0));
        }
    }

    #[test]
    fn the_mix_is_what_the_scenario_says_and_every_key_is_asked_for() {
        for scenario in SCENARIOS {
            let operations = some(scenario, 7, 3);
            let writes = operations.iter().filter(|o| matches!(o, Operation::Write(_))).count();
            let expected = 100 * scenario.writes_percent as usize;
            assert!(writes.abs_diff(expected) < 200, "{}: {writes}", scenario.name);
            let mut seen = vec![false; scenario.keys];
            for operation in operations {
                let (Operation::Read(key) | Operation::Write(key)) = operation;
                seen[key] = true;
            }
            let unseen = seen.iter().filter(|seen| !**seen).count();
            assert!(unseen < scenario.keys / 100 + 1, "{}: {unseen} keys", scenario.name);
        }
    }

    #[test]
    fn a_scenario_is_found_by_its_name() {
        assert_eq!(Scenario::named("stress-5000").map(|s| s.concurrency), Some(5_000));
        assert_eq!(Scenario::named("read"), None);
    }
}
