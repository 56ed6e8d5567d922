//! Time that passes while a load does.

use std::{convert::Infallible, time::Duration};

use crate::support::Ground;
use cache_core::{ErrorKind, LoadError};

#[tokio::test(start_paused = true)]
async fn a_value_is_as_old_as_the_start_of_its_load() {
    let ground = Ground::new();
    let cache = ground.cache();
    let clock = ground.clock.clone();
    let load = || async move {
        // The source has answered, and the process was busy with something else.
        clock.advance(Duration::from_secs(7));
        Ok::<_, Infallible>("v".to_owned())
    };
    cache.get_or_load("k", load).await.unwrap();
    for reader in [&cache, &ground.cache()] {
        let hit = reader.get("k").await.unwrap().unwrap();
        assert_eq!((hit.age(), hit.fresh_for()), (Duration::from_secs(7), Duration::from_secs(3)));
    }
}

/// A stopped process (SIGSTOP, a sleeping laptop, a paused virtual machine) finds the answer from
/// before when it goes on, and the tiers may have forgotten meanwhile that the key was removed.
#[tokio::test(start_paused = true)]
async fn a_value_from_before_a_pause_is_not_kept() {
    let ground = Ground::new();
    let cache = ground.cache();
    let load = || async {
        // The answer is there as soon as the time is over: no timer comes first.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        Ok::<_, Infallible>("from an hour ago".to_owned())
    };
    match cache.get_or_load("k", load).await {
        Err(LoadError::Cache(error)) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(cache.get("k").await.unwrap().is_none());
    assert!(ground.cache().get("k").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_load_is_tokios() {
    let cache = Ground::new().cache();
    let load = || async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, Infallible>("v".to_owned())
    };
    cache.get_or_load("k", load).await.unwrap();
    let done = cache.stats().await.load_latency.done.unwrap();
    assert!((1_990_000.0..2_010_000.0).contains(&done.max_us), "{done:?}");
}
