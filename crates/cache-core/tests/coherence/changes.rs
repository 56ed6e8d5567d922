//! What one node changes, another one hears.

use std::{convert::Infallible, sync::Arc, time::Duration};

use cache_core::{
    ErrorKind, Layer, Origin, PutOutcome, Tier, WhenCut,
    testkit::{Fault, Faults},
};

use crate::support::{Ground, until};

async fn near(cache: &cache_core::Cache<String>, key: &str) -> Option<String> {
    cache.peek(key).map(|hit| hit.value().to_string())
}

#[tokio::test(start_paused = true)]
async fn p7_coherence_with_a_measured_bound() {
    let ground = Ground::new();
    let (one, other) = (ground.node(), ground.node());
    one.insert("k", "old".to_owned()).await.unwrap();
    assert_eq!(**other.get("k").await.unwrap().unwrap().value(), *"old");
    assert_eq!(near(&other, "k").await.as_deref(), Some("old"));

    one.insert("k", "new".to_owned()).await.unwrap();
    until(async || near(&other, "k").await.is_none()).await;
    assert_eq!(**other.get("k").await.unwrap().unwrap().value(), *"new");

    one.invalidate("k").await.unwrap();
    until(async || near(&other, "k").await.is_none()).await;
    assert!(other.get("k").await.unwrap().is_none());

    one.insert("k", "again".to_owned()).await.unwrap();
    other.get("k").await.unwrap();
    one.clear().await.unwrap();
    until(async || near(&other, "k").await.is_none()).await;
    assert!(other.stats().await.coherence_lag.count >= 4, "the lag is measured");
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_what_it_wrote_itself() {
    let ground = Ground::new();
    let node = ground.node();
    node.insert("k", "own".to_owned()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(near(&node, "k").await.as_deref(), Some("own"));
}

/// Between the tiers and the near tier another node may write, and be heard.
#[tokio::test(start_paused = true)]
async fn a_node_keeps_nothing_that_another_one_has_overtaken() {
    let ground = Ground::new();
    let faults = Faults::new();
    let shared: Arc<dyn Tier> = ground.lower.clone();
    let slow = ground.builder().tier(faults.layer().wrap(shared)).build().unwrap();
    let other = ground.node();
    slow.get("k").await.unwrap();
    faults.once(Fault::DelayAnswer(Duration::from_millis(200)));
    let insert = tokio::spawn({
        let slow = slow.clone();
        async move { slow.insert("k", "older".to_owned()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    other.insert("k", "newer".to_owned()).await.unwrap();
    assert_eq!(insert.await.unwrap().unwrap(), PutOutcome::Stored);
    assert_eq!(near(&slow, "k").await, None);
    assert_eq!(**slow.get("k").await.unwrap().unwrap().value(), *"newer");
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_what_it_read_after_the_change() {
    let ground = Ground::new();
    let node = ground.node();
    node.invalidate("k").await.unwrap();
    node.get_or_load("k", || async { Ok::<_, Infallible>("new".to_owned()) }).await.unwrap();
    // The notice of the removal comes after the load, and is older than it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.get("k").await.unwrap().unwrap().origin(), &Origin::Near);
}

#[tokio::test(start_paused = true)]
async fn what_another_namespace_changes_is_not_dropped() {
    let ground = Ground::new();
    let node = ground.node();
    let other = cache_core::Cache::<String>::builder("d").tier(ground.lower.clone()).build();
    node.insert("k", "v".to_owned()).await.unwrap();
    other.unwrap().invalidate("k").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(near(&node, "k").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_serves_or_bypasses_or_fails() {
    let ground = Ground::new();
    let after = Duration::from_secs(1);
    for policy in [WhenCut::Serve, WhenCut::Bypass, WhenCut::Fail] {
        let cache = ground.builder().tier(ground.lower.clone()).when_cut(policy, after);
        let cache = cache.build().unwrap();
        cache.insert("k", "v".to_owned()).await.unwrap();
        // The wall clock goes on, and nothing was heard meanwhile: as after a pause.
        ground.clock.advance(Duration::from_millis(1_001));
        let answer = cache.get("k").await;
        match policy {
            WhenCut::Serve => assert_eq!(answer.unwrap().unwrap().origin(), &Origin::Near),
            WhenCut::Bypass => assert_ne!(answer.unwrap().unwrap().origin(), &Origin::Near),
            WhenCut::Fail => {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.to_string().contains("WhenCut::Bypass"), "{error}");
            }
        }
        // Once the log is heard again all is as before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(cache.get("k").await.unwrap().is_some());
    }
}
