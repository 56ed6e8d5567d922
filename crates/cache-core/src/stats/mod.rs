//! What a cache did so far: counters and percentiles, as data and as a table.

mod histogram;
mod prometheus;
mod recorder;
mod table;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use histogram::{LatencyHistogram, LatencySummary};
pub use prometheus::prometheus;
pub(crate) use recorder::{Operation, Outcome, Recorder};
pub use table::Table;

use crate::{audit::AuditStats, live_curve::CurveStats, pressure::PressureStats, tier::Usage};

/// A snapshot of everything that a cache counted since it was built.
///
/// `Display` prints it as a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheStats {
    /// The namespace of the cache.
    pub namespace: String,
    /// The tiers in the order in which they are read; the near tier, if there is one, in front.
    pub tiers: Vec<TierStats>,
    /// Keys that were answered from a tier.
    pub hits: u64,
    /// Keys that no tier had.
    pub misses: u64,
    /// Hits of hits and misses, 0 to 1; nothing before the first read.
    pub hit_ratio: Option<f64>,
    /// Loads that were started. A batch counts its keys.
    pub loads: u64,
    /// Loads that brought no value: failed, timed out or panicked.
    pub load_errors: u64,
    /// Callers that were answered by another caller's load.
    pub shared_flights: u64,
    /// Callers that were given a stale value because the load failed or was slow.
    pub stale_served: u64,
    /// Those of them whose load was slow: it went on without them.
    pub soft_timeouts: u64,
    /// Callers that were given a stale value at once, because they asked for that.
    pub stale_at_once: u64,
    /// Loads that nobody waited for when they started: of values that were stale and answered at
    /// once, and early refreshes.
    pub background_loads: u64,
    /// Loads that were started shortly before their value expired.
    pub early_refreshes: u64,
    /// Loads that were not started, because as many as the source bears were under way.
    pub loads_shed: u64,
    /// Loads that brought the word that the old value still holds.
    pub not_modified: u64,
    /// Reads that were answered by the memory that the source has no value.
    pub negatives: u64,
    /// Loaded values that no tier kept, because the key had moved on during the load.
    pub superseded_fills: u64,
    /// Entries that the codec could not read: counted as missing.
    pub undecodable: u64,
    /// Loaded values that could not be stored: too large, or their codec or time to live failed.
    pub uncacheable: u64,
    /// How long after a change of any process this one heard of it.
    pub coherence_lag: LatencySummary,
    /// Removals and clears that tiers have still to be told.
    pub pending_removals: u64,
    /// What an audit has found, where one runs.
    pub audit: Option<AuditStats>,
    /// What other sizes of the near tier would bring, where that is estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveStats>,
    /// What was done about memory that was short, by the name of what was read (`process`, or a
    /// tier's), where [`Builder::memory_pressure`](crate::Builder::memory_pressure) was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure: BTreeMap<String, PressureStats>,
    /// How often each event has happened, by its name.
    pub events: BTreeMap<String, u64>,
    /// How long loads took, those that brought a value and those that did not.
    pub load_latency: OperationStats,
}

/// What one tier did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierStats {
    /// Its name.
    pub name: String,
    /// Keys that it had.
    pub hits: u64,
    /// Keys that it did not have.
    pub misses: u64,
    /// Keys whose operation failed, reads and writes together. None of them counts as a miss.
    pub errors: u64,
    /// The same by the kind of error, for the kinds that there were.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Hits of hits and misses, 0 to 1; nothing before the first read.
    pub hit_ratio: Option<f64>,
    /// Puts that were refused because the key had moved on.
    pub superseded: u64,
    /// Stored bytes that could not be trusted: counted as missing.
    pub corrupt: u64,
    /// The last of the errors.
    pub last_error: Option<String>,
    /// Reads.
    pub get: OperationStats,
    /// Writes.
    pub put: OperationStats,
    /// Removals.
    pub remove: OperationStats,
    /// What the tier holds; nothing when it could not be asked.
    pub usage: Option<Usage>,
}

