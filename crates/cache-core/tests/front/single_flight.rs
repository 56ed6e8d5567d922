//! P3: one load for many callers, whatever becomes of the callers and of the load.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::Ground;
use cache_core::{Cache, ErrorKind, LoadError, Origin};
use tokio::sync::{Notify, Semaphore};

/// A source that counts its loads and holds each until it is let go.
#[derive(Clone)]
struct Source {
    loads: Arc<AtomicUsize>,
    started: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Source {
    fn new() -> Self {
        Self {
            loads: Arc::default(),
            started: Arc::new(Semaphore::new(0)),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    async fn load(self, value: &'static str) -> Result<String, Infallible> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.started.add_permits(1);
        self.gate.acquire().await.expect("never closed").forget();
        Ok(value.to_owned())
    }

    /// Waits until one more load has started.
    async fn has_started(&self) {
        self.started.acquire().await.expect("never closed").forget();
    }

    fn let_go(&self) {
        self.gate.add_permits(1);
    }

    fn count(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn get(
        &self,
        cache: &Cache<String>,
        value: &'static str,
    ) -> tokio::task::JoinHandle<Result<String, LoadError<Infallible>>> {
        let (cache, source) = (cache.clone(), self.clone());
        tokio::spawn(async move {
            cache.get_or_load("k", move || source.load(value)).await.map(|hit| hit.to_string())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_one_load() {
    let cache = Ground::new().cache();
    let source = Source::new();
    let callers: Vec<_> = (0..1_000).map(|_| source.get(&cache, "v")).collect();
    source.has_started().await;
    source.let_go();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "v");
    }
    assert_eq!(source.count(), 1);
    let stats = cache.stats().await;
    assert_eq!((stats.loads, stats.hits + stats.misses), (1, 1_000));
}

#[tokio::test]
async fn a_cancelled_leader_strands_nobody_and_its_load_goes_on() {
    let ground = Ground::new();
    let cache = ground.cache();
    let source = Source::new();
    let leader = source.get(&cache, "v");
    source.has_started().await;
    let follower = source.get(&cache, "v");
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    source.let_go();
    assert_eq!(follower.await.unwrap().unwrap(), "v");

    // Even with every caller gone, the value is there afterwards.
    cache.invalidate("k").await.unwrap();
    let only = source.get(&cache, "w");
    source.has_started().await;
    only.abort();
    source.let_go();
    cache.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ground.cache().get("k").await.unwrap().unwrap().as_str(), "w");
    assert_eq!(source.count(), 2);
}

#[tokio::test]
async fn a_failing_leader_shares_its_error_and_the_next_caller_tries_again() {
    let cache = Ground::new().cache();
    let gate = Arc::new(Notify::new());
    let get = || {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = || async move {
                gate.notified().await;
                Err::<String, _>("down")
            };
            cache.get_or_load("k", load).await
        })
    };
    let callers = [get(), get(), get()];
    tokio::task::yield_now().await;
    gate.notify_one();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(LoadError::Source(e)) if *e == "down"));
    }
    assert_eq!(cache.stats().await.loads, 1);
    let hit = cache.get_or_load("k", || async { Ok::<_, Infallible>("up".to_owned()) }).await;
    assert_eq!(hit.unwrap().as_str(), "up", "an error is never cached");
}

