//! How a hit climbs: behind its reader's back, and never past a change.

use std::{sync::Arc, time::Duration};

use cache_core::{
    Cache, Layer, Stack, Tier,
    testkit::{Fault, Faults},
};

use crate::support::{Ground, promoted};

#[tokio::test(start_paused = true)]
async fn a_hit_from_below_waits_for_no_promotion() {
    let ground = Ground::new();
    lower_only(&ground).insert("k", "v".to_owned()).await.unwrap();
    let faults = Faults::new();
    let cache: Cache<String> = Cache::builder("test")
        .without_near()
        .clock(Arc::new(ground.clock.clone()))
        .tier(faults.layer().wrap(ground.upper.clone()))
        .tier(ground.lower.clone())
        .build()
        .unwrap();
    faults.writes(Fault::Hang);
    for keys in [&["k"][..], &["k", "other"]] {
        let hits = match keys {
            [key] => vec![cache.get(key).await.unwrap()],
            keys => cache.get_many(keys).await.unwrap(),
        };
        let hit = hits[0].as_ref().expect("the lower tier has it");
        assert_eq!((hit.as_str(), hit.origin().to_string().as_str()), ("v", "L2 lower"));
    }
    let error = cache.shutdown(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().starts_with("2 loads and writes"), "it knows of them: {error}");
}

#[tokio::test]
async fn a_hit_climbs_unless_its_key_was_changed_meanwhile() {
    let ground = Ground::new();
    let cache = ground.builder().without_near().build().unwrap();
    lower_only(&ground).insert("k", "v".to_owned()).await.unwrap();
    assert!(cache.get("k").await.unwrap().is_some());
    cache.invalidate("k").await.unwrap();
    promoted().await;
    assert!(cache.get("k").await.unwrap().is_none(), "the promotion came too late");

    lower_only(&ground).insert("k", "w".to_owned()).await.unwrap();
    assert!(cache.get("k").await.unwrap().is_some());
    promoted().await;
    assert_eq!(cache.get("k").await.unwrap().unwrap().origin().to_string(), "L1 upper");
}

#[tokio::test]
async fn a_hit_that_was_found_longer_ago_than_fences_are_remembered_does_not_climb() {
    let ground = Ground::forgetting(Duration::from_secs(60));
    let tiers: Vec<Arc<dyn Tier>> = vec![ground.upper.clone(), ground.lower.clone()];
    let stack = Stack::new(tiers, Arc::new(ground.clock.clone())).unwrap();
    let lower = lower_only(&ground);
    lower.insert("k", "v".to_owned()).await.unwrap();
    let key = lower.namespace().key("k").unwrap();
    for (secs, climbs) in [(61, false), (60, true)] {
        let found = stack.find(&key, |_| Some(())).await.unwrap();
        ground.clock.advance(Duration::from_secs(secs));
        stack.promote(found.promotions).await;
        let climbed = ground.upper.get(&key).await.unwrap().entry.is_some();
        assert_eq!(climbed, climbs, "after {secs} s");
    }
}

/// A cache of the lower tier alone, as of a node whose upper tier was away.
fn lower_only(ground: &Ground) -> Cache<String> {
    Cache::builder("test")
        .clock(Arc::new(ground.clock.clone()))
        .tier(ground.lower.clone())
        .ttl(Duration::from_secs(600))
        .build()
        .expect("the settings are valid")
}
