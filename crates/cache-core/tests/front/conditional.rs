//! What a loader is told, and what it may answer beside a value.

use std::{convert::Infallible, time::Duration};

use crate::support::Ground;
use cache_core::{
    Cache, Clock, ErrorKind, EvictionPriority, Item, LoadError, Namespace, Origin, Reply, Tier,
    Version,
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

async fn not_modified(cache: &Cache<String>) -> Option<cache_core::Hit<String>> {
    cache
        .read("k")
        .load(|_| async { Ok::<_, Infallible>(Reply::NotModified) })
        .await
        .expect("the tiers work")
}

#[tokio::test]
async fn not_modified_keeps_the_value_and_renews_its_time() {
    for without_near in [false, true] {
        let ground = Ground::new();
        let builder = ground.builder();
        let builder = if without_near { builder.without_near() } else { builder };
        let cache = builder.build().unwrap();
        let item = Item::new("v".to_owned()).version(Version(7)).ttl(secs(20));
        cache.insert("k", item).await.unwrap();
        ground.clock.advance(secs(25));
        let hit = cache
            .read("k")
            .load(|previous| async move {
                let previous = previous.expect("it is stale, and still there");
                assert_eq!((previous.value().as_str(), previous.is_stale()), ("v", true));
                assert_eq!((previous.version(), previous.age()), (Some(Version(7)), secs(25)));
                Ok::<_, Infallible>(Reply::NotModified)
            })
            .await
            .unwrap()
            .unwrap();
        assert_eq!((hit.as_str(), hit.origin(), hit.age()), ("v", &Origin::Load, secs(0)));
        for reader in [&cache, &ground.cache()] {
            let hit = reader.get("k").await.unwrap().unwrap();
            assert_eq!((hit.as_str(), hit.fresh_for()), ("v", secs(20)), "for as long as at first");
            assert_eq!(hit.version(), Some(Version(7)));
        }
        assert_eq!(cache.stats().await.not_modified, 1);
    }
}

#[tokio::test]
async fn not_modified_keeps_the_priority_whichever_tier_had_the_previous_value() {
    for without_near in [false, true] {
        let ground = Ground::new();
        let builder = ground.builder();
        let builder = if without_near { builder.without_near() } else { builder };
        let cache = builder.build().unwrap();
        let item = Item::new("v".to_owned()).priority(EvictionPriority::Pinned);
        cache.insert("k", item).await.unwrap();
        let key = Namespace::new("test").unwrap().key("k").unwrap();
        // Twice: what was kept on is a previous value in its turn.
        for _ in 0..2 {
            ground.clock.advance(secs(15));
            not_modified(&cache).await.unwrap();
            for tier in [&ground.upper, &ground.lower] {
                let found = tier.get(&key).await.unwrap().entry.unwrap();
                assert_eq!(found.priority, EvictionPriority::Pinned, "{without_near}");
                assert!(found.is_fresh(ground.clock.now()));
            }
        }
    }
}

#[tokio::test]
async fn not_modified_does_not_bring_back_what_was_removed_meanwhile() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", "old".to_owned()).await.unwrap();
    ground.clock.advance(secs(11));
    let inner = cache.clone();
    let hit = cache
        .read("k")
        .load(move |_| async move {
            inner.invalidate("k").await.expect("the tiers work");
            Ok::<_, Infallible>(Reply::NotModified)
        })
        .await;
    assert_eq!(hit.unwrap().unwrap().as_str(), "old", "whoever asked before it may see it");
    assert!(cache.get("k").await.unwrap().is_none());
    assert!(ground.cache().get("k").await.unwrap().is_none());
    let stats = cache.stats().await;
    assert_eq!(stats.superseded_fills, 1);
    assert_eq!(cache.events().count("fill_refused"), 1);
}