/// The latencies of one operation, apart by how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationStats {
    /// Reads that found something.
    pub hit: Option<LatencySummary>,
    /// Reads that found nothing.
    pub miss: Option<LatencySummary>,
    /// Writes, removals and loads that were carried out.
    pub done: Option<LatencySummary>,
    /// What failed.
    pub error: Option<LatencySummary>,
}

impl OperationStats {
    fn count(of: Option<LatencySummary>) -> u64 {
        of.map_or(0, |summary| summary.count)
    }
}

impl TierStats {
    /// The statistics of a tier that was observed by `recorder`.
    pub(crate) fn new(name: &str, recorder: &Recorder, usage: Option<Usage>) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let [get, put, remove] =
            [Operation::Get, Operation::Put, Operation::Remove].map(|op| recorder.snapshot(op));
        let (hits, misses) = (OperationStats::count(get.hit), OperationStats::count(get.miss));
        Self {
            name: name.to_owned(),
            hits,
            misses,
            errors: [get, put, remove].iter().map(|op| OperationStats::count(op.error)).sum(),
            errors_by_kind: recorder.errors_by_kind(),
            hit_ratio: ratio(hits, misses),
            superseded: recorder.superseded.load(Relaxed),
            corrupt: recorder.corrupt.load(Relaxed),
            last_error: recorder.last_error(),
            get,
            put,
            remove,
            usage,
        }
    }
}

/// Hits of all reads; nothing without reads.
pub(crate) fn ratio(hits: u64, misses: u64) -> Option<f64> {
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio =
            |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{:.1} %", r * 100.0));
        writeln!(
            f,
            "{}: {} hits, {} misses, hit ratio {}; {} loads, {} failed, {} shared",
            self.namespace,
            self.hits,
            self.misses,
            ratio(self.hit_ratio),
            self.loads,
            self.load_errors,
            self.shared_flights,
        )?;
        let events = self.events.iter().map(|(name, count)| (name.as_str(), *count));
        let [rare, events] = [told(self.rare()), told(events)];
        for (heading, told) in [("also", rare), ("events", events)] {
            if !told.is_empty() {
                writeln!(f, "{heading}: {told}")?;
            }
        }
        if let Some(curve) = self.curve.as_ref().filter(|curve| !curve.points.is_empty()) {
            writeln!(f, "with LRU, by a sample: {curve}")?;
        }
        for (gauge, stats) in &self.pressure {
            writeln!(f, "memory of {gauge}: {stats}")?;
        }
        let mut tiers = Table::new([
            "tier",
            "hits",
            "misses",
            "errors",
            "hit ratio",
            "refused",
            "corrupt",
            "entries",
            "bytes",
            "evicted",
        ]);
        for tier in &self.tiers {
            let usage = tier.usage.unwrap_or_default();
            let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
            tiers.row([
                tier.name.clone(),
                tier.hits.to_string(),
                tier.misses.to_string(),
                tier.errors.to_string(),
                ratio(tier.hit_ratio),
                tier.superseded.to_string(),
                tier.corrupt.to_string(),
                number(usage.entries),
                number(usage.bytes),
                number(usage.evictions),
            ]);
        }
        write!(f, "{tiers}")?;
        for tier in &self.tiers {
            if let Some(error) = &tier.last_error {
                writeln!(f, "{}: the last error was: {error}", tier.name)?;
            }
        }
        write!(f, "{}", self.latencies())
    }
}

/// What has happened at all, with how often.
fn told<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let happened = counts.into_iter().filter(|(_, count)| *count > 0);
    happened.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

