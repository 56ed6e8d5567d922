//! Statistics as Prometheus scrapes them.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
};

use super::{CacheStats, LatencySummary, OperationStats, TierStats};

/// The statistics of the caches of a process in Prometheus' text format, to be answered under
/// `/metrics` with the content type `text/plain; version=0.0.4`.
///
/// All names begin with `cache_`, and each sample has the label `cache`, the namespace. Times are in
/// seconds. Counters count since the cache was built; what a tier's server counts (evictions) since
/// that started. A latency is a summary with the quantiles 0.5, 0.95, 0.99 and 0.999 of all samples
/// so far, and without a sum. What there is not is left out: a quantile before the first sample, the
/// size of a tier that could not be asked.
///
/// # Examples
///
/// ```
/// use cache_core::{Cache, ByteSize, prometheus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache: Cache<f64> = Cache::builder("price").near(ByteSize::mib(1)).build()?;
/// cache.get_or_load("AAPL", || async { Ok::<_, std::io::Error>(187.5) }).await?;
/// let page = prometheus([&cache.stats().await]);
/// assert!(page.contains("cache_loads_total{cache=\"price\"} 1\n"));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn prometheus<'a>(caches: impl IntoIterator<Item = &'a CacheStats>) -> String {
    let mut page = Page::default();
    for stats in caches {
        page.cache(stats);
    }
    page.to_string()
}

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

/// What Prometheus calls a family: everything of one name, told together.
struct Family {
    kind: &'static str,
    help: &'static str,
    samples: String,
}

/// The families by their names.
#[derive(Default)]
struct Page(BTreeMap<&'static str, Family>);

impl Page {
    fn cache(&mut self, stats: &CacheStats) {
        let cache = ("cache", stats.namespace.as_str());
        for (name, help, count) in counters(stats) {
            self.counter(name, help, &[cache], count);
        }
        for (event, count) in &stats.events {
            let labels = [cache, ("event", event)];
            self.counter("cache_events_total", "Events, by their name", &labels, *count);
        }
        let pending = stats.pending_removals as f64;
        let help = "Removals and clears that tiers have still to be told";
        self.gauge("cache_pending_removals", help, &[cache], pending);
        let help = "How long loads took";
        self.operation("cache_load_seconds", help, &[cache], &stats.load_latency);
        let help = "How long after a change of any process this one heard of it";
        self.summary("cache_coherence_lag_seconds", help, &[cache], &stats.coherence_lag);
        for tier in &stats.tiers {
            self.tier(cache, tier);
        }
        self.studies(cache, stats);
    }

    fn tier(&mut self, cache: Label<'_>, stats: &TierStats) {
        let labels = [cache, ("tier", &stats.name)];
        let counters = [
            ("cache_tier_hits_total", "Keys that the tier had", stats.hits),
            ("cache_tier_misses_total", "Keys that the tier did not have", stats.misses),
            (
                "cache_tier_superseded_total",
                "Puts that were refused because the key had moved on",
                stats.superseded,
            ),
            (
                "cache_tier_corrupt_total",
                "Stored bytes that could not be trusted: counted as missing",
                stats.corrupt,
            ),
        ];
        for (name, help, count) in counters {
            self.counter(name, help, &labels, count);
        }
        for (kind, count) in &stats.errors_by_kind {
            let [cache, tier] = labels;
            let help = "Keys whose operation failed, by the kind of error";
            self.counter("cache_tier_errors_total", help, &[cache, tier, ("kind", kind)], *count);
        }
        for (operation, stats) in
            [("get", &stats.get), ("put", &stats.put), ("remove", &stats.remove)]
        {
            let [cache, tier] = labels;
            let help = "How long calls of the tier took; a batch counts its keys";
            let labels = [cache, tier, ("operation", operation)];
            self.operation("cache_tier_seconds", help, &labels, stats);
        }
        let Some(usage) = stats.usage else { return };
        let gauges = [
            ("cache_tier_entries", "Entries, tombstones included", usage.entries),
            ("cache_tier_bytes", "Bytes in use", usage.bytes),
            ("cache_tier_bytes_max", "Bytes allowed", usage.bytes_max),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                self.gauge(name, help, &labels, value as f64);
            }
        }
        if let Some(evictions) = usage.evictions {
            let help = "Entries evicted for want of room";
            self.counter("cache_tier_evictions_total", help, &labels, evictions);
        }
    }

    /// What only some caches have: a live curve, watches of memory, an audit.
    fn studies(&mut self, cache: Label<'_>, stats: &CacheStats) {
        for point in stats.curve.iter().flat_map(|curve| &curve.points) {
            let factor = point.factor.to_string();
            let help = "LRU's hit ratio with so many times the near tier's room, by a sample";
            let labels = [cache, ("room", factor.as_str())];
            self.gauge("cache_near_curve_hit_ratio", help, &labels, point.hit_ratio);
        }
        for (gauge, stats) in &stats.pressure {
            let labels = [cache, ("gauge", gauge.as_str())];
            let gauges = [
                ("cache_memory_used_ratio", "Which share of its limit is used", stats.used),
                (
                    "cache_memory_kept_ratio",
                    "Which share of its room a cache may use",
                    stats.fraction,
                ),
            ];
            for (name, help, value) in gauges {
                self.gauge(name, help, &labels, value);
            }
            let counters = [
                (
                    "cache_memory_pressure_total",
                    "How often memory began to be short",
                    stats.episodes,
                ),
                ("cache_memory_evictions_total", "Entries evicted for that", stats.evicted),
                ("cache_memory_unreadable_total", "Readings that failed", stats.unreadable),
            ];
            for (name, help, count) in counters {
                self.counter(name, help, &labels, count);
            }
        }
        let Some(audit) = &stats.audit else { return };
        self.counter(
            "cache_audit_samples_total",
            "Keys that were compared",
            &[cache],
            audit.samples,
        );
        if let Some(share) = audit.consistent_share {
            let help = "The share of compared keys of which every copy was right";
            self.gauge("cache_audit_consistent_ratio", help, &[cache], share);
        }
        for (kind, count) in &audit.findings {
            let labels = [cache, ("kind", kind.as_str())];
            self.counter("cache_audit_findings_total", "Wrong copies, by kind", &labels, *count);
        }
        let help = "For how long a compared key had been wrong, 0 where it was right";
        self.summary("cache_audit_staleness_seconds", help, &[cache], &audit.staleness);
    }

    fn operation(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        stats: &OperationStats,
    ) {
        let outcomes = [
            ("hit", stats.hit),
            ("miss", stats.miss),
            ("done", stats.done),
            ("error", stats.error),
        ];
        for (outcome, summary) in outcomes {
            if let Some(summary) = summary {
                let labels = [labels, &[("outcome", outcome)]].concat();
                self.summary(name, help, &labels, &summary);
            }
        }
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        count: u64,
    ) {
        self.sample("counter", name, "", help, labels, count);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: f64) {
        self.sample("gauge", name, "", help, labels, value);
    }

    fn summary(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        summary: &LatencySummary,
    ) {
        let quantiles = [
            ("0.5", summary.p50_us),
            ("0.95", summary.p95_us),
            ("0.99", summary.p99_us),
            ("0.999", summary.p999_us),
        ];
        for (quantile, us) in quantiles.into_iter().filter(|_| summary.count > 0) {
            let labels = [labels, &[("quantile", quantile)]].concat();
            self.sample("summary", name, "", help, &labels, us / 1e6);
        }
        self.sample("summary", name, "_count", help, labels, summary.count);
    }

    fn sample(
        &mut self,
        kind: &'static str,
        name: &'static str,
        suffix: &str,
        help: &'static str,
        labels: &[Label<'_>],
        value: impl Display,
    ) {
        let new = || Family { kind, help, samples: String::new() };
        let samples = &mut self.0.entry(name).or_insert_with(new).samples;
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        // Writing to a string does not fail.
        let _ = writeln!(samples, "{name}{suffix}{{{}}} {value}", labels.join(","));
    }
}

impl Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { kind, help, samples }) in &self.0 {
            write!(f, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{samples}")?;
        }
        Ok(())
    }
}

