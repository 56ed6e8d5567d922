//! Plans that are made anew, and the predictor that they carry out.

use std::{sync::Arc, time::Duration};

use cache_core::{Cache, Clock, ReadTap};
use cache_warmer::{
    Budget, FileKeys, KeySource, Learner, LearnerConfig, PredictorConfig, Source, Warmer,
    WarmerConfig,
};

use crate::support::{Fake, TokioClock, prices};

const EVERY: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn what_follows_is_loaded_before_it_is_read() {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::begin());
    let tap = ReadTap::new(1.0).unwrap();
    let cache: Cache<String> = Cache::builder("price")
        .ttl(Duration::from_secs(10))
        .read_tap(tap.clone())
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    let source = Arc::new(Fake::new());
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let config = LearnerConfig::default();
    let learner = Learner::new(config, tap, Arc::clone(&clock)).unwrap();
    let near = cache.clone();
    let is_cached = move |key: &str| near.peek(key).is_some_and(|hit| !hit.is_stale());
    let followers = learner.followers(PredictorConfig::default(), is_cached).unwrap();
    let warmer = Warmer::new(cache.clone(), shared, WarmerConfig::default()).unwrap();
    let foresight = warmer.spawn_plans("followers", vec![followers], Budget::keys(100), EVERY);

    // Every 20 s somebody opens a page, and its parts half a second later each: all have expired.
    let mut hits = Vec::new();
    for _ in 0..20 {
        hits.clear();
        for part in ["page", "chart", "news"] {
            hits.push(cache.get(part).await.unwrap().is_some_and(|hit| !hit.is_stale()));
            tokio::time::sleep(2 * EVERY).await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(hits, [false, true, true], "nothing says when the page is opened");
    let stats = warmer.stats();
    let named = learner.foresight().unwrap().named;
    assert!(named > 0 && stats.plans["followers"].loaded <= named, "{stats}");
    drop(foresight);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_is_followed_and_one_that_is_gone_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.txt");
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache.clone(), shared, WarmerConfig::default()).unwrap();
    let file: Arc<dyn KeySource> = Arc::new(FileKeys::new(&path));
    let second = Duration::from_secs(1);
    let planning = warmer.spawn_plans("file", vec![file], Budget::keys(9), second);
    for (keys, loaded) in [("AAPL", 1), ("AAPL\nIBM", 2)] {
        std::fs::write(&path, keys).unwrap();
        tokio::time::sleep(2 * second).await;
        assert_eq!(source.loaded_keys().len(), loaded);
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(2 * second).await;
    }
    drop(planning);
    std::fs::write(&path, "MSFT").unwrap();
    tokio::time::sleep(5 * second).await;
    assert_eq!(source.loads_of("MSFT"), 0, "it has ended");
    assert_eq!(warmer.stats().plans["file"].failed_keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_warming_is_off_nothing_is_planned() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let config = WarmerConfig { cache_warming_enabled: false, ..WarmerConfig::default() };
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache, shared, config).unwrap();
    assert!(warmer.spawn_plans("none", Vec::new(), Budget::keys(9), EVERY).is_none());
}
