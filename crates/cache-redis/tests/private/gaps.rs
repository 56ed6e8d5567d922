//! Readers of the log that have missed something.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis;
use cache_core::{Position, SystemClock, Tier, TierExt};
use cache_redis::{RedisConfig, RedisTier};

use crate::{
    entry, key,
    log::{SOON, all, open, raw_call},
    namespace, payload,
    server::{PATIENCE, PrivateRedis, eventually},
};

#[tokio::test]
async fn a_reader_that_was_away_too_long_is_told_of_a_gap() {
    let Some(server) = PrivateRedis::start("a reader that was away too long", &[]) else { return };
    let config = RedisConfig { log_len_max: 1_000, ..RedisConfig::new(server.url()) };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    let log = tier.log().unwrap();
    let end = log.end().await.unwrap();
    let namespace = namespace();
    for _ in 0..12 {
        let keys = (0..250).map(|i| namespace.key(&i.to_string()).unwrap().into());
        tier.remove_many(&keys.collect::<Vec<_>>()).await.unwrap();
    }
    let page = log.read(&end, SOON).await.unwrap();
    assert_eq!((page.gap, page.notices.len()), (true, 0));
    let held = all(&*log, &page.next).await;
    assert!((1_000..=2_250).contains(&held.len()), "{} changes of 3000 are left", held.len());
}

#[tokio::test]
async fn a_position_that_the_log_does_not_know_is_a_gap() {
    let Some(server) = PrivateRedis::start("an unknown position", &[]) else { return };
    let (tier, log) = open(&server).await;
    tier.remove(key()).await.unwrap();
    for text in ["", "0", "0-0", "7-7", "no position", "9007199254740991-1", "1-1-1"] {
        let page = log.read(&Position::new(text), SOON).await.unwrap();
        assert!(page.gap && page.notices.is_empty(), "{text:?}");
        assert_eq!(all(&*log, &page.next).await.len(), 1, "it reads what there is");
    }
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_a_gap() {
    let Some(mut server) = PrivateRedis::start("a log that was lost", &[]) else { return };
    let (tier, log) = open(&server).await;
    let mut raw = server.raw().await;
    for loss in ["restart", "FLUSHALL", "DEL cache:~log", "DEL cache:~log:end", "SET cache:~log x"]
    {
        for writes_on in [false, true] {
            tier.remove(key()).await.unwrap();
            let behind = log.end().await.unwrap();
            tier.remove(key()).await.unwrap();
            let end = log.end().await.unwrap();
            if loss == "restart" {
                server.kill();
                server.restart();
                eventually("ping", async || tier.ping().await).await;
                raw = server.raw().await;
            } else {
                raw_call(&mut raw, &loss.split(' ').collect::<Vec<_>>()).await;
            }
            if writes_on {
                tier.remove(key()).await.unwrap();
            }
            // With the stream alone gone, a reader at the end has missed nothing, and a stream of
            // another type cannot be read until somebody appends.
            let is_whole = loss.ends_with("~log") || loss.ends_with('x');
            if loss.ends_with('x') && !writes_on {
                let error = log.read(&end, SOON).await.unwrap_err();
                assert!(error.to_string().contains("WRONGTYPE"), "{error}");
                tier.remove(key()).await.unwrap();
            }
            // The notices before the loss may be handed out before the gap is.
            let mut next = behind;
            let page = loop {
                let page = log.read(&next, SOON).await.unwrap();
                if page.gap || page.notices.is_empty() {
                    break page;
                }
                next = page.next;
            };
            assert!(page.gap, "{loss} {writes_on}: behind the end");
            let page = log.read(&end, SOON).await.unwrap();
            assert_eq!(page.gap, !is_whole, "{loss} {writes_on}: at the end");
        }
    }
}

/// Its numbers have caught up with what the reader knows, but its nonces are others.
#[tokio::test]
async fn a_log_that_counted_on_from_an_old_snapshot_is_a_gap() {
    let test = "a log of an old snapshot that caught up";
    let Some(mut server) = PrivateRedis::start(test, &[]) else { return };
    let (tier, log) = open(&server).await;
    tier.remove(key()).await.unwrap();
    redis::cmd("SAVE").exec_async(&mut server.raw().await).await.unwrap();
    for _ in 0..5 {
        tier.remove(key()).await.unwrap();
    }
    let end = log.end().await.unwrap();
    server.kill();
    server.restart();
    // Another process, which has met nothing that was lost, and is the first to come.
    let (other, _) = open(&server).await;
    for _ in 0..8 {
        other.remove(key()).await.unwrap();
    }
    let seq = |position: &Position| -> u64 {
        position.as_str().split_once('-').unwrap().0.parse().unwrap()
    };
    assert!(seq(&log.end().await.unwrap()) > seq(&end));
    assert!(log.read(&end, SOON).await.unwrap().gap);
}

/// While a reader waits, too: the stream that is made anew may have smaller ids.
#[tokio::test]
async fn a_reader_that_waits_learns_of_a_loss() {
    let Some(server) = PrivateRedis::start("a log that is lost while read", &[]) else { return };
    let (tier, log) = open(&server).await;
    tier.remove(key()).await.unwrap();
    let end = log.end().await.unwrap();
    let reader = tokio::spawn({
        let (log, end) = (Arc::clone(&log), end.clone());
        async move { log.read(&end, Duration::from_millis(300)).await }
    });
    let mut raw = server.raw().await;
    let loss = "redis.call('FLUSHALL') redis.call('SET', 'cache:~log:end', '5-5 5 5 5 0')";
    raw_call(&mut raw, &["EVAL", loss, "0"]).await;
    let page = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap().unwrap();
    assert!(page.gap);
    assert_eq!(page.next.as_str(), "5-5");
}

/// As where an access rule was written before there was a log.
#[tokio::test]
async fn a_removal_that_the_log_refuses_is_carried_out_and_shows_as_a_gap() {
    let Some(server) = PrivateRedis::start("a log that refuses", &[]) else { return };
    let (_, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let mut raw = server.raw().await;
    let rule = "ACL SETUSER old on >right ~cache:* +mget +get +set +getrange +unlink +evalsha \
                +script|load +ping +hello +auth";
    raw_call(&mut raw, &rule.split_whitespace().collect::<Vec<_>>()).await;
    let tier = RedisTier::open(&server.url().replace("//", "//old:right@")).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    tier.remove(key.clone()).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), None);
    assert!(log.read(&end, SOON).await.unwrap().gap);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_a_gap() {
    let Some(server) = PrivateRedis::start("a foreign entry in the log", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    tier.remove(key()).await.unwrap();
    let mut raw = server.raw().await;
    raw_call(&mut raw, &["XADD", "cache:~log", "*", "p", "1", "c", "key", "n", "a:b"]).await;
    let page = log.read(&end, SOON).await.unwrap();
    assert_eq!((page.notices.len(), page.gap), (1, false), "what came before it is handed out");
    let page = log.read(&page.next, SOON).await.unwrap();
    assert!(page.gap);
    // It is found again by nobody: the next change makes the stream anew, where its id was larger.
    tier.remove(key()).await.unwrap();
    tier.remove(key()).await.unwrap();
    let page = log.read(&log.end().await.unwrap(), SOON).await.unwrap();
    assert_eq!((page.notices.len(), page.gap), (0, false));
}
