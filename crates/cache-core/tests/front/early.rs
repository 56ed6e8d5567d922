//! Refreshes before the deadline.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::Ground;
use cache_core::{Cache, Hit};

/// Loads that take a second each and are counted.
fn second(
    loads: &Arc<AtomicUsize>,
) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Result<String, Infallible>> + Send>>
+ Send
+ 'static {
    let loads = Arc::clone(loads);
    move || {
        Box::pin(async move {
            let load = loads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(load.to_string())
        })
    }
}

async fn get(cache: &Cache<String>, loads: &Arc<AtomicUsize>) -> Hit<String> {
    cache.get_or_load("k", second(loads)).await.expect("the tiers work")
}

#[tokio::test(start_paused = true)]
async fn xfetch_refreshes_once_with_a_flight() {
    let ground = Ground::new();
    let cache = ground.builder().seed(1).build().unwrap();
    let loads = Arc::default();
    get(&cache, &loads).await;
    // So far from its end that hardly any throw would reach it.
    for _ in 0..100 {
        assert_eq!(get(&cache, &loads).await.as_str(), "0");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    // A tenth of a load before its end nine of ten hits would refresh it.
    ground.clock.advance(Duration::from_millis(9_900));
    for _ in 0..100 {
        assert_eq!(get(&cache, &loads).await.as_str(), "0", "nobody waits for it");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    let hit = get(&cache, &loads).await;
    assert_eq!((hit.as_str(), hit.fresh_for()), ("1", Duration::from_secs(10)));
    let stats = cache.stats().await;
    assert_eq!((stats.early_refreshes, stats.background_loads), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_refreshed_early_that_was_inserted_or_where_it_is_turned_off() {
    let ground = Ground::new();
    let loads = Arc::default();
    let cache = ground.cache();
    cache.insert("k", "inserted".to_owned()).await.unwrap();
    let off = ground.builder().early_refresh(0.0).build().unwrap();
    ground.clock.advance(Duration::from_millis(9_999));
    for _ in 0..100 {
        get(&cache, &loads).await;
    }
    off.refresh("k", second(&loads)).await.unwrap();
    ground.clock.advance(Duration::from_millis(9_999));
    for _ in 0..100 {
        get(&off, &loads).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_another_node_has_refreshed_is_not_loaded_again() {
    let ground = Ground::new();
    let (one, two) = (ground.builder().seed(1).build().unwrap(), ground.cache());
    let loads = Arc::default();
    get(&one, &loads).await;
    ground.clock.advance(Duration::from_millis(9_990));
    two.refresh("k", second(&loads)).await.unwrap();
    for _ in 0..10 {
        get(&one, &loads).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(get(&one, &loads).await.as_str(), "1");
    assert_eq!(loads.load(Ordering::SeqCst), 2, "it is taken from the tier");
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_that_fails_leaves_what_is_there() {
    let ground = Ground::new();
    let cache = ground.builder().seed(1).build().unwrap();
    let loads = Arc::default();
    get(&cache, &loads).await;
    ground.clock.advance(Duration::from_millis(9_990));
    for _ in 0..10 {
        let hit = cache.get_or_load("k", || async { Err::<String, _>("down") }).await.unwrap();
        assert_eq!((hit.as_str(), hit.is_stale()), ("0", false));
        tokio::task::yield_now().await;
    }
    assert!(cache.stats().await.early_refreshes > 0);
}
