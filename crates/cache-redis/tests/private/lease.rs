//! Leases, between processes and through outages.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis::{self, aio::MultiplexedConnection};
use cache_core::{Error, ErrorKind, LeaseToken, Leases, Tier, TierExt};
use cache_redis::RedisTier;
use futures::future::join_all;
use tokio::time::timeout;

use crate::{
    entry, key,
    server::{PATIENCE, PrivateRedis, eventually},
};

const LONG: Duration = Duration::from_secs(60);

async fn open(server: &PrivateRedis) -> (Arc<RedisTier>, Arc<dyn Leases>) {
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let leases = tier.leases().unwrap();
    (tier, leases)
}

/// Waits until so many connections hear of releases.
pub(crate) async fn eventually_heard(raw: &mut MultiplexedConnection, count: u64) {
    eventually("releases are heard of", async || {
        let mut ask = redis::cmd("PUBSUB");
        ask.arg("NUMSUB").arg("cache:~leases");
        let (_, heard): (String, u64) = ask.query_async(raw).await.unwrap();
        if heard == count {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, format!("{heard} connections hear")))
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_its_owner_s_until_it_is_released() {
    let Some(server) = PrivateRedis::start("a lease", &[]) else { return };
    let (tier, ours) = open(&server).await;
    let (_tier, theirs) = open(&server).await;
    let key = key();
    let token = ours.acquire(&key, LONG).await.unwrap().unwrap();
    assert_eq!(theirs.acquire(&key, LONG).await.unwrap(), None);
    assert_eq!(ours.acquire(&key, LONG).await.unwrap(), None);
    let stranger = LeaseToken::new(token.number() ^ 1);
    assert!(!theirs.renew(&key, stranger, LONG).await.unwrap());
    theirs.release(&key, stranger).await.unwrap();
    assert!(ours.renew(&key, token, LONG).await.unwrap(), "strangers change nothing");
    // The lease is no entry, and a clear does not end it.
    tier.put(key.clone(), entry("v")).await.unwrap();
    tier.clear(&cache_core::Namespace::new(key.namespace()).unwrap()).await.unwrap();
    assert_eq!(theirs.acquire(&key, LONG).await.unwrap(), None);
    ours.release(&key, token).await.unwrap();
    ours.release(&key, token).await.unwrap();
    assert!(!ours.renew(&key, token, LONG).await.unwrap());
    let token = theirs.acquire(&key, LONG).await.unwrap().unwrap();
    assert!(theirs.renew(&key, token, Duration::from_secs(1)).await.unwrap());
}

#[tokio::test]
async fn a_lease_ends_with_its_period() {
    let Some(server) = PrivateRedis::start("the end of a lease", &[]) else { return };
    let (_tier, leases) = open(&server).await;
    let (brief, renewed) = (key(), key());
    let period = Duration::from_millis(150);
    let token = leases.acquire(&renewed, period).await.unwrap().unwrap();
    assert!(leases.renew(&renewed, token, LONG).await.unwrap());
    let token = leases.acquire(&brief, period).await.unwrap().unwrap();
    timeout(PATIENCE, leases.wait(&brief, LONG)).await.unwrap().unwrap();
    assert!(!leases.renew(&brief, token, LONG).await.unwrap());
    assert!(leases.acquire(&brief, LONG).await.unwrap().is_some());
    assert_eq!(leases.acquire(&renewed, LONG).await.unwrap(), None, "it was renewed");
    // A wait for what nobody has ends at once, and one that is long enough ends with its time.
    timeout(PATIENCE, leases.wait(&key(), LONG)).await.unwrap().unwrap();
    timeout(PATIENCE, leases.wait(&brief, Duration::from_millis(5))).await.unwrap().unwrap();
}

#[tokio::test]
async fn waiters_are_woken_by_a_release() {
    let Some(server) = PrivateRedis::start("waiters for a lease", &[]) else { return };
    let (_tier, owner) = open(&server).await;
    let (_tier, other) = open(&server).await;
    let mut raw = server.raw().await;
    let (key, kept) = (key(), key());
    let token = owner.acquire(&key, LONG).await.unwrap().unwrap();
    owner.acquire(&kept, LONG).await.unwrap().unwrap();
    let waiters: Vec<_> = (0..2_000)
        .map(|_| {
            let (other, key) = (Arc::clone(&other), key.clone());
            tokio::spawn(async move { other.wait(&key, LONG).await })
        })
        .collect();
    let waits_on = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.wait(&kept, LONG).await }
    });
    eventually_heard(&mut raw, 1).await;
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut raw).await.unwrap();
    owner.release(&key, token).await.unwrap();
    for woken in timeout(PATIENCE, join_all(waiters)).await.unwrap() {
        woken.unwrap().unwrap();
    }
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut raw).await.unwrap();
    let asked = stats.lines().find_map(|line| line.strip_prefix("cmdstat_pttl:calls="));
    let asked = asked.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap());
    assert!(asked < 100, "two thousand waiters ask {asked} times");
    assert!(!waits_on.is_finished(), "another key's waiter waits on");
    waits_on.abort();
}

