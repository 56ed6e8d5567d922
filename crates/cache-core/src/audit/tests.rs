//! Memory tiers with differences put into them, in paused time.

use bytes::Bytes;
use futures::future::ready;

use super::*;
use crate::{
    clock::{ManualClock, Timestamp},
    entry::{CodecId, Entry, Ttl},
    error::{Error, ErrorKind},
    key::Namespace,
    memory::MemoryTier,
    tier::TierExt,
    units::ByteSize,
};

struct Stage {
    clock: ManualClock,
    upper: Arc<MemoryTier>,
    lower: Arc<MemoryTier>,
    events: Events,
}

impl Stage {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier =
            |name| Arc::new(MemoryTier::new(ByteSize::mib(1), Arc::new(clock.clone())).named(name));
        let (upper, lower) = (tier("upper"), tier("lower"));
        Self { clock, upper, lower, events: Events::new() }
    }

    fn auditor(&self) -> Auditor {
        let tiers: Vec<Arc<dyn Tier>> = vec![self.upper.clone(), self.lower.clone()];
        let config = AuditConfig { samples_per_second: 1_000, ..AuditConfig::default() };
        Auditor::new(tiers, Arc::new(self.clock.clone()), config, self.events.clone())
    }

    fn entry(&self, value: &str, version: Option<u64>) -> Entry {
        let ttl = Ttl::fresh(Duration::from_secs(3_600));
        Entry::new(Bytes::copy_from_slice(value.as_bytes()), CodecId(3), self.clock.now(), ttl)
            .with_version(version.map(Version))
    }
}

fn key(text: &str) -> Key {
    Namespace::new("n").unwrap().key(text).unwrap()
}

fn kinds(report: &AuditReport) -> Vec<(&str, FindingKind)> {
    report.findings.iter().map(|finding| (&*finding.tier, finding.kind)).collect()
}

