//! The figures of a load test as data: what is written to the JSON file.

use std::collections::BTreeMap;

use cache_core::LatencyHistogram;
use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// A percentile needs so many samples beyond it; with fewer it would be a guess.
const SAMPLES_BEYOND: u64 = 10;

/// A whole load test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine, the commit, the servers and the settings, as far as they are known.
    pub environment: serde_json::Value,
    /// Whether it was ended before it was through.
    pub partial: bool,
    /// One for each scenario and stack.
    pub runs: Vec<Run>,
    /// What was demanded, and whether it was met.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether every verdict is met and nothing is missing.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.partial && self.verdicts.iter().all(|verdict| verdict.ok)
    }
}

/// One scenario against one stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// The stack's name.
    pub stack: String,
    /// Operations in flight at the same time.
    pub concurrency: usize,
    /// Keys that they were spread over.
    pub keys: usize,
    /// How long was measured.
    pub seconds: f64,
    /// Operations that were started.
    pub operations: u64,
    /// Those that brought what they should.
    pub successes: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// The same by the kind of error.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Those that brought another value than the one asked for.
    pub wrong: u64,
    /// Operations that never ended, and acknowledged writes that could not be read back.
    pub lost: u64,
    /// The second of these, counted for each tier and key.
    pub lost_writes: u64,
    /// How often the source was asked.
    pub loads: u64,
    /// Keys that were read from each tier. Fewer than reads: a hit in a faster tier asks no slower
    /// one, and callers that want a key at the same time share one read of it.
    pub tier_reads: BTreeMap<String, u64>,
    /// What failed in each tier, and was made good by another one or by the source. In keys.
    pub tier_errors: BTreeMap<String, u64>,
    /// How many of these were given up because the tier was silent for its patience, which a
    /// machine that is short of processors brings about as well as a server that is ill.
    #[serde(default)]
    pub tier_silences: BTreeMap<String, u64>,
    /// What one of them said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_tier_error: Option<String>,
    /// Successes a second.
    pub throughput_per_s: f64,
    /// Of successes, in microseconds.
    pub latency_us: Latency,
    /// Of successful reads, where there are some.
    pub read_latency_us: Option<Latency>,
    /// Of successful writes, where there are some.
    pub write_latency_us: Option<Latency>,
    /// By tier, and [overall](Self::OVERALL), 0 to 1; nothing where no key was asked for.
    pub hit_ratio: BTreeMap<String, Option<f64>>,
    /// Whether it was ended before it was through.
    pub partial: bool,
}

impl Run {
    /// The name of the hit ratio that callers see, beside those of the tiers.
    pub const OVERALL: &str = "overall";

    /// What as many operations as there are tasks take together, in milliseconds.
    #[must_use]
    pub fn round_ms(&self) -> f64 {
        self.concurrency as f64 / self.throughput_per_s.max(1e-9) * 1e3
    }

    /// Whether this is one of `scenario` against `stack`.
    #[must_use]
    pub fn is(&self, stack: &str, scenario: &str) -> bool {
        self.stack == stack && self.scenario == scenario
    }
}

/// Percentiles, in microseconds; nothing where there are too few samples for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: Option<f64>,
    /// 95 of 100 samples are at most this.
    pub p95: Option<f64>,
    /// 99 of 100 samples are at most this.
    pub p99: Option<f64>,
    /// 999 of 1,000 samples are at most this.
    pub p999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Latency {
    /// The percentiles of `histogram` that it has samples for.
    #[must_use]
    pub fn of(histogram: &LatencyHistogram) -> Self {
        let summary = histogram.summary();
        let of = |one_in: u64, us: f64| (summary.count >= SAMPLES_BEYOND * one_in).then_some(us);
        Self {
            p50: of(2, summary.p50_us),
            p95: of(20, summary.p95_us),
            p99: of(100, summary.p99_us),
            p999: of(1_000, summary.p999_us),
            max: (summary.count > 0).then_some(summary.max_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_percentile_without_ten_samples_beyond_it_is_not_told() {
        let mut histogram = LatencyHistogram::new();
        assert_eq!(Latency::of(&histogram), Latency::default());
        histogram.record(Duration::from_micros(5), 999);
        let latency = Latency::of(&histogram);
        assert!(latency.p95.is_some() && latency.max.is_some());
        assert_eq!((latency.p99, latency.p999), (None, None));
        histogram.record(Duration::from_micros(5), 9_001);
        assert!(Latency::of(&histogram).p999.is_some());
    }

    #[test]
    fn a_round_is_what_all_tasks_take_together() {
        let run = Run { concurrency: 1_000, throughput_per_s: 14_702.0, ..Run::default() };
        assert!((run.round_ms() - 68.0).abs() < 0.1);
        assert!(Run::default().round_ms().is_finite());
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let report = Report {
            environment: serde_json::json!({"cores": 2}),
            partial: false,
            runs: vec![Run { hit_ratio: [("redis".to_owned(), None)].into(), ..Run::default() }],
            verdicts: Vec::new(),
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        assert!(report.is_good() && !Report { partial: true, ..report }.is_good());
    }
}
