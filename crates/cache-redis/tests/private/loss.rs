//! A server that comes back with less than it had.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis;
use cache_core::{ErrorKind, Namespace, PutOutcome, Tier, TierExt};
use cache_redis::RedisTier;
use futures::future::join_all;

use crate::{
    entry, key, payload,
    server::{PrivateRedis, eventually},
};

/// Saves what the server has, writes on with `more`, and has it come back with what was saved.
async fn roll_back(server: &mut PrivateRedis, more: impl Future<Output = ()>) {
    redis::cmd("SAVE").exec_async(&mut server.raw().await).await.unwrap();
    more.await;
    server.kill();
    server.restart();
}

/// Asks until the server answers, whatever it says.
async fn kind_of<T>(mut call: impl AsyncFnMut() -> cache_core::Result<T>) -> Option<ErrorKind> {
    let answered = async || match call().await {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(error) => Ok(Some(error.kind())),
    };
    eventually("an answer", answered).await
}

#[tokio::test]
async fn a_server_with_an_old_snapshot_serves_nothing_old() {
    let Some(mut server) = PrivateRedis::start("an old snapshot", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let log = tier.log().unwrap();
    let namespace = Namespace::new(key().namespace()).unwrap();
    let (removed, replaced) =
        (namespace.key("removed").unwrap(), namespace.key("replaced").unwrap());
    tier.put(removed.clone(), entry("old")).await.unwrap();
    tier.put(replaced.clone(), entry("old")).await.unwrap();
    let behind = log.end().await.unwrap();
    tier.remove(removed.clone()).await.unwrap();
    tier.put(removed.clone(), entry("old")).await.unwrap();
    roll_back(&mut server, async {
        tier.remove(removed.clone()).await.unwrap();
        tier.put(replaced.clone(), entry("new")).await.unwrap();
    })
    .await;

    let kind = kind_of(async || {
        let found = tier.get(&removed).await?;
        assert_eq!(payload(&found), None, "it was removed");
        Ok(())
    });
    assert_eq!(kind.await, Some(ErrorKind::LostData));
    // Once, and then everything is empty and works.
    for key in [&removed, &replaced] {
        let found = tier.get(key).await.unwrap();
        assert_eq!(payload(&found), None, "{key}");
        let outcome = tier.fill(key.clone(), entry("loaded"), found.fence).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored);
    }
    // A process that has met nothing sees what this one has made of it.
    let other = RedisTier::open(&server.url()).await.unwrap();
    assert_eq!(payload(&other.get(&replaced).await.unwrap()), Some(&b"loaded"[..]));
    // A reader that had not even come to what was lost learns that something was.
    let mut next = behind;
    let page = loop {
        let page = log.read(&next, Duration::from_millis(1)).await.unwrap();
        if page.gap || page.notices.is_empty() {
            break page;
        }
        next = page.next;
    };
    assert!(page.gap);
}

#[tokio::test]
async fn a_write_notices_an_old_snapshot_as_well() {
    let Some(mut server) = PrivateRedis::start("a write after a loss", &[]) else { return };
    for write in ["put", "fill", "remove", "clear"] {
        let tier = RedisTier::open(&server.url()).await.unwrap();
        let (key, other) = (key(), key());
        let namespace = Namespace::new(key.namespace()).unwrap();
        let neighbour = namespace.key("neighbour").unwrap();
        tier.put(neighbour.clone(), entry("old")).await.unwrap();
        tier.put(other.clone(), entry("kept")).await.unwrap();
        // A process that only writes has met the marks of its writes.
        roll_back(&mut server, async { tier.remove(neighbour.clone()).await.unwrap() }).await;
        let kind = kind_of(async || match write {
            "put" => tier.put(key.clone(), entry("v")).await.map(|_| ()),
            "fill" => {
                let fence = cache_core::Fence::mark(1);
                tier.fill(key.clone(), entry("v"), fence).await.map(|_| ())
            }
            "remove" => tier.remove(key.clone()).await,
            _ => tier.clear(&namespace).await,
        });
        // A clear gives up what is left anyway.
        let expected = if write == "clear" { None } else { Some(ErrorKind::LostData) };
        assert_eq!(kind.await, expected, "{write}");
        let fresh = RedisTier::open(&server.url()).await.unwrap();
        for tier in [&tier, &fresh] {
            assert_eq!(payload(&tier.get(&neighbour).await.unwrap()), None, "{write}");
        }
        let found = tier.get(&other).await.unwrap();
        assert_eq!(payload(&found), Some(&b"kept"[..]), "another namespace has lost nothing");
        tier.remove(key.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_comes_back_empty_says_so_once_to_who_knew_it() {
    let Some(mut server) = PrivateRedis::start("an empty restart", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.get(&key).await.expect("the first use of a namespace is no loss");
    server.kill();
    server.restart();
    assert_eq!(kind_of(async || tier.get(&key).await).await, Some(ErrorKind::LostData));
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
    tier.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));
    let other = RedisTier::open(&server.url()).await.unwrap();
    assert_eq!(payload(&other.get(&key).await.unwrap()), Some(&b"v"[..]));
}

/// Answers overtake each other on several connections; none of that is a loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_nothing_is_never_accused() {
    let Some(server) = PrivateRedis::start("answers that overtake each other", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let namespace = Namespace::new(key().namespace()).unwrap();
    let work = (0..16).map(|task| {
        let (tier, namespace) = (Arc::clone(&tier), namespace.clone());
        tokio::spawn(async move {
            for i in 0..200 {
                let keys = [task, task + i].map(|n: usize| namespace.key(&n.to_string()).unwrap());
                match (task + i) % 4 {
                    0 => tier.remove(keys[0].clone()).await.unwrap(),
                    1 => drop(tier.put(keys[0].clone(), entry("v")).await.unwrap()),
                    2 => drop(tier.get_many(&keys).await.unwrap()),
                    _ if i % 50 == 0 => tier.clear(&namespace).await.unwrap(),
                    _ => drop(tier.get(&keys[1]).await.unwrap()),
                }
            }
        })
    });
    for done in join_all(work).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_replica_that_is_behind_serves_nothing_while_it_is() {
    let Some(server) = PrivateRedis::start("a replica that is behind", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let key = key();
    tier.put(key.clone(), entry("old")).await.unwrap();
    let control = format!("cache:{}", key.namespace());
    let before: Vec<u8> = redis::cmd("GET").arg(&control).query_async(&mut raw).await.unwrap();
    tier.put(key.clone(), entry("new")).await.unwrap();
    redis::cmd("SET").arg(&control).arg(before).exec_async(&mut raw).await.unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut raw).await.unwrap();
    for _ in 0..3 {
        let error = tier.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    }
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    assert_eq!(tier.get(&key).await.unwrap_err().kind(), ErrorKind::LostData);
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
}

#[tokio::test]
async fn a_full_server_that_lost_data_serves_nothing_old() {
    let Some(mut server) = PrivateRedis::start("a full Redis after a loss", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("old")).await.unwrap();
    roll_back(&mut server, async { tier.remove(key.clone()).await.unwrap() }).await;
    let mut raw = server.raw().await;
    let full = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).take();
    full.exec_async(&mut raw).await.unwrap();
    assert_eq!(kind_of(async || tier.get(&key).await).await, Some(ErrorKind::LostData));
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
}
