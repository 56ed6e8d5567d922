//! The system that this one re-creates: what its documents promise, and what it was measured at.
//!
//! Measured against the same servers on two cores, with its pool made to wait so that every request
//! was served: the fair reference. `docs/BENCHMARKS.md` has the whole table.

use crate::report::Run;

/// The longest that its documents allow for 1,000 reads at once, all of them together.
const READS_OF_1000_MS: f64 = 500.0;

/// The longest that they allow for 100 rows written in one batch. They say nothing of 1,000 writes
/// at once, which are given as long here.
const WRITES_OF_1000_MS: f64 = 1_500.0;

/// The share of reads, in 100, that its documents promise to answer from the cache.
pub const HIT_RATIO_PERCENT: f64 = 90.0;

/// What its Redis tier alone read, with 1,000 callers over 100 keys.
pub const READS_PER_S: f64 = 14_702.0;

/// How many times that this system must read through its Redis tier alone.
pub const READS_FACTOR: f64 = 10.0;

/// What it served in a scenario, in operations a second.
#[must_use]
pub fn measured_per_s(scenario: &str) -> Option<f64> {
    match scenario {
        "read-1000" => Some(READS_PER_S),
        "write-1000" => Some(10_598.0),
        "mixed-1000" => Some(13_509.0),
        "stress-5000" => Some(11_635.0),
        _ => None,
    }
}

/// The longest that its documents allow for all operations of a run at once, in milliseconds.
#[must_use]
pub fn promised_ms(run: &Run) -> f64 {
    let of_1000_ms =
        if run.write_latency_us.is_some() { WRITES_OF_1000_MS } else { READS_OF_1000_MS };
    of_1000_ms * run.concurrency as f64 / 1_000.0
}
