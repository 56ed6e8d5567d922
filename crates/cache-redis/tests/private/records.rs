//! What lies in Redis, and what becomes of it.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis::{self, aio::MultiplexedConnection};
use bytes::Bytes;
use cache_core::{
    Condition, Entry, ErrorKind, Fence, Key, ManualClock, Put, PutOutcome, Removal, SystemClock,
    Tier, TierExt, Ttl, Version, wire,
};
use cache_redis::{RedisConfig, RedisTier};

use crate::{
    entry, key, namespace, now, payload,
    server::{PrivateRedis, eventually},
};

async fn run<T: redis::FromRedisValue>(raw: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split_whitespace();
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(raw).await.unwrap()
}

async fn record(raw: &mut MultiplexedConnection, key: &Key) -> Bytes {
    run::<Vec<u8>>(raw, &format!("GET cache:{key}")).await.into()
}

#[tokio::test]
async fn scripts_that_are_gone_are_loaded_again() {
    let Some(server) = PrivateRedis::start("SCRIPT FLUSH", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    for _ in 0..3 {
        let key = key();
        run::<()>(&mut raw, "SCRIPT FLUSH").await;
        tier.get(&key).await.unwrap();
        run::<()>(&mut raw, "SCRIPT FLUSH").await;
        tier.put(key.clone(), entry("v")).await.unwrap();
        run::<()>(&mut raw, "SCRIPT FLUSH").await;
        tier.remove(key).await.unwrap();
        run::<()>(&mut raw, "SCRIPT FLUSH").await;
        tier.clear(&namespace()).await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_keys_are_read_and_written_by_one_command_each() {
    let Some(server) = PrivateRedis::start("counting commands", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let keys: Vec<Key> = (0..100).map(|_| key()).collect();
    let put = |key: &Key| Put { key: key.clone(), entry: entry("v"), condition: Condition::Always };
    let puts: Vec<Put> = keys.iter().map(put).collect();
    // The first call loads the script.
    tier.put_many(&puts).await.unwrap();
    run::<()>(&mut raw, "CONFIG RESETSTAT").await;
    tier.put_many(&puts).await.unwrap();
    let found = tier.get_many(&keys).await.unwrap();
    assert!(found.iter().all(|lookup| lookup.entry.is_some()));
    let stats: String = run(&mut raw, "INFO commandstats").await;
    let calls = |command: &str| {
        let of = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(of.as_str()));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    assert_eq!((calls("evalsha"), calls("mget")), (1, 1), "{stats}");
}

#[tokio::test]
async fn a_fill_after_a_loss_of_data_is_refused() {
    let Some(mut server) = PrivateRedis::start("a Redis that lost its data", &[]) else { return };
    // A clock that stands still: the mark at which an empty Redis starts must grow all the same.
    let clock = Arc::new(ManualClock::new());
    let tier = RedisTier::connect(&RedisConfig::new(server.url()), clock).await.unwrap();
    for looks_again in [false, true] {
        for restarts in [false, true] {
            let key = key();
            let seen = tier.get(&key).await.unwrap().fence;
            if restarts {
                server.kill();
                server.restart();
                eventually("ping", async || tier.ping().await).await;
            } else {
                run::<()>(&mut server.raw().await, "FLUSHALL").await;
            }
            if looks_again {
                let error = tier.get(&key).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::LostData, "{error}");
                assert_ne!(tier.get(&key).await.unwrap().fence, seen);
            } else {
                let fill = tier.fill(key.clone(), entry("stale"), seen.clone());
                let error = fill.await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::LostData, "{error}");
                assert!(!error.may_have_happened());
            }
            let outcome = tier.fill(key.clone(), entry("stale"), seen).await.unwrap();
            assert_eq!(outcome, PutOutcome::Superseded, "{looks_again} {restarts}");
            let fence = tier.get(&key).await.unwrap().fence;
            let outcome = tier.fill(key, entry("new"), fence).await.unwrap();
            assert_eq!(outcome, PutOutcome::Stored);
        }
    }
}

/// Evicted, or deleted by somebody: with it the knowledge of clears is gone.
#[tokio::test]
async fn a_loss_of_the_control_key_clears_its_namespace() {
    let Some(server) = PrivateRedis::start("a lost control key", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    let seen = tier.get(&key).await.unwrap().fence;
    run::<()>(&mut raw, &format!("DEL cache:{}", key.namespace())).await;
    // Another process, whose clock is an age behind, is the first to notice.
    let clock = Arc::new(ManualClock::new());
    let other = RedisTier::connect(&RedisConfig::new(server.url()), clock).await.unwrap();
    assert_eq!(payload(&other.get(&key).await.unwrap()), None);
    assert_eq!(tier.get(&key).await.unwrap_err().kind(), ErrorKind::LostData);
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
    let outcome = tier.fill(key.clone(), entry("stale"), seen).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded, "a mark from before the loss");
    tier.put(key.clone(), entry("new")).await.unwrap();
    assert_eq!(payload(&other.get(&key).await.unwrap()), Some(&b"new"[..]));
}

#[tokio::test]
async fn keys_of_another_type_are_missing_and_overwritten() {
    let Some(server) = PrivateRedis::start("a list under a key", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let key = key();
    for name in [key.encoded(), key.namespace()] {
        let plant = format!("RPUSH cache:{name} a b");
        let remove = format!("DEL cache:{name}");
        // Of a control key that is the loss of what this process knows was there, told once.
        let was_met = name == key.namespace();
        run::<()>(&mut raw, &remove).await;
        run::<()>(&mut raw, &plant).await;
        if was_met {
            assert_eq!(tier.get(&key).await.unwrap_err().kind(), ErrorKind::LostData);
        }
        let found = tier.get(&key).await.unwrap();
        assert_eq!(payload(&found), None);
        let outcome = tier.fill(key.clone(), entry("v"), found.fence).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored);
        assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));

        run::<()>(&mut raw, &remove).await;
        run::<()>(&mut raw, &plant).await;
        if was_met {
            let error = tier.put(key.clone(), entry("w")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LostData);
        }
        tier.put(key.clone(), entry("w")).await.unwrap();
        assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"w"[..]));

        run::<()>(&mut raw, &remove).await;
        run::<()>(&mut raw, &plant).await;
        if was_met {
            assert_eq!(tier.remove(key.clone()).await.unwrap_err().kind(), ErrorKind::LostData);
        }
        tier.remove(key.clone()).await.unwrap();
        assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
    }
    run::<()>(&mut raw, &format!("DEL cache:{}", key.namespace())).await;
    run::<()>(&mut raw, &format!("RPUSH cache:{} a", key.namespace())).await;
    let namespace = cache_core::Namespace::new(key.namespace()).unwrap();
    tier.clear(&namespace).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
}

