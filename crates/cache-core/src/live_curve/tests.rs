use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{Cache, Eviction, ManualClock, Replay, Timestamp};

/// Keys from 0 up, of which the low ones are read most: by Zipf's law, about.
fn skewed(reads: usize, keys: f64) -> Vec<u64> {
    let mut rng = SmallRng::seed_from_u64(7);
    let draw = || keys.powf(rng.random::<f64>()) as u64;
    std::iter::repeat_with(draw).take(reads).collect()
}

fn weight_of(key: u64) -> u32 {
    100 + (key.wrapping_mul(0x9E37_79B9) >> 8) as u32 % 400
}

fn exact(keys: &[u64], bytes: u64) -> f64 {
    let mut cache = Replay::new(Eviction::Lru.policy(0), bytes);
    let hits = keys.iter().filter(|key| cache.access(**key, weight_of(**key), Timestamp::MAX));
    hits.count() as f64 / keys.len() as f64
}

fn follow(settings: LiveCurve, keys: &[u64]) -> (CurveTracker, u64) {
    let curve = CurveTracker::new(settings, Some(3));
    for (i, key) in keys.iter().enumerate() {
        curve.note(&key.to_string(), || weight_of(*key), || i as u64 + 1);
    }
    (curve, keys.len() as u64)
}

#[test]
fn the_estimate_is_near_the_exact_curve_at_each_size() {
    let keys = skewed(400_000, 100_000.0);
    let settings = LiveCurve { rate_max: 0.25, ..LiveCurve::default() };
    let (curve, reads) = follow(settings, &keys);
    for bytes in [200_000, 800_000, 3_200_000] {
        let stats = curve.stats(bytes, reads);
        assert!(stats.keys <= 8_192 && stats.rate <= 0.25);
        for CurvePoint { bytes, hit_ratio, .. } in stats.points {
            let exact = exact(&keys, bytes);
            assert!((hit_ratio - exact).abs() < 0.03, "{bytes}: {hit_ratio}, not {exact}");
        }
    }
}

#[test]
fn all_keys_in_the_sample_are_the_exact_curve_up_to_its_bins() {
    let keys = skewed(30_000, 3_000.0);
    let (curve, reads) = follow(LiveCurve { rate_max: 1.0, ..LiveCurve::default() }, &keys);
    for CurvePoint { bytes, hit_ratio, .. } in curve.stats(100_000, reads).points {
        let exact = exact(&keys, bytes);
        assert!((hit_ratio - exact).abs() < 0.005, "{bytes}: {hit_ratio}, not {exact}");
    }
}

/// As a cache's reads do that falls in with a new crowd.
#[test]
fn what_was_long_ago_counts_less() {
    let mut keys: Vec<u64> = (0..200_000).map(|i| i % 10).collect();
    keys.extend(0..400_000);
    let (curve, reads) = follow(LiveCurve { rate_max: 1.0, ..LiveCurve::default() }, &keys);
    let now = curve.stats(1 << 30, reads).points[1].hit_ratio;
    assert!(now < 0.2, "of all reads a third were hits, of the last 400,000 none: {now}");
}

#[test]
fn the_sample_stays_within_its_keys() {
    let settings = LiveCurve { keys_max: 64, rate_max: 1.0 };
    let (curve, reads) = follow(settings, &(0..100_000).collect::<Vec<_>>());
    let stats = curve.stats(1 << 20, reads);
    assert_eq!(stats.keys, 64);
    assert!((0.0003..0.0015).contains(&stats.rate), "{}", stats.rate);
    assert!(stats.points.iter().all(|point| point.hit_ratio < 0.05), "{stats:?}");
}

#[tokio::test]
async fn a_cache_tells_its_curve_in_its_statistics() {
    let curve = LiveCurve { rate_max: 1.0, ..LiveCurve::default() };
    let cache: Cache<String> = Cache::builder("n")
        .near(ByteSize::kib(64))
        .live_curve(curve)
        .clock(Arc::new(ManualClock::new()))
        .build()
        .unwrap();
    assert_eq!(cache.stats().await.curve.unwrap().points, []);
    for key in (0..400).cycle().take(4_000) {
        let load = || async { Ok::<_, std::convert::Infallible>("x".repeat(40)) };
        cache.get_or_load(&key.to_string(), load).await.unwrap();
    }
    let stats = cache.stats().await;
    let points = stats.curve.clone().unwrap().points;
    let sizes: Vec<u64> = points.iter().map(|point| point.bytes >> 10).collect();
    assert_eq!(sizes, [32, 64, 128, 256]);
    // A loop of more than the cache has room for is all misses, and then all hits.
    assert!(points[1].hit_ratio < 0.01 && points[2].hit_ratio > 0.89, "{points:?}");
    assert!(stats.to_string().contains("64KiB 0.0 % (now), 128KiB 90.0 %"), "{stats}");
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let refused = |settings: LiveCurve| settings.validate().unwrap_err().to_string();
    let base = LiveCurve::default();
    assert!(refused(LiveCurve { keys_max: 1, ..base }).contains("`keys_max`"));
    assert!(refused(LiveCurve { rate_max: 1.5, ..base }).contains("`rate_max`"));
    assert_eq!(base.validate().unwrap(), base);
}
