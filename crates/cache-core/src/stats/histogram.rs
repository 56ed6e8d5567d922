//! Latencies, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart: 10 minutes. Longer ones count as this.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// A histogram of latencies, for percentiles in microseconds.
///
/// HDR: every sample counts, at a relative error of at most 1 %, from 1 ns to 10 minutes, in at
/// most 36 KiB. Merging histograms and asking the result gives the percentile of all samples;
/// averaging percentiles does not.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::LatencyHistogram;
///
/// let mut histogram = LatencyHistogram::new();
/// for millis in 1..=100 {
///     histogram.record(Duration::from_millis(millis), 1);
/// }
/// let p95_us = histogram.summary().p95_us;
/// assert!((94_000.0..=96_000.0).contains(&p95_us), "{p95_us}");
/// ```
#[derive(Clone, Debug)]
pub struct LatencyHistogram(Histogram<u64>);

impl LatencyHistogram {
    /// An empty histogram. It grows with the range of its samples.
    #[must_use]
    pub fn new() -> Self {
        let mut inner = Histogram::new(2).expect("two significant digits are allowed");
        inner.auto(true);
        Self(inner)
    }

    /// Notes `count` samples of `latency`.
    pub fn record(&mut self, latency: Duration, count: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).min(LATENCY_MAX_NS);
        self.0.record_n(ns, count).expect("the histogram grows up to the largest latency");
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the histogram grows up to the largest latency");
    }

    /// The samples that have come since this histogram was as `earlier`.
    ///
    /// # Panics
    ///
    /// When `earlier` has samples that this one does not have.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        later.0.subtract(&earlier.0).expect("it has all samples that it had before");
        later
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `quantile` (0 to 1) of the samples do not exceed, in microseconds; 0
    /// without samples.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// How many samples took longer than `us` microseconds, at the histogram's precision.
    #[must_use]
    pub fn count_above(&self, us: f64) -> u64 {
        let percent = self.0.percentile_below((us * 1e3) as u64);
        (self.count() as f64 * (1.0 - percent / 100.0)).round() as u64
    }

    /// The usual percentiles.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            count: self.count(),
            p50_us: self.quantile_us(0.5),
            p95_us: self.quantile_us(0.95),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: self.0.max() as f64 / 1e3,
        }
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The percentiles of a [`LatencyHistogram`], in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Samples. A batch counts its keys.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// 95 of 100 samples are at most this.
    pub p95_us: f64,
    /// 99 of 100 samples are at most this.
    pub p99_us: f64,
    /// 999 of 1,000 samples are at most this.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_histogram_has_no_latency() {
        assert_eq!(LatencyHistogram::new().summary(), LatencySummary::default());
    }

    #[test]
    fn what_took_longer_than_a_bound_is_counted() {
        let mut histogram = LatencyHistogram::new();
        assert_eq!(histogram.count_above(0.0), 0);
        histogram.record(Duration::from_micros(100), 90);
        histogram.record(Duration::from_micros(200), 10);
        let above = [50.0, 150.0, 250.0, 1e9].map(|us| histogram.count_above(us));
        assert_eq!(above, [100, 10, 0, 0]);
    }

    #[test]
    fn memory_is_bounded_whatever_the_samples() {
        let mut histogram = LatencyHistogram::new();
        for latency in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            histogram.record(latency, u64::MAX / 4);
        }
        assert!(histogram.0.distinct_values() * size_of::<u64>() <= 36 * 1024);
        assert!(histogram.summary().max_us <= 1.01 * LATENCY_MAX_NS as f64 / 1e3);
    }

    proptest! {
        /// The percentile of merged histograms is that of all samples together.
        #[test]
        fn merging_is_the_union(
            a in prop::collection::vec(0_u64..1_000_000, 1..100),
            b in prop::collection::vec(0_u64..1_000_000, 1..100),
        ) {
            let of = |samples: &[u64]| {
                let mut histogram = LatencyHistogram::new();
                samples.iter().for_each(|&us| histogram.record(Duration::from_micros(us), 1));
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let mut all = [a, b].concat();
            prop_assert_eq!(merged.summary(), of(&all).summary());
            all.sort_unstable();
            // The nearest rank, without the bias of one: the smallest sample that enough are below.
            let rank = (all.len() as f64 * 0.95).ceil() as usize - 1;
            let exact = all[rank] as f64;
            let told = merged.summary().p95_us;
            prop_assert!((told - exact).abs() <= exact * 0.01 + 0.01, "{} for {}", told, exact);
        }
    }
}
