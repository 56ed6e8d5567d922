//! What a schedule keeps warm. Time is paused: it moves on when everybody waits for it.

use std::{sync::Arc, time::Duration};

use crate::support::{Fake, TokioClock, prices};
use cache_core::{ByteSize, Cache, MemoryTier, Tier};
use cache_warmer::{Ahead, Plan, Ready, Source, Warmer, WarmerConfig};

const SECOND: Duration = Duration::from_secs(1);

fn warmer(cache: &Cache<String>, source: &Arc<Fake>) -> Warmer<String> {
    let source = Arc::clone(source) as Arc<dyn Source<String>>;
    Warmer::new(cache.clone(), source, WarmerConfig::default()).expect("the settings are fine")
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_10_s_is_hot_for_an_hour_with_an_interval_of_300_s() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(4)));
    let warmer = warmer(&cache, &source);
    let plan = Plan::market();
    let schedule = warmer.spawn_schedule(&plan).unwrap();
    schedule.warmed().await;
    for second in 0..3_600 {
        for key in plan.keys() {
            let hit = cache.get(key).await.unwrap();
            assert!(hit.is_some_and(|hit| !hit.is_stale()), "{key} is cold after {second} s");
        }
        tokio::time::sleep(SECOND).await;
    }
    schedule.stop().await;
    for key in plan.keys() {
        let loads = source.loads_of(key);
        assert!((360..=515).contains(&loads), "{key} was loaded {loads} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_hangs_and_one_that_fails_do_not_make_the_others_cold() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let plan = Plan::new(["hangs", "AAPL", "fails", "missing", "IBM"]).unwrap();
    let schedule = warmer(&cache, &source).spawn_schedule(&plan).unwrap();
    tokio::time::sleep(SECOND).await;
    for second in 1..600 {
        for key in ["AAPL", "IBM"] {
            let hit = cache.get(key).await.unwrap();
            assert!(hit.is_some_and(|hit| !hit.is_stale()), "{key} is cold after {second} s");
        }
        tokio::time::sleep(SECOND).await;
    }
    drop(schedule);
    // After 0, 1, 3, 7, 15, 31, 63, 127, 255, 511 s.
    assert_eq!(source.loads_of("fails"), 10);
    // After 0, 31, 63, 97, 135, 181, 243, 337, 495 s: each load takes the 30 s of the cache's limit.
    assert_eq!(source.loads_of("hangs"), 9);
    assert_eq!(source.loads_of("missing"), 2, "once an interval");
}

#[tokio::test(start_paused = true)]
async fn what_live_traffic_keeps_fresh_is_not_loaded_again() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let schedule = warmer(&cache, &source).spawn_schedule(&Plan::new(["AAPL"]).unwrap()).unwrap();
    schedule.warmed().await;
    for _ in 0..60 {
        tokio::time::sleep(SECOND).await;
        cache.insert("AAPL", "live".to_owned()).await.unwrap();
    }
    assert_eq!(source.loads_of("AAPL"), 1);
}

