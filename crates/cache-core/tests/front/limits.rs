//! P9: everything is bounded, and says so.

use std::{convert::Infallible, sync::Arc, time::Duration};

use cache_core::{
    BATCH_LEN_MAX, ByteSize, Cache, ErrorKind, FLIGHTS_MAX, Item, KEY_LEN_MAX, LoadError,
    LoadLimit, LoadLimitConfig, WhenCut,
};
use tokio::sync::Semaphore;

use crate::support::Ground;

#[tokio::test]
async fn bad_input_is_refused_with_what_to_change() {
    let ground = Ground::new();
    let cache = ground.cache();
    let long = "x".repeat(KEY_LEN_MAX + 1);
    for key in ["", "a\nb", &long] {
        let error = cache.get(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error}");
        assert!(cache.insert(key, "v".to_owned()).await.is_err());
        assert!(cache.invalidate(key).await.is_err());
        let loaded = cache.get_or_load(key, || async { Ok::<_, Infallible>("v".to_owned()) }).await;
        assert!(matches!(loaded, Err(LoadError::Cache(e)) if e.kind() == ErrorKind::InvalidKey));
    }
    for ttl in [Duration::ZERO, Duration::MAX] {
        let error = cache.insert("k", Item::new("v".to_owned()).ttl(ttl)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{error}");
        assert!(ground.builder().ttl(ttl).build().is_err());
    }
    let small = ground.builder().payload_len_max(ByteSize::bytes(10)).build().unwrap();
    let error = small.insert("k", "a long value".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("payload_len_max"), "{error}");
    let loaded =
        small.get_or_load("k", || async { Ok::<_, Infallible>("a long value".to_owned()) }).await;
    assert_eq!(loaded.unwrap().as_str(), "a long value", "a loaded value is always answered");
    assert_eq!(small.stats().await.uncacheable, 1);
    assert!(small.get("k").await.unwrap().is_none());
    let keys = vec!["k"; BATCH_LEN_MAX + 1];
    assert_eq!(cache.get_many(&keys).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let nothing: Result<Cache<String>, _> = Cache::builder("test").without_near().build();
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::Config);
    let hasty = ground.builder().when_cut(WhenCut::Fail, Duration::from_millis(99));
    let error = hasty.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("when_cut"), "{error}");
}

/// Keys, values, batches and times are bounded above; these are the near tier and the flights.
#[tokio::test]
async fn p9_bounded_everything() {
    let ground = Ground::new();
    let cache = ground.builder().near(ByteSize::kib(64)).build().unwrap();
    for i in 0..1_000 {
        cache.insert(&format!("k{i}"), "x".repeat(1_000)).await.unwrap();
    }
    let near = cache.stats().await.tiers[0].usage.unwrap();
    assert!(near.bytes.unwrap() <= 64 * 1024, "{near:?}");
    assert!(near.evictions.unwrap() > 900, "{near:?}");

    let gate = Arc::new(Semaphore::new(0));
    let keys: Vec<String> = (0..FLIGHTS_MAX).map(|i| format!("flight {i}")).collect();
    let batches: Vec<_> = keys
        .chunks(BATCH_LEN_MAX)
        .map(|batch| {
            let (cache, gate, batch) = (cache.clone(), Arc::clone(&gate), batch.to_vec());
            tokio::spawn(async move {
                let load = |keys: Vec<String>| async move {
                    gate.acquire().await.expect("never closed").forget();
                    Ok::<_, Infallible>(keys.into_iter().map(|key| (key, String::new())))
                };
                cache.get_many_or_load(batch, load).await
            })
        })
        .collect();
    while cache.stats().await.loads < FLIGHTS_MAX as u64 {
        tokio::task::yield_now().await;
    }
    let load = || async { Ok::<_, Infallible>(String::new()) };
    match cache.get_or_load("one too many", load).await {
        Err(LoadError::Cache(error)) => assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}"),
        other => panic!("{other:?}"),
    }
    gate.add_permits(batches.len());
    for batch in batches {
        assert!(batch.await.unwrap().iter().all(Result::is_ok));
    }
    cache.get_or_load("one too many", load).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_load_without_room_is_answered_by_a_stale_value_or_an_error() {
    let config = LoadLimitConfig { min: 1, max: 1, start: 1, waiting_max: 10 };
    let limit = LoadLimit::new(config);
    let ground = Ground::new();
    let builder = ground.builder().load_limit(limit).load_timeout(Duration::from_secs(5));
    let cache = builder.build().unwrap();
    cache.insert("stale", "old".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(11));
    let gate = Arc::new(Semaphore::new(0));
    let only = {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        let load = || async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            gate.acquire().await.expect("never closed").forget();
            Ok::<_, Infallible>("v".to_owned())
        };
        tokio::spawn(async move { cache.get_or_load("slow", load).await })
    };
    while cache.stats().await.loads == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let load = || async { Err::<String, _>("not asked") };
    let hit = cache.get_or_load("stale", load).await.unwrap();
    assert_eq!((hit.as_str(), hit.is_stale()), ("old", true));
    assert_eq!(cache.stats().await.loads_shed, 1);
    assert_eq!(cache.events().count("load_shed"), 1);

    // What nobody has is waited for.
    gate.add_permits(1);
    let load = || async { Ok::<_, Infallible>("new".to_owned()) };
    assert_eq!(cache.get_or_load("cold", load).await.unwrap().as_str(), "new");
    assert_eq!(only.await.unwrap().unwrap().as_str(), "v");
}

#[tokio::test]
async fn while_memory_is_short_few_copies_of_new_keys_are_kept_and_inserts_all() {
    let ground = Ground::new();
    let cache = ground.builder().build().unwrap();
    let near_entries =
        async || cache.stats().await.tiers[0].usage.unwrap().entries.expect("it counts");
    let load = async |from: usize| {
        for i in from..from + 100 {
            let load = || async { Ok::<_, Infallible>("v".to_owned()) };
            cache.get_or_load(&format!("k{i}"), load).await.unwrap();
        }
    };
    let room = cache.near_room();
    room.shrink_to(0.9).await.unwrap();
    load(0).await;
    assert_eq!(near_entries().await, 25);
    cache.insert("inserted", "v".to_owned()).await.unwrap();
    assert_eq!(near_entries().await, 26);
    room.shrink_to(1.0).await.unwrap();
    load(100).await;
    assert_eq!(near_entries().await, 126);
}