/// What a cache counts as a whole.
const fn counters(stats: &CacheStats) -> [(&'static str, &'static str, u64); 16] {
    [
        ("cache_hits_total", "Keys that were answered from a tier", stats.hits),
        ("cache_misses_total", "Keys that no tier had", stats.misses),
        ("cache_loads_total", "Loads that were started", stats.loads),
        ("cache_load_errors_total", "Loads that brought no value", stats.load_errors),
        (
            "cache_shared_flights_total",
            "Callers that were answered by another caller's load",
            stats.shared_flights,
        ),
        (
            "cache_stale_served_total",
            "Callers that were given a stale value, for a load that failed or was slow",
            stats.stale_served,
        ),
        ("cache_soft_timeouts_total", "Those of them whose load was slow", stats.soft_timeouts),
        (
            "cache_stale_at_once_total",
            "Callers that asked for a stale value and were given it at once",
            stats.stale_at_once,
        ),
        (
            "cache_background_loads_total",
            "Loads that nobody waited for when they started",
            stats.background_loads,
        ),
        (
            "cache_early_refreshes_total",
            "Loads that were started shortly before their value expired",
            stats.early_refreshes,
        ),
        (
            "cache_loads_shed_total",
            "Loads that were not started, because the source bears no more",
            stats.loads_shed,
        ),
        (
            "cache_not_modified_total",
            "Loads that brought the word that the old value still holds",
            stats.not_modified,
        ),
        (
            "cache_negatives_total",
            "Reads that were answered by the memory that the source has no value",
            stats.negatives,
        ),
        (
            "cache_superseded_fills_total",
            "Loaded values that no tier kept, because the key had moved on",
            stats.superseded_fills,
        ),
        ("cache_undecodable_total", "Entries that the codec could not read", stats.undecodable),
        ("cache_uncacheable_total", "Loaded values that could not be stored", stats.uncacheable),
    ]
}

/// A label's value as it stands between quotes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
