//! Invalidating many entries at once, by their tags.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Cache, ErrorKind, Item, TagQuery, TierExt,
    testkit::{Fault, Faults},
};
use tokio::sync::Notify;

use crate::support::{Ground, until};

fn item(value: &str, tags: &[&str]) -> Item<String> {
    Item::new(value.to_owned()).tags(tags.iter().copied())
}

async fn has(cache: &Cache<String>, key: &str) -> bool {
    cache.get(key).await.expect("a tier answers").is_some()
}

#[tokio::test(start_paused = true)]
async fn p8_tags_fail_closed() {
    let ground = Ground::new();
    let node = ground.node();
    node.insert("AAPL", item("1", &["tech"])).await.unwrap();
    assert!(has(&node, "AAPL").await);
    // The tag's generation is lost, as from a server that evicts.
    let key = cache_core::Namespace::new("c").unwrap().reserved("tags").key("tech").unwrap();
    ground.lower.remove(key).await.unwrap();
    until(async || !has(&node, "AAPL").await).await;
    assert!(!has(&ground.node(), "AAPL").await, "nor does another node serve it");
    // What is written from now on is served again.
    node.insert("AAPL", item("2", &["tech"])).await.unwrap();
    assert!(has(&node, "AAPL").await && has(&ground.node(), "AAPL").await);
}

#[tokio::test(start_paused = true)]
async fn a_tag_takes_every_entry_with_it_on_every_node() {
    let ground = Ground::new();
    let (one, other) = (ground.node(), ground.node());
    for (key, tags) in [("a", &["x"][..]), ("b", &["x", "y"]), ("c", &["y"]), ("d", &[])] {
        one.insert(key, item(key, tags)).await.unwrap();
    }
    for key in ["a", "b", "c", "d"] {
        assert!(has(&other, key).await, "{key}");
    }
    one.invalidate_tag("x").await.unwrap();
    assert!(!has(&one, "a").await && !has(&one, "b").await);
    assert!(has(&one, "c").await && has(&one, "d").await);
    until(async || !has(&other, "a").await && !has(&other, "b").await).await;
    assert!(has(&other, "c").await && has(&other, "d").await);
}

#[tokio::test(start_paused = true)]
async fn any_of_takes_those_with_one_of_the_tags_and_all_of_those_with_all() {
    let ground = Ground::new();
    let (one, other) = (ground.node(), ground.node());
    let write = async || {
        for (key, tags) in
            [("a", &["x"][..]), ("b", &["x", "y"]), ("c", &["y", "z"]), ("d", &["z"])]
        {
            one.insert(key, item(key, tags)).await.unwrap();
            assert!(has(&other, key).await, "{key}");
        }
    };
    let left = async |cache: &Cache<String>| {
        let mut left = String::new();
        for key in ["a", "b", "c", "d"] {
            if has(cache, key).await {
                left += key;
            }
        }
        left
    };
    write().await;
    one.invalidate_tagged(TagQuery::all_of(["x", "y"])).await.unwrap();
    assert_eq!(left(&one).await, "acd");
    until(async || left(&other).await == "acd").await;

    write().await;
    assert_eq!(left(&one).await, "abcd", "the rule is older than what was written after it");
    one.invalidate_tagged(TagQuery::any_of(["x", "z"])).await.unwrap();
    assert_eq!(left(&one).await, "");
    until(async || left(&other).await.is_empty()).await;
}

/// The tags are named with the read, before its load begins.
#[tokio::test(start_paused = true)]
async fn a_tag_that_is_invalidated_during_a_load_is_not_filled_by_it() {
    for declared in [true, false] {
        let ground = Ground::new();
        let node = ground.node();
        // Tags are in use from here on.
        node.insert("first", item("0", &["t"])).await.unwrap();
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begun, gate) = (Arc::clone(&started), Arc::clone(&go));
        let reader = node.clone();
        let reading = tokio::spawn(async move {
            let read = reader.read("k");
            let read = if declared { read.tags(["t"]) } else { read };
            read.load(move |_| async move {
                begun.notify_one();
                gate.notified().await;
                Ok::<_, Infallible>(item("old", &["t"]))
            })
            .await
        });
        started.notified().await;
        node.invalidate_tag("t").await.unwrap();
        go.notify_one();
        reading.await.unwrap().unwrap();
        assert!(!has(&node, "k").await, "declared: {declared}");
        assert!(!has(&ground.node(), "k").await, "declared: {declared}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loaded_value_with_tags_is_kept_and_found_again() {
    let ground = Ground::new();
    let node = ground.node();
    node.insert("first", item("0", &["t"])).await.unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let loads = Arc::clone(&loads);
        node.get_or_load("k", move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(item("v", &["t", "new"]))
        })
        .await
        .unwrap();
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(has(&ground.node(), "k").await, "another node finds it too");
}

#[tokio::test(start_paused = true)]
async fn without_the_generations_a_tagged_entry_is_a_miss_and_an_untagged_one_is_not() {
    let ground = Ground::new();
    let node = ground.node();
    node.insert("tagged", item("v", &["t"])).await.unwrap();
    node.insert("plain", item("v", &[])).await.unwrap();
    let faults = Faults::new();
    let cut = ground.tall_node(&faults);
    // The lower tier, which has the generations, is there; a tag of no length is refused.
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    assert!(has(&cut, "plain").await && has(&cut, "tagged").await);
    let error = node.insert("bad", item("v", &[""])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

#[tokio::test(start_paused = true)]
async fn many_rules_are_bounded() {
    let ground = Ground::new();
    let node = ground.node();
    node.insert("k", item("v", &["a", "b"])).await.unwrap();
    for i in 0..1_001 {
        let names = [format!("x{i}"), format!("y{i}")];
        node.invalidate_tagged(TagQuery::all_of(names.iter().map(String::as_str))).await.unwrap();
    }
    // A new list has begun: what is older than it is given up.
    assert!(!has(&node, "k").await);
    node.insert("k", item("v", &["a", "b"])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(has(&node, "k").await);
}

/// A node invalidates a tag, and its change of the upper tier comes only after another node has
/// invalidated the tag again.
#[tokio::test(start_paused = true)]
async fn an_invalidation_that_comes_late_to_the_upper_tier_brings_no_generation_back() {
    let ground = Ground::new();
    let slow = Faults::new();
    let (late, other) = (ground.tall_node(&slow), ground.tall_node(&Faults::new()));
    late.invalidate_tag("t").await.unwrap();
    slow.always(Fault::Delay(Duration::from_millis(500)));
    let invalidating = tokio::spawn({
        let late = late.clone();
        async move { late.invalidate_tag("t").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The lower tier has the first change, the upper one has not.
    other.insert("k", item("old", &["t"])).await.unwrap();
    other.invalidate_tag("t").await.unwrap();
    invalidating.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!has(&other, "k").await);
    let fresh = ground.tall_node(&Faults::new());
    assert!(!has(&fresh, "k").await);
}