#[tokio::test]
async fn not_modified_without_a_previous_value_is_an_error() {
    let cache = Ground::new().cache();
    let read = cache.read("k").load(|previous| async move {
        assert!(previous.is_none());
        Ok::<_, Infallible>(Reply::NotModified)
    });
    match read.await {
        Err(LoadError::Cache(error)) => assert_eq!(error.kind(), ErrorKind::Load, "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn not_modified_after_a_short_life_stays_short() {
    let ground = Ground::new();
    let cache = ground.cache();
    let item = Item::new("v".to_owned()).ttl(secs(1)).max_stale(secs(2));
    cache.insert("k", item).await.unwrap();
    ground.clock.advance(secs(2));
    assert_eq!(not_modified(&cache).await.unwrap().fresh_for(), secs(1));
    ground.clock.advance(secs(3));
    assert!(cache.get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn an_absent_value_is_remembered_for_its_own_time() {
    let ground = Ground::new();
    let cache = ground.builder().negative_ttl(secs(3)).build().unwrap();
    let absent = |_| async { Ok::<_, Infallible>(None::<String>) };
    let not_asked = |_| async { Err::<Option<String>, _>("not asked") };
    assert!(cache.read("k").load(absent).await.unwrap().is_none());
    // In every tier, and so on every node.
    for reader in [&cache, &ground.cache(), &ground.builder().without_near().build().unwrap()] {
        assert!(reader.get("k").await.unwrap().is_none());
        assert!(reader.read("k").load(not_asked).await.unwrap().is_none());
        let many = reader
            .get_many_or_load(["k"], |_| async { Err::<Vec<(String, String)>, _>("not asked") });
        assert!(matches!(many.await[..], [Ok(None)]));
        assert!(reader.stats().await.negatives > 0);
    }
    // A loader that always brings a value is asked.
    let load = || async { Ok::<_, Infallible>("v".to_owned()) };
    let other = ground.builder().without_near().build().unwrap();
    assert_eq!(other.get_or_load("k", load).await.unwrap().as_str(), "v");

    cache.invalidate("k").await.unwrap();
    assert!(cache.read("k").load(absent).await.unwrap().is_none());
    ground.clock.advance(secs(3));
    let asked = cache.read("k").load(|_| async { Ok::<_, Infallible>("v".to_owned()) }).await;
    assert_eq!(asked.unwrap().unwrap().as_str(), "v");
}

#[tokio::test]
async fn absence_is_not_remembered_unless_it_is_asked_for() {
    let ground = Ground::new();
    let cache = ground.cache();
    let absent = |_| async { Ok::<_, Infallible>(None::<String>) };
    assert!(cache.read("k").load(absent).await.unwrap().is_none());
    let asked = cache.read("k").load(|_| async { Ok::<_, Infallible>("v".to_owned()) }).await;
    assert_eq!(asked.unwrap().unwrap().as_str(), "v");
    let long = |_| async { Ok::<_, Infallible>(Reply::<String>::AbsentFor(secs(60))) };
    assert!(cache.read("gone").load(long).await.unwrap().is_none());
    let not_asked = |_| async { Err::<Option<String>, _>("not asked") };
    assert!(cache.read("gone").load(not_asked).await.unwrap().is_none());
}

#[tokio::test]
async fn a_value_that_is_gone_at_its_source_is_not_served_stale_any_more() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", Item::new("old".to_owned()).version(Version(2))).await.unwrap();
    ground.clock.advance(secs(11));
    let absent = |_| async { Ok::<_, Infallible>(None::<String>) };
    assert!(cache.read("k").load(absent).await.unwrap().is_none());
    ground.clock.advance(secs(1));
    for reader in [&cache, &ground.cache()] {
        assert!(reader.get("k").await.unwrap().is_none());
        let failed = reader.get_or_load("k", || async { Err::<String, _>("down") }).await;
        assert!(matches!(failed, Err(LoadError::Source(_))));
    }
}

#[tokio::test]
async fn a_batch_remembers_what_its_source_lacks() {
    let ground = Ground::new();
    let cache = ground.builder().negative_ttl(secs(3)).build().unwrap();
    let load = |missing: Vec<String>| async move {
        assert_eq!(missing, ["a", "b"]);
        Ok::<_, Infallible>([("a".to_owned(), "v".to_owned())])
    };
    assert!(cache.get_many_or_load(["a", "b"], load).await[1].as_ref().unwrap().is_none());
    let load = |_| async { Err::<Vec<(String, String)>, _>("not asked") };
    let again = cache.get_many_or_load(["a", "b"], load).await;
    assert!(again[0].as_ref().unwrap().is_some() && again[1].as_ref().unwrap().is_none());
}
