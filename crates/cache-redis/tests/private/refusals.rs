//! A server that is there and does not do what it is asked.

use bb8_redis::redis;
use cache_core::{ErrorKind, Fence, PutOutcome, Tier, TierExt};
use cache_redis::RedisTier;

use crate::{entry, key, namespace, payload, server::PrivateRedis};

#[tokio::test]
async fn a_full_server_refuses_puts_and_does_everything_else() {
    let Some(server) = PrivateRedis::start("a full Redis", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let (kept, removed) = (key(), key());
    for key in [&kept, &removed] {
        tier.put(key.clone(), entry("v")).await.unwrap();
    }
    let seen = tier.get(&kept).await.unwrap().fence;
    let mut raw = server.raw().await;
    // Below what an empty server needs.
    let full = ["CONFIG", "SET", "maxmemory", "1"];
    redis::cmd(full[0]).arg(&full[1..]).exec_async(&mut raw).await.unwrap();

    let refused = [
        tier.put(kept.clone(), entry("new")).await,
        tier.fill(kept.clone(), entry("new"), seen).await,
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(error.to_string().contains("maxmemory-policy"), "{error}");
        assert!(error.is_retryable() && !error.may_have_happened());
    }
    assert_eq!(payload(&tier.get(&kept).await.unwrap()), Some(&b"v"[..]));
    assert_eq!(tier.get(&key()).await.unwrap().fence, Fence::unread(), "of a new namespace");
    tier.remove(removed.clone()).await.unwrap();
    assert_eq!(payload(&tier.get(&removed).await.unwrap()), None);
    let namespace = namespace();
    tier.clear(&namespace).await.unwrap();
    let usage = tier.usage().await.unwrap();
    assert_eq!(usage.bytes_max, Some(1));
    assert!(usage.bytes > Some(1) && usage.evictions == Some(0), "{usage:?}");
}

#[tokio::test]
async fn a_replica_is_read_only() {
    let Some(server) = PrivateRedis::start("a Redis replica", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let kept = key();
    tier.put(kept.clone(), entry("v")).await.unwrap();
    let mut raw = server.raw().await;
    let replicaof = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).take();
    replicaof.exec_async(&mut raw).await.unwrap();

    let writes = [
        tier.put(kept.clone(), entry("new")).await.map(|_| ()),
        tier.remove(kept.clone()).await,
        tier.clear(&namespace()).await,
    ];
    for error in writes.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
        assert!(!error.may_have_happened());
    }
    assert_eq!(payload(&tier.get(&kept).await.unwrap()), Some(&b"v"[..]));
    let unknown = key();
    let found = tier.get(&unknown).await.unwrap();
    assert_eq!((payload(&found), &found.fence), (None, &Fence::unread()));
    let outcome = tier.fill(unknown, entry("v"), found.fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Skipped);

    let blind = ["CONFIG", "SET", "replica-serve-stale-data", "no"];
    redis::cmd(blind[0]).arg(&blind[1..]).exec_async(&mut raw).await.unwrap();
    let error = tier.get(&kept).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_cluster_without_its_slots_is_unavailable() {
    let arguments = ["--cluster-enabled", "yes"];
    let Some(server) = PrivateRedis::start("a Redis cluster", &arguments) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let error = tier.get(&key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_server_with_too_many_clients_says_what_to_raise() {
    let test = "a Redis with too many clients";
    let Some(server) = PrivateRedis::start(test, &["--maxclients", "1"]) else { return };
    let _raw = server.raw().await;
    let error = RedisTier::open(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("maxclients"), "{error}");
}