impl CacheStats {
    /// What most caches count none of.
    const fn rare(&self) -> [(&'static str, u64); 12] {
        [
            ("stale served", self.stale_served),
            ("for a slow load", self.soft_timeouts),
            ("stale at once", self.stale_at_once),
            ("background loads", self.background_loads),
            ("early refreshes", self.early_refreshes),
            ("loads shed", self.loads_shed),
            ("not modified", self.not_modified),
            ("negatives", self.negatives),
            ("superseded fills", self.superseded_fills),
            ("undecodable", self.undecodable),
            ("uncacheable", self.uncacheable),
            ("pending removals", self.pending_removals),
        ]
    }

    /// Percentiles by tier, operation and outcome, in microseconds.
    fn latencies(&self) -> Table {
        let mut table =
            Table::new(["latency, µs", "outcome", "count", "p50", "p95", "p99", "p99.9", "max"]);
        let mut operation = |name: String, stats: &OperationStats| {
            let outcomes = [
                ("hit", stats.hit),
                ("miss", stats.miss),
                ("done", stats.done),
                ("error", stats.error),
            ];
            for (outcome, summary) in outcomes {
                let Some(s) = summary else { continue };
                let us = |us: f64| format!("{us:.1}");
                table.row([
                    name.clone(),
                    outcome.to_owned(),
                    s.count.to_string(),
                    us(s.p50_us),
                    us(s.p95_us),
                    us(s.p99_us),
                    us(s.p999_us),
                    us(s.max_us),
                ]);
            }
        };
        for tier in &self.tiers {
            operation(format!("{} get", tier.name), &tier.get);
            operation(format!("{} put", tier.name), &tier.put);
            operation(format!("{} remove", tier.name), &tier.remove);
        }
        operation("load".to_owned(), &self.load_latency);
        let lag = Some(self.coherence_lag).filter(|lag| lag.count > 0);
        operation("coherence lag".to_owned(), &OperationStats { done: lag, ..Default::default() });
        table
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn a_snapshot_counts_keys_and_keeps_errors_apart_from_misses() {
        let recorder = Recorder::default();
        let us = Duration::from_micros;
        recorder.record(Operation::Get, Outcome::Hit, us(100), 90);
        recorder.record(Operation::Get, Outcome::Miss, us(100), 10);
        let error = Error::new(ErrorKind::Timeout, "no answer in 50 ms");
        recorder.record_error(Operation::Get, &error, us(50_000), 3);
        recorder.record_error(Operation::Put, &error, us(50_000), 2);
        let stats = TierStats::new("redis", &recorder, None);
        assert_eq!((stats.hits, stats.misses, stats.errors), (90, 10, 5));
        assert_eq!(stats.hit_ratio, Some(0.9));
        let hit = stats.get.hit.unwrap();
        assert!(hit.max_us < 102.0, "an error's latency is not a hit's: {hit:?}");
        assert_eq!(stats.put.done, None);
        assert_eq!(stats.last_error.as_deref(), Some("no answer in 50 ms"));
    }

    #[test]
    fn a_table_tells_what_is_rare_only_where_it_happened() {
        let quiet = CacheStats::default().to_string();
        assert!(
            !["also", "events", "coherence"].iter().any(|word| quiet.contains(word)),
            "{quiet}"
        );
        let lag = LatencySummary { count: 4, p50_us: 1_200.0, ..LatencySummary::default() };
        let events = [("log_gap".to_owned(), 2), ("log_cut".to_owned(), 0)];
        let table = CacheStats {
            loads_shed: 3,
            pending_removals: 1,
            coherence_lag: lag,
            events: events.into(),
            ..CacheStats::default()
        }
        .to_string();
        for part in ["also: loads shed 3, pending removals 1\n", "events: log_gap 2\n", "1200.0"] {
            assert!(table.contains(part), "{part} in {table}");
        }
    }

    #[test]
    fn a_snapshot_is_data_and_a_table() {
        let recorder = Recorder::default();
        recorder.record(Operation::Get, Outcome::Hit, Duration::from_micros(100), 1);
        let stats = CacheStats {
            namespace: "price".to_owned(),
            tiers: vec![TierStats::new("redis", &recorder, Some(Usage::default()))],
            hits: 1,
            ..CacheStats::default()
        };
        let json = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<CacheStats>(&json).unwrap(), stats);
        let table = stats.to_string();
        assert!(table.contains("redis get") && table.contains("100.0 %"), "{table}");
    }
}