/// A tombstone's version may come from the record that it replaces, in which case the script
/// computes the checksum.
#[tokio::test]
async fn a_tombstone_is_a_record_as_any_reader_knows_it() {
    let Some(server) = PrivateRedis::start("a tombstone", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let (low, high) = (Version(7), Version(u64::MAX - 1));
    for (held, given, kept) in [
        (None, None, None),
        (Some(high), None, Some(high)),
        (None, Some(high), Some(high)),
        (Some(high), Some(low), Some(high)),
        (Some(low), Some(high), Some(high)),
    ] {
        let key = key();
        tier.put(key.clone(), entry("v").with_version(held)).await.unwrap();
        let removal = Removal { key: key.clone(), version: given };
        tier.remove_many(&[removal]).await.unwrap();
        let bytes = record(&mut raw, &key).await;
        assert_eq!(
            wire::decode(&bytes, 0),
            Ok(wire::Record::Tombstone(kept)),
            "{held:?} {given:?}"
        );
        let fence = tier.get(&key).await.unwrap().fence;
        assert_eq!(wire::fence_mark(&bytes), fence.as_mark());
    }
}

#[tokio::test]
async fn a_put_that_is_too_large_leaves_a_tombstone() {
    let Some(server) = PrivateRedis::start("a large put", &[]) else { return };
    let config = RedisConfig {
        payload_len_max: cache_core::ByteSize::bytes(10),
        ..RedisConfig::new(server.url())
    };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    let key = key();
    let versioned = |payload, version| entry(payload).with_version(Some(Version(version)));
    tier.put(key.clone(), versioned("v5", 5)).await.unwrap();
    let large = "larger than 10 bytes";
    let outcome = tier.put(key.clone(), versioned(large, 4)).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded, "an older version does not even displace");
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v5"[..]));
    assert_eq!(tier.put(key.clone(), versioned(large, 6)).await.unwrap(), PutOutcome::TooLarge);
    let bytes = record(&mut server.raw().await, &key).await;
    assert_eq!(wire::decode(&bytes, 0), Ok(wire::Record::Tombstone(Some(Version(6)))));
}

