//! P5: stale beats nothing, within the bound that a read states.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::Ground;
use cache_core::{Cache, ErrorKind, Freshness, Hit, Item, LoadError, Origin, Version};
use tokio::{sync::Semaphore, time::Instant};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A source that counts its loads, which go on until it is let go.
#[derive(Clone)]
struct Slow {
    loads: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Slow {
    fn new() -> Self {
        Self { loads: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn loader(&self) -> impl FnOnce() -> Loading + Send + 'static {
        let slow = self.clone();
        move || {
            Box::pin(async move {
                slow.loads.fetch_add(1, Ordering::SeqCst);
                slow.gate.acquire().await.expect("never closed").forget();
                Ok("new".to_owned())
            })
        }
    }

    fn count(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

type Loading = std::pin::Pin<Box<dyn Future<Output = Result<String, Infallible>> + Send>>;

async fn until_fresh(cache: &Cache<String>, key: &str) -> Hit<String> {
    loop {
        match cache.get(key).await.expect("the tiers work") {
            Some(hit) if !hit.is_stale() => return hit,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_answered_by_a_stale_value_and_the_load_goes_on_once() {
    for without_near in [false, true] {
        let ground = Ground::new();
        let builder = ground.builder().soft_timeout(Duration::from_millis(100));
        let builder = if without_near { builder.without_near() } else { builder };
        let cache = builder.build().unwrap();
        cache.insert("k", "old".to_owned()).await.unwrap();
        ground.clock.advance(secs(11));
        let source = Slow::new();
        for _ in 0..3 {
            let asked = Instant::now();
            let hit = cache.get_or_load("k", source.loader()).await.unwrap();
            assert_eq!((hit.as_str(), hit.stale_for()), ("old", secs(1)));
            assert_eq!(asked.elapsed(), Duration::from_millis(100));
        }
        assert_eq!(source.count(), 1);
        let stats = cache.stats().await;
        assert_eq!((stats.soft_timeouts, stats.stale_served, stats.loads), (3, 3, 1));
        source.gate.add_permits(1);
        assert_eq!(until_fresh(&cache, "k").await.as_str(), "new");
        assert_eq!(source.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_load_of_what_nobody_has_is_waited_for() {
    let ground = Ground::new();
    let cache = ground.builder().soft_timeout(Duration::from_millis(100)).build().unwrap();
    let load = || async {
        tokio::time::sleep(secs(1)).await;
        Ok::<_, Infallible>("v".to_owned())
    };
    let hit = cache.get_or_load("k", load).await.unwrap();
    assert_eq!((hit.as_str(), hit.origin()), ("v", &Origin::Load));
    assert_eq!(cache.stats().await.soft_timeouts, 0);
}

#[tokio::test(start_paused = true)]
async fn each_freshness_answers_as_its_table_says() {
    let failing = |_| async { Err::<String, _>("down") };
    // Stale for 5 s, of version 3, and a source that is down.
    for (freshness, expected) in [
        (Freshness::FailSafe, Some("old")),
        (Freshness::Any, Some("old")),
        (Freshness::MaxStale(secs(5)), Some("old")),
        (Freshness::MaxStale(secs(4)), None),
        (Freshness::AtLeast(Version(3)), Some("old")),
        (Freshness::AtLeast(Version(4)), None),
        (Freshness::Fresh, None),
    ] {
        for without_near in [false, true] {
            let ground = Ground::new();
            let builder = ground.builder();
            let builder = if without_near { builder.without_near() } else { builder };
            let cache = builder.build().unwrap();
            let old = Item::new("old".to_owned()).version(Version(3));
            cache.insert("k", old).await.unwrap();
            ground.clock.advance(secs(15));
            let read = || cache.read("k").freshness(freshness);
            let found = read().get().await.unwrap();
            assert_eq!(found.as_ref().map(|hit| hit.as_str()), expected, "{freshness:?}");
            let loaded = read().load(failing).await;
            match (&loaded, expected) {
                (Ok(Some(hit)), Some(expected)) => assert_eq!(hit.as_str(), expected),
                (Err(LoadError::Source(error)), None) => assert_eq!(**error, "down"),
                _ => panic!("{freshness:?}: {loaded:?}"),
            }
            // The load in the background, if there is one, has failed by then.
            tokio::time::sleep(secs(1)).await;
            let new = |_| async { Ok::<_, &str>(Item::new("new".to_owned()).version(Version(4))) };
            let hit = read().load(new).await.unwrap().unwrap();
            let at_once =
                matches!(freshness, Freshness::Any) || freshness == Freshness::MaxStale(secs(5));
            assert_eq!(hit.as_str(), if at_once { "old" } else { "new" }, "{freshness:?}");
            assert_eq!(until_fresh(&cache, "k").await.as_str(), "new", "{freshness:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_answered_at_once_and_loaded_anew_once() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", "old".to_owned()).await.unwrap();
    ground.clock.advance(secs(11));
    let source = Slow::new();
    for _ in 0..10 {
        let load = source.loader();
        let read = cache.read("k").freshness(Freshness::Any).load(move |_| load());
        assert_eq!(read.await.unwrap().unwrap().as_str(), "old");
        tokio::task::yield_now().await;
    }
    source.gate.add_permits(1);
    assert_eq!(until_fresh(&cache, "k").await.as_str(), "new");
    assert_eq!(source.count(), 1);
    let stats = cache.stats().await;
    assert_eq!((stats.background_loads, stats.stale_at_once), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn at_least_never_answers_with_an_older_version() {
    let ground = Ground::new();
    let cache = ground.cache();
    let at = |version, text: &str| Item::new(text.to_owned()).version(Version(version));
    cache.insert("k", at(2, "two")).await.unwrap();
    let read = |version| cache.read("k").freshness(Freshness::AtLeast(Version(version)));
    assert_eq!(read(2).get().await.unwrap().unwrap().as_str(), "two");
    assert!(read(3).get().await.unwrap().is_none());

    // The source's replica lags behind.
    let lagging = move |_| async move { Ok::<_, Infallible>(at(2, "two")) };
    match read(3).load(lagging).await {
        Err(LoadError::Cache(error)) => assert_eq!(error.kind(), ErrorKind::Outdated, "{error}"),
        other => panic!("{other:?}"),
    }
    let unversioned = |_| async { Ok::<_, Infallible>("no version".to_owned()) };
    assert!(read(3).load(unversioned).await.is_err());

    // A load that began before it asked does not answer a read, and neither does it fail it.
    let gate = Arc::new(Semaphore::new(0));
    let earlier = {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        let load = move || async move {
            gate.acquire().await.expect("never closed").forget();
            Ok::<_, Infallible>(at(2, "two"))
        };
        tokio::spawn(async move { cache.refresh("k", load).await })
    };
    tokio::task::yield_now().await;
    let later = {
        let cache = cache.clone();
        let load = move |_| async move { Ok::<_, Infallible>(at(3, "three")) };
        let freshness = Freshness::AtLeast(Version(3));
        tokio::spawn(async move { cache.read("k").freshness(freshness).load(load).await })
    };
    tokio::task::yield_now().await;
    gate.add_permits(1);
    assert_eq!(earlier.await.unwrap().unwrap().as_str(), "two");
    assert_eq!(later.await.unwrap().unwrap().unwrap().as_str(), "three");
}

#[tokio::test(start_paused = true)]
async fn one_load_answers_all_who_want_a_newer_version() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", Item::new("two".to_owned()).version(Version(2))).await.unwrap();
    let source = Slow::new();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (cache, load) = (cache.clone(), source.loader());
            let load = move |_| async move {
                load().await.map(|value| Item::new(value).version(Version(3)))
            };
            let freshness = Freshness::AtLeast(Version(3));
            tokio::spawn(async move { cache.read("k").freshness(freshness).load(load).await })
        })
        .collect();
    tokio::task::yield_now().await;
    source.gate.add_permits(100);
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().unwrap().as_str(), "new");
    }
    assert_eq!(source.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_joins_a_failing_load_for_a_newer_version_keeps_what_is_there() {
    let ground = Ground::new();
    let cache = ground.builder().without_near().build().unwrap();
    cache.insert("k", Item::new("two".to_owned()).version(Version(2))).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let newer = {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        let load = move |_| async move {
            gate.acquire().await.expect("never closed").forget();
            Err::<String, _>("down")
        };
        let freshness = Freshness::AtLeast(Version(3));
        tokio::spawn(async move { cache.read("k").freshness(freshness).load(load).await })
    };
    tokio::task::yield_now().await;
    let any = {
        let cache = cache.clone();
        let load = || async { Err::<String, _>("not asked") };
        tokio::spawn(async move { cache.get_or_load("k", load).await })
    };
    tokio::task::yield_now().await;
    gate.add_permits(1);
    assert!(matches!(newer.await.unwrap(), Err(LoadError::Source(e)) if *e == "down"));
    assert_eq!(any.await.unwrap().unwrap().as_str(), "two");
}

#[tokio::test(start_paused = true)]
async fn keys_written_together_expire_apart() {
    let ground = Ground::new();
    let ends = |seed| {
        let cache = ground.builder().jitter(0.5).seed(seed).build().unwrap();
        async move {
            let keys: Vec<String> = (0..100).map(|i| format!("k{i}")).collect();
            let items = keys.iter().map(|key| (key, "v".to_owned()));
            cache.insert_many(items).await.unwrap();
            let hits = cache.get_many(&keys).await.unwrap();
            hits.into_iter().map(|hit| hit.unwrap().fresh_for()).collect::<Vec<_>>()
        }
    };
    let first = ends(7).await;
    assert!(first.iter().all(|left| (secs(5)..=secs(10)).contains(left)), "{first:?}");
    let mut apart = first.clone();
    apart.sort_unstable();
    apart.dedup();
    assert!(apart.len() > 90, "{} of 100 moments differ", apart.len());
    assert_eq!(first, ends(7).await, "a seed makes it the same again");
    assert_ne!(first, ends(8).await);

    let cache = ground.builder().jitter(0.5).build().unwrap();
    cache.insert("exact", Item::new("v".to_owned()).jitter(0.0)).await.unwrap();
    assert_eq!(cache.get("exact").await.unwrap().unwrap().fresh_for(), secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_to_be_stored_answers_its_load_only() {
    let ground = Ground::new();
    let cache = ground.cache();
    let item = || Item::new("v".to_owned()).no_store();
    let hit =
        cache.get_or_load("k", move || async move { Ok::<_, Infallible>(item()) }).await.unwrap();
    assert_eq!(hit.as_str(), "v");
    assert!(cache.get("k").await.unwrap().is_none());
    assert_eq!(cache.insert("k", item()).await.unwrap_err().kind(), ErrorKind::Config);
}
