//! P9: everything is bounded, and says so.

use std::{convert::Infallible, sync::Arc, time::Duration};

use cache_core::{
    BATCH_LEN_MAX, ByteSize, Cache, ErrorKind, FLIGHTS_MAX, Item, KEY_LEN_MAX, LoadError,
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
