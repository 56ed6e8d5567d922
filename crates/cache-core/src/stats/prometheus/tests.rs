//! The page, read back by another parser.

use prometheus_parse::{Scrape, Value};

use super::*;
use crate::{
    live_curve::{CurvePoint, CurveStats},
    tier::Usage,
};

fn scrape(page: &str) -> Scrape {
    Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

fn latency(count: u64) -> LatencySummary {
    LatencySummary { count, p50_us: 100.0, p99_us: 2_000.0, ..LatencySummary::default() }
}

fn stats(namespace: &str) -> CacheStats {
    let tier = TierStats {
        name: "redis".to_owned(),
        hits: 90,
        errors_by_kind: [("Timeout".to_owned(), 3)].into(),
        get: OperationStats { hit: Some(latency(90)), ..OperationStats::default() },
        usage: Some(Usage { bytes: Some(1_024), evictions: Some(7), ..Usage::default() }),
        ..TierStats::default()
    };
    let point = CurvePoint { bytes: 2_048, factor: 0.5, hit_ratio: 0.61 };
    CacheStats {
        namespace: namespace.to_owned(),
        tiers: vec![tier],
        hits: 90,
        events: [("log_gap".to_owned(), 2)].into(),
        curve: Some(CurveStats { points: vec![point], ..CurveStats::default() }),
        ..CacheStats::default()
    }
}

#[test]
fn every_sample_is_read_back_with_its_labels() {
    let page = scrape(&prometheus([&stats("price")]));
    let value = |name: &str, labels: &[Label<'_>]| {
        let is_it = |sample: &&prometheus_parse::Sample| {
            sample.metric == name
                && labels.iter().all(|(name, value)| sample.labels.get(name) == Some(*value))
        };
        page.samples.iter().find(is_it).map(|sample| sample.value.clone())
    };
    let tier = [("cache", "price"), ("tier", "redis")];
    let counter = |count: f64| Some(Value::Counter(count));
    assert_eq!(value("cache_hits_total", &[("cache", "price")]), counter(90.0));
    assert_eq!(value("cache_tier_errors_total", &[("kind", "Timeout")]), counter(3.0));
    assert_eq!(value("cache_tier_evictions_total", &tier), counter(7.0));
    assert_eq!(value("cache_events_total", &[("event", "log_gap")]), counter(2.0));
    assert_eq!(value("cache_tier_bytes", &tier), Some(Value::Gauge(1_024.0)));
    assert_eq!(value("cache_near_curve_hit_ratio", &[("room", "0.5")]), Some(Value::Gauge(0.61)));
    let Some(Value::Summary(quantiles)) = value("cache_tier_seconds", &tier) else {
        panic!("latencies are a summary");
    };
    let p99 = quantiles.iter().find(|quantile| (quantile.quantile - 0.99).abs() < 1e-9);
    assert!((p99.unwrap().count - 0.002).abs() < 1e-12, "{quantiles:?}");
}

#[test]
fn caches_of_one_process_share_each_family() {
    let page = prometheus([&stats("price"), &stats("news")]);
    assert_eq!(page.matches("# TYPE cache_hits_total counter\n").count(), 1);
    for cache in ["price", "news"] {
        assert!(page.contains(&format!("cache_hits_total{{cache=\"{cache}\"}} 90\n")));
    }
}

#[test]
fn a_label_may_have_any_text() {
    let page = prometheus([&stats("a\"b\\c\nd")]);
    assert!(page.contains(r#"cache_hits_total{cache="a\"b\\c\nd"} 90"#), "{page}");
    assert!(page.lines().all(|line| line.starts_with("# ") || line.starts_with("cache_")));
}

#[test]
fn what_is_not_known_is_left_out() {
    let page = prometheus([&CacheStats::default()]);
    for absent in ["cache_tier_", "cache_audit_", "quantile"] {
        assert!(!page.contains(absent), "{page}");
    }
}