#[tokio::test]
async fn a_clear_gives_back_its_space_and_no_other() {
    let Some(server) = PrivateRedis::start("the space of a clear", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let (cleared, kept) = (namespace(), namespace());
    let fill = async |namespace: &cache_core::Namespace, count: usize| {
        let puts: Vec<Put> = (0..count)
            .map(|i| Put {
                key: namespace.key(&i.to_string()).unwrap(),
                entry: entry("v"),
                condition: Condition::Always,
            })
            .collect();
        tier.put_many(&puts).await.unwrap();
    };
    fill(&cleared, 3_000).await;
    fill(&kept, 100).await;
    run::<()>(&mut raw, "SET cache cache").await;
    run::<()>(&mut raw, &format!("RPUSH cache:{cleared}:list a")).await;
    tier.clear(&cleared).await.unwrap();
    fill(&cleared, 10).await;
    // A second clear while the first is swept is swept too.
    tier.clear(&cleared).await.unwrap();
    fill(&cleared, 5).await;
    // Two control keys, the log's two keys, what was put after the clears, the neighbours, the two
    // strangers.
    let left = 2 + 2 + 5 + 100 + 2;
    eventually("the space is given back", async || {
        let size: usize = run(&mut raw, "DBSIZE").await;
        assert!(size >= left, "{size} keys are left of {left}");
        match size - left {
            0 => Ok(()),
            n => Err(cache_core::Error::new(ErrorKind::Internal, format!("{n} keys too many"))),
        }
    })
    .await;
    for (namespace, count) in [(&cleared, 5), (&kept, 100)] {
        let keys: Vec<Key> = (0..count).map(|i| namespace.key(&i.to_string()).unwrap()).collect();
        let found = tier.get_many(&keys).await.unwrap();
        assert!(found.iter().all(|lookup| lookup.entry.is_some()));
    }
}

#[tokio::test]
async fn everything_expires_in_redis_and_fences_outlive_what_is_short_lived() {
    let Some(server) = PrivateRedis::start("expiry in Redis", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let key = key();
    let brief = || {
        let ttl = Ttl::fresh(Duration::from_millis(1));
        Entry::new(Bytes::from("v"), cache_core::CodecId(3), now(), ttl)
    };
    let mut left = async || -> i64 { run(&mut raw, &format!("PTTL cache:{key}")).await };
    let fence = tier.get(&key).await.unwrap().fence;
    tier.fill(key.clone(), brief(), fence.clone()).await.unwrap();
    assert!((1..=5_000).contains(&left().await), "a fill lives as long as its entry, or 5 s");
    tier.fill(key.clone(), entry("v"), fence).await.unwrap();
    assert!((500_000..=601_000).contains(&left().await));
    tier.remove(key.clone()).await.unwrap();
    assert!((30_000..=60_000).contains(&left().await), "a removal is remembered for 60 s");
    let fence = tier.get(&key).await.unwrap().fence;
    tier.fill(key.clone(), brief(), fence).await.unwrap();
    assert!((30_000..=60_000).contains(&left().await), "what replaces it keeps its fence");
    tier.put(key.clone(), brief()).await.unwrap();
    assert!((30_000..=60_000).contains(&left().await), "an insert is remembered for 60 s");
}

#[tokio::test]
async fn the_largest_batches_of_many_namespaces_are_carried_out() {
    let Some(server) = PrivateRedis::start("the largest batches", &[]) else { return };
    let config = RedisConfig {
        response_timeout: cache_core::Span::secs(20),
        ..RedisConfig::new(server.url())
    };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    let namespaces: Vec<_> = (0..100).map(|_| namespace()).collect();
    let keys: Vec<Key> = (0..cache_core::BATCH_LEN_MAX)
        .map(|i| namespaces[i % namespaces.len()].key(&i.to_string()).unwrap())
        .collect();
    let found = tier.get_many(&keys).await.unwrap();
    let fills: Vec<Put> = keys
        .iter()
        .zip(found)
        .map(|(key, lookup)| Put {
            key: key.clone(),
            entry: entry(key.text()),
            condition: Condition::Unmoved(lookup.fence),
        })
        .collect();
    let outcomes = tier.put_many(&fills).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Stored));
    let mut raw = server.raw().await;
    run::<()>(&mut raw, "CONFIG RESETSTAT").await;
    let found = tier.get_many(&keys).await.unwrap();
    assert!(keys.iter().zip(&found).all(|(key, l)| payload(l) == Some(key.text().as_bytes())));
    let stats: String = run(&mut raw, "INFO commandstats").await;
    assert!(stats.contains("cmdstat_mget:calls=1,"), "one command reads a batch: {stats}");
    let removals: Vec<Removal> = keys.iter().cloned().map(Removal::from).collect();
    tier.remove_many(&removals).await.unwrap();
    let outcomes = tier.put_many(&fills).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Superseded));
}