async fn put(tier: &MemoryTier, text: &str, entry: &Entry) {
    TierExt::put(tier, key(text), entry.clone()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tiers_that_agree_are_consistent() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    let entry = stage.entry("a", None);
    for text in ["both", "below"] {
        put(&stage.lower, text, &entry).await;
    }
    put(&stage.upper, "both", &entry).await;
    // Loaded anew and the same: no other value.
    put(&stage.lower, "refreshed", &entry).await;
    stage.clock.advance(Duration::from_secs(5));
    put(&stage.upper, "refreshed", &stage.entry("a", None)).await;
    for text in ["both", "below", "absent", "refreshed"] {
        auditor.note_read(&key(text));
    }
    let report = auditor.run_once().await;
    // What one tier alone has cannot be compared.
    assert_eq!(report, AuditReport { samples: 2, consistent: 2, ..AuditReport::default() });
    assert_eq!(auditor.stats().consistent_share, Some(1.0));
    assert_eq!(stage.events.count("inconsistent"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_older_copy_is_found_on_either_side_and_told_how_long_it_is_wrong() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    let old = stage.entry("old", None);
    put(&stage.upper, "read", &old).await;
    put(&stage.lower, "missed", &old).await;
    stage.clock.advance(Duration::from_secs(5));
    let new = stage.entry("new", None);
    put(&stage.lower, "read", &new).await;
    put(&stage.upper, "missed", &new).await;
    stage.clock.advance(Duration::from_secs(2));
    auditor.note_read(&key("read"));
    let report = auditor.run_once().await;
    assert_eq!(kinds(&report), [("upper", FindingKind::OlderThanBelow)]);
    assert_eq!(report.findings[0].stale_for, Duration::from_secs(2));
    auditor.note_read(&key("missed"));
    assert_eq!(kinds(&auditor.run_once().await), [("lower", FindingKind::OlderThanAbove)]);
    let stats = auditor.stats();
    assert_eq!((stats.samples, stats.consistent_share), (2, Some(0.0)));
    assert_eq!((stats.findings["older_than_below"], stats.findings["differs"]), (1, 0));
    assert!((1.9e6..=2.1e6).contains(&stats.staleness.p50_us), "{:?}", stats.staleness);
    assert_eq!(stage.events.count("inconsistent"), 2);
}

#[tokio::test(start_paused = true)]
async fn versions_count_before_times() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    put(&stage.lower, "k", &stage.entry("new", Some(2))).await;
    stage.clock.advance(Duration::from_secs(5));
    put(&stage.upper, "k", &stage.entry("old", Some(1))).await;
    auditor.note_read(&key("k"));
    assert_eq!(kinds(&auditor.run_once().await), [("upper", FindingKind::OlderThanBelow)]);
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_removal_is_found() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    for text in ["left", "removed", "written again"] {
        put(&stage.upper, text, &stage.entry("a", None)).await;
    }
    stage.clock.advance(Duration::from_secs(5));
    for text in ["left", "removed", "written again"] {
        auditor.note_invalidated(&key(text));
    }
    TierExt::remove(&*stage.upper, key("removed")).await.unwrap();
    put(&stage.upper, "written again", &stage.entry("b", None)).await;
    stage.clock.advance(Duration::from_secs(1));
    let report = auditor.run_once().await;
    assert_eq!((report.samples, report.consistent), (3, 2));
    assert_eq!(kinds(&report), [("upper", FindingKind::OutlivesRemoval)]);
    assert_eq!(report.findings[0].key, key("left"));
    assert_eq!(report.findings[0].to_string(), "upper has what was removed 1s ago");
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_older_than_the_source_is_found() {
    let stage = Stage::new();
    let newest = |key: Key| match key.text() {
        "unknown" => ready(Err(Error::new(ErrorKind::Unavailable, "no source"))),
        _ => ready(Ok(Some(Version(2)))),
    };
    let auditor = stage.auditor().with_source(newest);
    for (text, version) in [("old", 1), ("new", 2), ("unknown", 1)] {
        put(&stage.upper, text, &stage.entry("a", Some(version))).await;
        auditor.note_read(&key(text));
    }
    let report = auditor.run_once().await;
    assert_eq!((report.samples, report.consistent), (2, 1));
    assert_eq!(kinds(&report), [("upper", FindingKind::OlderThanSource)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_above_the_tiers_is_compared_too() {
    let stage = Stage::new();
    let held = Held { version: None, created_at: Timestamp::default(), payload_crc: None };
    let auditor = stage.auditor().with_near(move |_| Some(held));
    put(&stage.upper, "k", &stage.entry("a", None)).await;
    auditor.note_read(&key("k"));
    assert_eq!(kinds(&auditor.run_once().await), [("near", FindingKind::OlderThanBelow)]);
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_passes_is_none() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    put(&stage.upper, "k", &stage.entry("old", None)).await;
    stage.clock.advance(Duration::from_secs(5));
    let new = stage.entry("new", None);
    put(&stage.lower, "k", &new).await;
    auditor.note_read(&key("k"));
    let running = tokio::spawn({
        let auditor = auditor.clone();
        async move { auditor.run_once().await }
    });
    // The write goes on up while the auditor waits for its second look.
    sleep(Duration::from_millis(100)).await;
    put(&stage.upper, "k", &new).await;
    let report = running.await.unwrap();
    assert_eq!((report.samples, report.consistent, report.passing), (1, 1, 1));
    assert_eq!(report.findings, []);
    assert_eq!(stage.events.count("inconsistent"), 0);
}

#[cfg(feature = "testkit")]
#[tokio::test(start_paused = true)]
async fn a_tier_that_hangs_is_left_out() {
    use crate::{
        layers::Layer,
        testkit::{Fault, Faults},
    };
    let stage = Stage::new();
    let faults = Faults::new();
    faults.always(Fault::Hang);
    let tiers = vec![faults.layer().wrap(stage.upper.clone()), stage.lower.clone()];
    let clock = Arc::new(stage.clock.clone());
    let auditor = Auditor::new(tiers, clock, AuditConfig::default(), stage.events.clone());
    put(&stage.lower, "k", &stage.entry("a", None)).await;
    auditor.note_read(&key("k"));
    assert_eq!(auditor.run_once().await, AuditReport::default());
}

#[tokio::test(start_paused = true)]
async fn a_running_audit_goes_on_until_it_is_dropped() {
    let stage = Stage::new();
    let auditor = stage.auditor();
    auditor.record_lag(Duration::from_millis(10));
    for tier in [&stage.upper, &stage.lower] {
        put(tier, "k", &stage.entry("a", None)).await;
    }
    let auditing = auditor.spawn();
    for _ in 0..3 {
        auditor.note_read(&key("k"));
        sleep(Duration::from_secs(1)).await;
    }
    drop(auditing);
    auditor.note_read(&key("k"));
    sleep(Duration::from_secs(10)).await;
    let stats = auditor.stats();
    assert_eq!((stats.samples, stats.consistent_share), (3, Some(1.0)));
    assert_eq!(stats.coherence_lag.count, 1);
    let json = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<AuditStats>(&json).unwrap(), stats);
}

#[test]
fn one_of_many_reads_is_noted() {
    let noted = (0..10 * READS_PER_NOTE).filter(|_| Auditor::wants_read()).count();
    assert_eq!(noted, 10);
}