#[tokio::test]
async fn a_panicking_leader_strands_nobody() {
    let cache = Ground::new().cache();
    let panics = cache
        .get_or_load("k", || async {
            if true {
                panic!("no such symbol");
            }
            Ok::<_, Infallible>(String::new())
        })
        .await;
    match panics {
        Err(LoadError::Cache(error)) => {
            assert_eq!(error.kind(), ErrorKind::Load);
            assert!(error.to_string().contains("no such symbol"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let hit = cache.get_or_load("k", || async { Ok::<_, Infallible>("v".to_owned()) }).await;
    assert_eq!(hit.unwrap().as_str(), "v");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_is_given_up() {
    let ground = Ground::new();
    let cache = ground.builder().load_timeout(Duration::from_secs(2)).build().unwrap();
    let slow = cache.get_or_load("k", std::future::pending::<Result<String, Infallible>>).await;
    match slow {
        Err(LoadError::Cache(error)) => {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(error.to_string().contains("load_timeout"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_caller_with_another_type_of_error_is_told_the_text() {
    let cache = Ground::new().cache();
    let source = Arc::new(Notify::new());
    let leader = {
        let (cache, source) = (cache.clone(), Arc::clone(&source));
        tokio::spawn(async move {
            let load = || async move {
                source.notified().await;
                Err::<String, _>(404)
            };
            cache.get_or_load("k", load).await
        })
    };
    tokio::task::yield_now().await;
    let follower = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache.get_or_load("k", || async { Err::<String, _>("not asked") }).await
        })
    };
    tokio::task::yield_now().await;
    source.notify_one();
    assert!(matches!(leader.await.unwrap(), Err(LoadError::Source(e)) if *e == 404));
    match follower.await.unwrap() {
        Err(LoadError::Cache(error)) => assert!(error.to_string().contains("404"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn single_and_batch_callers_share_a_load() {
    let cache = Ground::new().cache();
    let source = Source::new();
    let single = source.get(&cache, "v");
    source.has_started().await;
    let batch = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache
                .get_many_or_load(["k", "other"], |missing: Vec<String>| async move {
                    assert_eq!(missing, ["other"]);
                    Ok::<_, Infallible>(missing.into_iter().map(|key| (key, "batch".to_owned())))
                })
                .await
        })
    };
    tokio::task::yield_now().await;
    source.let_go();
    assert_eq!(single.await.unwrap().unwrap(), "v");
    let values: Vec<String> =
        batch.await.unwrap().into_iter().map(|hit| hit.unwrap().unwrap().to_string()).collect();
    assert_eq!(values, ["v", "batch"]);
    assert_eq!(cache.stats().await.shared_flights, 1);
}

#[tokio::test]
async fn a_reader_who_joins_a_refresh_that_fails_gets_the_stale_value() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", "old".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(11));
    let gate = Arc::new(Notify::new());
    let refresh = {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        let load = || async move {
            gate.notified().await;
            Err::<String, _>("down")
        };
        tokio::spawn(async move { cache.refresh("k", load).await })
    };
    tokio::task::yield_now().await;
    let readers = [false, true].map(|batch| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let load = || async { Err::<String, _>("not asked") };
            let load_many = |_| async { Err::<Vec<(String, String)>, _>("not asked") };
            match batch {
                false => cache.get_or_load("k", load).await.unwrap(),
                true => cache.get_many_or_load(["k"], load_many).await.remove(0).unwrap().unwrap(),
            }
        })
    });
    tokio::task::yield_now().await;
    gate.notify_one();
    assert!(matches!(refresh.await.unwrap(), Err(LoadError::Source(e)) if *e == "down"));
    for reader in readers {
        let hit = reader.await.unwrap();
        assert_eq!((hit.as_str(), hit.is_stale()), ("old", true));
    }
}

#[tokio::test]
async fn p1_no_stale_fill_in_the_front() {
    for change in ["invalidate", "insert", "clear"] {
        let ground = Ground::new();
        let cache = ground.cache();
        let source = Source::new();
        let old = source.get(&cache, "old");
        source.has_started().await;
        match change {
            "invalidate" => cache.invalidate("k").await.unwrap(),
            "clear" => cache.clear().await.unwrap(),
            _ => assert!(cache.insert("k", "inserted".to_owned()).await.is_ok()),
        }
        // Whoever comes after the change does not join the load from before it.
        let new = source.get(&cache, "new");
        if change != "insert" {
            source.has_started().await;
            source.let_go();
        }
        source.let_go();
        assert_eq!(old.await.unwrap().unwrap(), "old", "those aboard came before the {change}");
        let expected = if change == "insert" { "inserted" } else { "new" };
        assert_eq!(new.await.unwrap().unwrap(), expected);
        for reader in [&cache, &ground.cache()] {
            let hit = reader.get("k").await.unwrap().unwrap();
            assert_eq!(hit.as_str(), expected, "after the {change}");
        }
        assert_eq!(cache.stats().await.superseded_fills, 1, "{change}");
    }
}

#[tokio::test]
async fn p11_nothing_is_lost_on_the_way_down() {
    let ground = Ground::new();
    let cache = ground.cache();
    let source = Source::new();
    let load = source.get(&cache, "v");
    source.has_started().await;
    let late = cache.shutdown(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(late.to_string().starts_with("1 loads and writes"), "{late}");
    assert_eq!(cache.get("k").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(cache.insert("k", "w".to_owned()).await.unwrap_err().kind(), ErrorKind::Closed);
    source.let_go();
    cache.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(load.await.unwrap().unwrap(), "v");
    let hit = ground.cache().get("k").await.unwrap().unwrap();
    assert_eq!((hit.as_str(), hit.origin().to_string().as_str()), ("v", "L1 upper"));
    assert_ne!(hit.origin(), &Origin::Load);
}

#[tokio::test]
async fn a_dropped_write_is_carried_out() {
    let ground = Ground::new();
    let cache = ground.cache();
    {
        let mut insert = Box::pin(cache.insert("k", "v".to_owned()));
        assert!(futures::poll!(&mut insert).is_pending());
    }
    cache.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ground.cache().get("k").await.unwrap().unwrap().as_str(), "v");
}
