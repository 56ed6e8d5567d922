//! Who has written something reads it.

use std::{convert::Infallible, time::Duration};

use crate::support::Ground;
use cache_core::{Cache, Item, MemoryTier, Origin, Session, Version};

/// Two nodes that do not hear of each other's writes: the log is cut, or slow.
fn nodes(ground: &Ground) -> [Cache<String>; 2] {
    [ground.cache(), ground.cache()]
}

#[tokio::test]
async fn a_session_reads_its_own_writes_on_another_node() {
    for version in [None, Some(Version(2))] {
        let ground = Ground::of_servers();
        let [here, there] = nodes(&ground);
        let item = |text: &str, version: Option<u64>| {
            let item = Item::new(text.to_owned());
            version.map_or(item.clone(), |version| item.version(Version(version)))
        };
        here.insert("k", item("old", version.map(|_| 1))).await.unwrap();
        there.get("k").await.unwrap();

        let session = here.session();
        here.insert_in(&session, "k", item("new", version.map(|v| v.0))).await.unwrap();
        let old = there.get("k").await.unwrap().unwrap();
        assert_eq!((old.as_str(), old.origin()), ("old", &Origin::Near), "others read on");
        let session = there.session_from(&session.token()).unwrap();
        let read = || there.read("k").session(&session);
        assert_eq!(read().get().await.unwrap().unwrap().as_str(), "new", "{version:?}");
        let not_asked = |_| async { Err::<String, _>("not asked") };
        assert_eq!(read().load(not_asked).await.unwrap().unwrap().as_str(), "new", "{version:?}");
        // A version tells that the near tier is up to date.
        let origin = read().get().await.unwrap().unwrap().origin().clone();
        assert_eq!(origin == Origin::Near, version.is_some(), "{origin}");
        // And keys that it has not written are read as ever.
        there.insert("other", "v".to_owned()).await.unwrap();
        let other = there.read("other").session(&session).get().await.unwrap().unwrap();
        assert_eq!(other.origin(), &Origin::Near);
    }
}

#[tokio::test]
async fn a_session_sees_its_removal_on_another_node_and_does_not_join_an_older_load() {
    let ground = Ground::of_servers();
    let [here, there] = nodes(&ground);
    here.insert("k", "old".to_owned()).await.unwrap();
    there.get("k").await.unwrap();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let earlier = {
        let (there, gate) = (there.clone(), gate.clone());
        let load = || async move {
            gate.notified().await;
            Ok::<_, Infallible>("old".to_owned())
        };
        tokio::spawn(async move { there.refresh("k", load).await })
    };
    tokio::task::yield_now().await;

    let session = here.session();
    here.invalidate_in(&session, "k", None).await.unwrap();
    let read = || there.read("k").session(&session);
    assert!(read().get().await.unwrap().is_none());
    let load = |_| async { Ok::<_, Infallible>("new".to_owned()) };
    assert_eq!(read().load(load).await.unwrap().unwrap().as_str(), "new");
    gate.notify_one();
    earlier.await.unwrap().unwrap();
    assert_eq!(read().get().await.unwrap().unwrap().as_str(), "new");
}

#[tokio::test]
async fn a_session_passes_by_tiers_that_only_its_process_has() {
    let ground = Ground::of_servers();
    let node = || {
        let own = MemoryTier::shared(
            cache_core::ByteSize::mib(1),
            std::sync::Arc::new(ground.clock.clone()),
        );
        Cache::<String>::builder("test")
            .without_near()
            .clock(std::sync::Arc::new(ground.clock.clone()))
            .tier(own)
            .tier(ground.lower.clone())
            .build()
            .unwrap()
    };
    let (here, there) = (node(), node());
    here.insert("k", "old".to_owned()).await.unwrap();
    there.get("k").await.unwrap();
    let session = here.session();
    here.insert_in(&session, "k", "new".to_owned()).await.unwrap();
    let load = |_| async { Ok::<_, Infallible>("new".to_owned()) };
    let hit = there.read("k").session(&session).load(load).await.unwrap().unwrap();
    assert_eq!(hit.as_str(), "new");
}

#[tokio::test]
async fn a_session_ends_with_its_time() {
    let ground = Ground::of_servers();
    let cache = ground.builder().session_ttl(Duration::from_secs(5)).build().unwrap();
    let session = Session::new(std::sync::Arc::new(ground.clock.clone()));
    cache.insert_in(&session, "k", "v".to_owned()).await.unwrap();
    let origin = || async {
        cache.read("k").session(&session).get().await.unwrap().unwrap().origin().clone()
    };
    assert_ne!(origin().await, Origin::Near);
    ground.clock.advance(Duration::from_secs(5));
    assert_eq!(origin().await, Origin::Near);
}