#[tokio::test]
async fn calls_of_the_same_moment_travel_together() {
    let Some(server) = PrivateRedis::start("calls that travel together", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let keys: Vec<Key> = (0..200).map(|_| key()).collect();
    tier.get_many(&keys).await.unwrap();
    tier.remove(key()).await.unwrap();
    run::<()>(&mut raw, "CONFIG RESETSTAT").await;
    let puts = keys.iter().map(|key| tier.put(key.clone(), entry(key.encoded())));
    let outcomes = futures::future::try_join_all(puts).await.unwrap();
    assert_eq!(outcomes, [PutOutcome::Stored; 200]);
    // Each key is wanted by three.
    let wanted = || keys.iter().chain(&keys).chain(&keys);
    let found = futures::future::try_join_all(wanted().map(|key| tier.get(key))).await.unwrap();
    for (key, found) in wanted().zip(found) {
        assert_eq!(payload(&found), Some(key.encoded().as_bytes()));
    }
    let removals = keys.iter().map(|key| tier.remove(key.clone()));
    futures::future::try_join_all(removals).await.unwrap();
    let found = tier.get_many(&keys).await.unwrap();
    assert!(found.iter().all(|lookup| lookup.entry.is_none()));

    let stats: String = run(&mut raw, "INFO commandstats").await;
    let calls = |command: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(command)).unwrap();
        line.split(',').next().unwrap().parse().unwrap()
    };
    assert!(calls("cmdstat_mget:calls=") <= 20, "{stats}");
    assert!(calls("cmdstat_evalsha:calls=") <= 20, "{stats}");
}

/// Nobody makes 2^53 changes; a control key that says so was not written by this cache.
#[tokio::test]
async fn a_namespace_that_ran_out_of_marks_starts_anew() {
    let Some(server) = PrivateRedis::start("a namespace without marks", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    let key = key();
    let namespace = cache_core::Namespace::new(key.namespace()).unwrap();
    let exhaust = redis::cmd("SET")
        .arg(format!("cache:{namespace}"))
        .arg([0_u64.to_be_bytes(), Fence::MARK_MAX.to_be_bytes()].concat())
        .take();
    exhaust.exec_async(&mut raw).await.unwrap();
    let seen = tier.get(&key).await.unwrap().fence;
    tier.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));
    let outcome = tier.fill(key.clone(), entry("stale"), seen).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded);
    exhaust.exec_async(&mut raw).await.unwrap();
    tier.clear(&namespace).await.unwrap();
    let found = tier.get(&key).await.unwrap();
    assert_eq!(payload(&found), None);
    let outcome = tier.fill(key, entry("v"), found.fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

#[tokio::test]
async fn a_batch_of_mixed_puts_answers_in_its_order() {
    let Some(server) = PrivateRedis::start("a mixed batch", &[]) else { return };
    let config = RedisConfig {
        payload_len_max: cache_core::ByteSize::bytes(10),
        ..RedisConfig::new(server.url())
    };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    let large = || entry("larger than 10 bytes");
    let keys: Vec<Key> = (0..5).map(|_| key()).collect();
    let mut puts = Vec::new();
    for key in &keys {
        let fence = tier.get(key).await.unwrap().fence;
        let put = |entry, condition| Put { key: key.clone(), entry, condition };
        puts.push(put(entry("a"), Condition::Unmoved(Fence::unread())));
        puts.push(put(large(), Condition::Unmoved(fence.clone())));
        puts.push(put(entry("b"), Condition::Unmoved(fence.clone())));
        puts.push(put(large(), Condition::Always));
        puts.push(put(entry("c"), Condition::Unmoved(fence)));
        puts.push(put(entry("d"), Condition::Always));
    }
    use PutOutcome::{Skipped, Stored, Superseded, TooLarge};
    let expected = [Skipped, TooLarge, Stored, TooLarge, Superseded, Stored].repeat(5);
    assert_eq!(tier.put_many(&puts).await.unwrap(), expected);
}

#[tokio::test]
async fn tiers_of_another_prefix_do_not_meet() {
    let Some(server) = PrivateRedis::start("two prefixes", &[]) else { return };
    let open = async |prefix: &str| {
        let config = RedisConfig { prefix: prefix.to_owned(), ..RedisConfig::new(server.url()) };
        RedisTier::connect(&config, SystemClock::shared()).await.unwrap()
    };
    let (one, two) = (open("one").await, open("two").await);
    let key = key();
    one.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&two.get(&key).await.unwrap()), None);
    two.clear(&cache_core::Namespace::new(key.namespace()).unwrap()).await.unwrap();
    assert_eq!(payload(&one.get(&key).await.unwrap()), Some(&b"v"[..]));
}