/// The one who asks for all may go away at any moment.
#[tokio::test]
async fn waiters_who_leave_leave_the_others_waiting() {
    let Some(server) = PrivateRedis::start("waiters that leave", &[]) else { return };
    let (_tier, leases) = open(&server).await;
    let key = key();
    let token = leases.acquire(&key, LONG).await.unwrap().unwrap();
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let (leases, key) = (Arc::clone(&leases), key.clone());
            tokio::spawn(async move { leases.wait(&key, LONG).await })
        })
        .collect();
    tokio::task::yield_now().await;
    for waiter in &waiters[..49] {
        waiter.abort();
    }
    // Nobody hears of this: not the script ends the lease.
    let raw_key = format!("cache:{}~lease:{}", key.namespace(), key.text());
    redis::cmd("DEL").arg(raw_key).exec_async(&mut server.raw().await).await.unwrap();
    let last = waiters.into_iter().next_back().unwrap();
    timeout(PATIENCE, last).await.unwrap().unwrap().unwrap();
    assert!(!leases.renew(&key, token, LONG).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_gone_fails_leases_and_those_who_wait() {
    let Some(mut server) = PrivateRedis::start("leases of a Redis that dies", &[]) else { return };
    let (tier, leases) = open(&server).await;
    let key = key();
    let token = leases.acquire(&key, LONG).await.unwrap().unwrap();
    let wait_on = |count: usize| {
        let waiters = (0..count).map(|_| {
            let (leases, key) = (Arc::clone(&leases), key.clone());
            tokio::spawn(async move { leases.wait(&key, LONG).await })
        });
        waiters.collect::<Vec<_>>()
    };
    let check = async |waiters: Vec<_>, kinds: &[ErrorKind]| {
        for failed in timeout(PATIENCE, join_all(waiters)).await.expect("nobody hangs") {
            let failed: Result<cache_core::Result<()>, tokio::task::JoinError> = failed;
            let error = failed.unwrap().unwrap_err();
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    };
    let waiters = wait_on(500);
    eventually_heard(&mut server.raw().await, 1).await;
    server.freeze();
    check(waiters, &[ErrorKind::Timeout]).await;
    let error = leases.acquire(&key, LONG).await.unwrap_err();
    assert!([ErrorKind::Timeout, ErrorKind::Unavailable].contains(&error.kind()), "{error}");
    server.thaw();
    eventually("ping", async || tier.ping().await).await;
    assert!(leases.renew(&key, token, LONG).await.unwrap(), "the lease has survived that");

    let waiters = wait_on(500);
    tokio::task::yield_now().await;
    server.kill();
    check(waiters, &[ErrorKind::Unavailable]).await;
    let error = leases.acquire(&key, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(leases.release(&key, token).await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.restart();
    let taken = eventually("acquire", async || leases.acquire(&key, LONG).await).await;
    assert!(taken.is_some(), "the server has lost the lease");
    let mut raw = server.raw().await;
    let waiter = wait_on(1).remove(0);
    eventually_heard(&mut raw, 1).await;
    leases.release(&key, taken.unwrap()).await.unwrap();
    timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
}
