//! P4: a tier's fault is not the caller's.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crate::support::{Ground, promoted};
use cache_core::{
    Cache, ErrorKind, Item, Layer, Origin, Tier, Version,
    testkit::{Fault, Faults},
    timeout,
};

/// A cache whose upper tier fails as it is told to, without a near tier.
fn faulty(ground: &Ground) -> (Cache<String>, Faults) {
    let faults = Faults::new();
    let upper = faults.layer().wrap(ground.upper.clone());
    let cache = Cache::builder("test")
        .without_near()
        .clock(Arc::new(ground.clock.clone()))
        .tier(timeout(Duration::from_millis(50)).wrap(upper))
        .tier(ground.lower.clone())
        .build()
        .expect("the settings are valid");
    (cache, faults)
}

#[tokio::test(start_paused = true)]
async fn p4_a_tiers_fault_is_not_the_callers() {
    for fault in [Fault::Fail(ErrorKind::Unavailable), Fault::Hang, Fault::LoseAnswer] {
        let ground = Ground::new();
        let (cache, faults) = faulty(&ground);
        cache.insert("k", "v".to_owned()).await.unwrap();
        faults.always(fault);
        let started = tokio::time::Instant::now();
        let hit = cache.get("k").await.unwrap().unwrap();
        assert_eq!(hit.origin().to_string(), "L2 lower", "{fault:?}");
        assert!(started.elapsed() <= Duration::from_millis(51), "its own timeout at most");
        let load = || async { Ok::<_, Infallible>("loaded".to_owned()) };
        let hit = cache.get_or_load("new", load).await.unwrap();
        assert_eq!(hit.origin(), &Origin::Load);
        let stats = cache.stats().await;
        assert_eq!(stats.tiers[0].errors, 2, "{fault:?}: errors are counted");
        assert_eq!(stats.tiers[0].misses, 0, "{fault:?}: and never as misses");

        // The tier that was away is not filled blindly, and is in use again once it is back.
        faults.heal();
        assert_eq!(cache.get("k").await.unwrap().unwrap().origin().to_string(), "L1 upper");
        let hit = cache.get("new").await.unwrap().unwrap();
        assert_eq!(hit.origin().to_string(), "L2 lower");
        promoted().await;
        assert_eq!(cache.get("new").await.unwrap().unwrap().origin().to_string(), "L1 upper");
    }
}

#[tokio::test]
async fn a_write_that_misses_a_tier_says_which() {
    let ground = Ground::new();
    let (cache, faults) = faulty(&ground);
    cache.insert("k", "v".to_owned()).await.unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    for result in [
        cache.invalidate("k").await,
        cache.clear().await,
        cache.insert("k", "w".to_owned()).await.map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("failed in upper"), "{error}");
        assert!(error.may_have_happened(), "the lower tier was written");
    }
}

#[tokio::test]
async fn a_read_without_a_loader_fails_only_when_every_tier_does() {
    let ground = Ground::new();
    let faults = Faults::new();
    let cache: Cache<String> = Cache::builder("test")
        .clock(Arc::new(ground.clock.clone()))
        .tier(faults.layer().wrap(ground.upper.clone()))
        .build()
        .unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    assert_eq!(cache.get("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(cache.get_many(["k"]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    // The near tier is filled by a load even then, and answers.
    let load = || async { Ok::<_, Infallible>("v".to_owned()) };
    cache.get_or_load("k", load).await.unwrap();
    assert_eq!(cache.get("k").await.unwrap().unwrap().origin(), &Origin::Near);
}

#[tokio::test]
async fn the_near_tier_refuses_what_is_older_when_no_other_tier_is_there_to_do_it() {
    let ground = Ground::new();
    let faults = Faults::new();
    let cache: Cache<u32> = Cache::builder("test")
        .clock(Arc::new(ground.clock.clone()))
        .tier(faults.layer().wrap(ground.upper.clone()))
        .build()
        .unwrap();
    let at = |version: u32| Item::new(version).version(Version(version.into()));
    let replica = |version| move || async move { Ok::<_, Infallible>(at(version)) };

    cache.invalidate_before("removed", Version(3)).await.unwrap();
    cache.insert("held", at(3)).await.unwrap();
    cache.invalidate("held").await.unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    for key in ["removed", "held"] {
        assert_eq!(*cache.get_or_load(key, replica(2)).await.unwrap(), 2, "the source says so");
        assert!(cache.peek(key).is_none(), "and it is not kept: {key} was removed at version 3");
        cache.get_or_load(key, replica(3)).await.unwrap();
        assert!(cache.peek(key).is_some(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_that_loses_answers_at_random_never_brings_a_removed_value_back() {
    let ground = Ground::new();
    let (cache, faults) = faulty(&ground);
    faults.randomly(7, 0.3, Fault::LoseAnswer);
    for round in 0..200 {
        let key = format!("k{}", round % 5);
        let old = cache.get_or_load(&key, || async { Ok::<_, Infallible>("old".to_owned()) });
        let (_, removed) = tokio::join!(old, cache.invalidate(&key));
        if let Err(error) = &removed {
            assert!(error.may_have_happened(), "{error}");
        }
        cache.invalidate(&key).await.ok();
        let left = ground.lower.get(&cache.namespace().key(&key).unwrap()).await.unwrap();
        assert_eq!(left.entry, None, "round {round}");
    }
}