#[tokio::test(start_paused = true)]
async fn everything_has_been_tried_once_when_it_is_warmed() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1).closed()));
    let warmer = warmer(&cache, &source);
    let schedule = warmer.spawn_schedule(&Plan::new(["AAPL", "fails"]).unwrap()).unwrap();
    let early = tokio::time::timeout(SECOND, schedule.warmed()).await;
    assert!(early.is_err(), "the source has not answered yet");
    source.open();
    schedule.warmed().await;
    assert_eq!((cache.get("AAPL").await.unwrap().is_some(), source.loads_of("fails")), (true, 1));
    let empty = warmer.spawn_schedule(&Plan::new([""; 0]).unwrap()).unwrap();
    empty.warmed().await;
    empty.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_schedule_ends_what_it_has_begun_and_begins_nothing() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1).closed()));
    let config = WarmerConfig { concurrency: 2, ..WarmerConfig::default() };
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache.clone(), shared, config).unwrap();
    let plan = Plan::new(["a", "b", "c", "d"]).unwrap();
    let schedule = warmer.spawn_schedule(&plan).unwrap();
    source.under_way(2).await;
    let stopped = tokio::spawn(schedule.stop());
    tokio::task::yield_now().await;
    source.open();
    stopped.await.unwrap();
    let hits = cache.get_many(plan.keys()).await.unwrap();
    let present: Vec<bool> = hits.iter().map(Option::is_some).collect();
    assert_eq!(present, [true, true, false, false]);
    let report = warmer.stats().last.unwrap();
    assert_eq!((report.loaded, report.failed["stopped"].keys), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_schedule_ends() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let schedule = warmer(&cache, &source).spawn_schedule(&Plan::new(["AAPL"]).unwrap()).unwrap();
    schedule.warmed().await;
    drop(schedule);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(source.loads_of("AAPL"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_ready_when_it_is_warm_or_its_time_is_over() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let warmer = warmer(&cache, &source);
    let warm = warmer.spawn_schedule(&Plan::new(["AAPL", "IBM"]).unwrap()).unwrap();
    assert_eq!(warm.readiness(SECOND).ready().await, Ready::Warmed);

    let slow = warmer.spawn_schedule(&Plan::new(["MSFT", "hangs", "GOOG"]).unwrap()).unwrap();
    let readiness = slow.readiness(5 * SECOND);
    tokio::time::sleep(SECOND).await;
    assert_eq!(readiness.now(), Ready::Warming { done: 2, planned: 3 });
    assert!(!readiness.now().is_ready());
    let start = tokio::time::Instant::now();
    assert_eq!(readiness.ready().await, Ready::TimeIsOver { done: 2, planned: 3 });
    assert_eq!(start.elapsed(), 4 * SECOND);
    drop(slow);
    assert!(readiness.now().is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_not_loaded_again() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let config = WarmerConfig { ahead: Ahead::WhileRead, ..WarmerConfig::default() };
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache.clone(), shared, config).unwrap();
    let schedule = warmer.spawn_schedule(&Plan::new(["read", "idle"]).unwrap()).unwrap();
    schedule.warmed().await;
    for _ in 0..60 {
        assert!(cache.get("read").await.unwrap().is_some());
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(source.loads_of("idle"), 1);
    assert!(source.loads_of("read") >= 6, "{}", source.loads_of("read"));
    let payoff = warmer.stats().payoff.unwrap();
    assert_eq!((payoff.hits, payoff.misses), (60, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_that_was_invalidated_is_loaded_at_once_and_a_cold_one_is_not() {
    let clock = Arc::new(TokioClock::begin());
    let tier = Arc::new(MemoryTier::new(ByteSize::mib(1), clock.clone()).as_server());
    let build = || -> Cache<String> {
        let builder = Cache::builder("price").ttl(1_000 * SECOND).clock(clock.clone());
        builder.tier(tier.clone()).build().unwrap()
    };
    let (cache, elsewhere, source) = (build(), build(), Arc::new(Fake::new()));
    let config = WarmerConfig { cache_warming_interval_seconds: 3_600, ..WarmerConfig::default() };
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache.clone(), shared, config).unwrap();
    let log = tier.log().expect("a server has a log");
    let plan = Plan::new(["hot", "cold"]).unwrap();
    let schedule = warmer.spawn_schedule_with(&plan, log).unwrap();
    schedule.warmed().await;
    cache.get("hot").await.unwrap();
    tokio::time::sleep(SECOND).await;
    for key in ["hot", "cold", "unplanned"] {
        elsewhere.invalidate(key).await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!((source.loads_of("hot"), source.loads_of("cold")), (2, 1));
    assert_eq!(elsewhere.get("hot").await.unwrap().unwrap().as_str(), "hot#2");
}
