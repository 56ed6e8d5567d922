//! The log of changes, as other processes read it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bb8_redis::redis::{self, aio::MultiplexedConnection};
use cache_core::{
    Author, Change, Key, Log, Namespace, Notice, Position, Put, Removal, SystemClock, Tier,
    TierExt, Version,
};
use cache_core::{Condition, ErrorKind};
use cache_redis::{INVALIDATE_SCRIPT, LogMode, RedisConfig, RedisTier};
use futures::future::join_all;

use crate::{
    entry, key, namespace, now, payload,
    server::{PATIENCE, PrivateRedis, eventually},
};

/// Long enough for what is there to be read, and short enough for nothing to be waited for.
pub(crate) const SOON: Duration = Duration::from_millis(1);

pub(crate) async fn open(server: &PrivateRedis) -> (Arc<RedisTier>, Arc<dyn Log>) {
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let log = tier.log().unwrap();
    (tier, log)
}

/// What was appended after `after`, which has no gap.
pub(crate) async fn all(log: &dyn Log, after: &Position) -> Vec<Notice> {
    let (mut next, mut notices) = (after.clone(), Vec::new());
    loop {
        let page = log.read(&next, SOON).await.unwrap();
        assert!(!page.gap);
        if page.notices.is_empty() {
            return notices;
        }
        next = page.next;
        notices.extend(page.notices);
    }
}

pub(crate) async fn raw_call(raw: &mut MultiplexedConnection, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec_async(raw).await.unwrap();
}

#[tokio::test]
async fn removals_inserts_and_clears_are_told_and_fills_are_not() {
    let Some(server) = PrivateRedis::start("what the log tells", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    assert_eq!(log.end().await.unwrap(), end, "asking changes nothing");
    let (key, cleared) = (key(), namespace());
    let fence = tier.get(&key).await.unwrap().fence;
    tier.fill(key.clone(), entry("filled"), fence.clone()).await.unwrap();
    let inserted = entry("inserted").with_version(Some(Version(7)));
    tier.put(key.clone(), inserted.clone()).await.unwrap();
    let put_mark = tier.get(&key).await.unwrap().fence.as_mark().unwrap();
    tier.fill(key.clone(), entry("late"), fence).await.unwrap();
    tier.put(key.clone(), entry("older").with_version(Some(Version(6)))).await.unwrap();
    tier.remove(key.clone()).await.unwrap();
    let removed_mark = tier.get(&key).await.unwrap().fence.as_mark().unwrap();
    tier.clear(&cleared).await.unwrap();
    let floor = tier.get(&cleared.key("k").unwrap()).await.unwrap().fence.as_mark().unwrap();
    log.beat().await.unwrap();

    let notices = all(&*log, &end).await;
    let told: Vec<_> =
        notices.iter().map(|notice| (notice.change.clone(), notice.mark, notice.digest)).collect();
    assert_eq!(
        told,
        [
            (Change::Key(key.clone()), put_mark, inserted.digest()),
            (Change::Key(key), removed_mark, 0),
            (Change::Clear(cleared), floor, 0),
            (Change::Beat, 0, 0),
        ]
    );
    for notice in notices {
        assert_eq!(notice.author, Author::Cache);
        assert!(now().since(notice.at) < PATIENCE, "{notice:?}");
    }
}

#[tokio::test]
async fn one_entry_tells_of_a_whole_batch_but_not_of_what_was_refused() {
    let Some(server) = PrivateRedis::start("a batch in the log", &[]) else { return };
    let (tier, log) = open(&server).await;
    let (first, second) = (key(), namespace().key("k").unwrap());
    let put = |key: &Key, version: u64, condition: Condition| Put {
        key: key.clone(),
        entry: entry("v").with_version(Some(Version(version))),
        condition,
    };
    tier.put_many(&[put(&first, 7, Condition::Always)]).await.unwrap();
    let filled = key();
    let fence = tier.get(&filled).await.unwrap().fence;
    let end = log.end().await.unwrap();
    let older = put(&first, 6, Condition::Always);
    let puts = [
        put(&filled, 1, Condition::Unmoved(fence)),
        older.clone(),
        put(&second, 1, Condition::Always),
        put(&first, 8, Condition::Always),
        put(&first, 9, Condition::Always),
    ];
    let outcomes = tier.put_many(&puts).await.unwrap();
    assert_eq!(outcomes[1], cache_core::PutOutcome::Superseded);
    tier.put_many(&[older.clone(), older]).await.unwrap();

    let told = all(&*log, &end).await;
    let keys: Vec<_> = told.iter().map(|notice| (&notice.change, notice.digest)).collect();
    let change = |put: &Put| (Change::Key(put.key.clone()), put.entry.digest());
    let expected: Vec<_> = puts[2..].iter().map(change).collect();
    assert_eq!(keys, expected.iter().map(|(key, digest)| (key, *digest)).collect::<Vec<_>>());
    assert!(told[1].mark < told[2].mark, "in the order of their marks");
    let fence = tier.get(&first).await.unwrap().fence;
    assert_eq!(Some(told[2].mark), fence.as_mark());
    let mut raw = server.raw().await;
    let len: usize = redis::cmd("XLEN").arg("cache:~log").query_async(&mut raw).await.unwrap();
    assert_eq!(len, 2, "one for each call that has changed something");
}

/// The notice is there before the answer is, and an answer that is lost loses no notice.
#[tokio::test]
async fn a_removal_and_its_notice_are_one_step() {
    let Some(server) = PrivateRedis::start("a removal and its notice", &[]) else { return };
    let (tier, log) = open(&server).await;
    let namespace = namespace();
    let key_of = |i: usize| namespace.key(&(i % 20).to_string()).unwrap();
    tier.put(key_of(0), entry("v")).await.unwrap();
    let end = log.end().await.unwrap();
    let work: Vec<_> = (0..200)
        .map(|i| {
            let (tier, key) = (Arc::clone(&tier), key_of(i));
            tokio::spawn(async move {
                match i % 3 {
                    0 => tier.remove(key).await,
                    1 => tier.put(key, entry("w")).await.map(|_| ()),
                    _ => tier.remove_many(&[Removal::from(key.clone()), key.into()]).await,
                }
            })
        })
        .collect();
    // Some callers go away in the middle, which ends none of what they have sent.
    for task in work.iter().step_by(7) {
        tokio::task::yield_now().await;
        task.abort();
    }
    join_all(work).await;
    let settled = namespace.key("settled").unwrap();
    tier.remove(settled.clone()).await.unwrap();

    // Whatever mark a key stands at, exactly that was the last to be told of it, and its marks came
    // in their order.
    let mut last: HashMap<Key, u64> = HashMap::new();
    eventually("what was sent is carried out", async || {
        last.clear();
        for notice in all(&*log, &end).await {
            let Change::Key(key) = notice.change else { panic!("{notice:?}") };
            let before = last.insert(key, notice.mark);
            assert!(before < Some(notice.mark));
        }
        for key in (0..20).map(key_of) {
            let mark = tier.get(&key).await?.fence.as_mark();
            if mark != last.get(&key).copied() {
                let text = format!("{key} {mark:?} {last:?}");
                return Err(cache_core::Error::new(ErrorKind::Internal, text));
            }
        }
        Ok(())
    })
    .await;
    assert!(last.contains_key(&settled));
}

/// Waits until so many readers wait.
async fn eventually_wait(raw: &mut MultiplexedConnection, count: usize) {
    let wanted = format!("blocked_clients:{count}\r\n");
    eventually("readers wait", async || {
        let clients: String = redis::cmd("INFO").arg("clients").query_async(raw).await.unwrap();
        if clients.contains(&wanted) {
            return Ok(());
        }
        Err(cache_core::Error::new(ErrorKind::Internal, clients))
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_nothing_behind() {
    let Some(server) = PrivateRedis::start("a reader that goes away", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let reader = tokio::spawn({
        let (log, end) = (Arc::clone(&log), end.clone());
        async move { log.read(&end, PATIENCE).await }
    });
    let mut raw = server.raw().await;
    eventually_wait(&mut raw, 1).await;
    reader.abort();
    eventually_wait(&mut raw, 0).await;
    tier.remove(key()).await.unwrap();
    assert_eq!(all(&*log, &end).await.len(), 1, "and loses nothing");
}

#[tokio::test]
async fn a_reader_is_woken_by_a_change_and_holds_nobody_up() {
    let Some(server) = PrivateRedis::start("a reader that waits", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let page = log.read(&end, SOON).await.unwrap();
    assert_eq!((page.notices.len(), &page.next, page.gap), (0, &end, false), "a quiet log");
    let key = key();
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let (log, end) = (Arc::clone(&log), end.clone());
            tokio::spawn(async move { log.read(&end, PATIENCE).await })
        })
        .collect();
    let mut raw = server.raw().await;
    eventually_wait(&mut raw, 10).await;
    // None of these waits behind a reader: they have 250 ms.
    for _ in 0..20 {
        tier.get(&key).await.unwrap();
    }
    tier.remove(key.clone()).await.unwrap();
    for reader in readers {
        let page = tokio::time::timeout(PATIENCE / 2, reader).await.unwrap().unwrap().unwrap();
        assert_eq!(page.notices[0].change, Change::Key(key.clone()));
        assert!(!page.gap);
    }
}

#[tokio::test]
async fn a_reader_that_was_away_reads_on() {
    let Some(server) = PrivateRedis::start("a reader that was away", &[]) else { return };
    let (tier, log) = open(&server).await;
    let keys: Vec<Key> = (0..2_500).map(|_| key()).collect();
    tier.remove(keys[0].clone()).await.unwrap();
    let end = log.end().await.unwrap();
    let removals: Vec<Removal> = keys.iter().cloned().map(Removal::from).collect();
    for removals in removals.chunks(500) {
        tier.remove_many(removals).await.unwrap();
    }
    // Another process, which has the position and nothing else.
    let (_tier, log) = open(&server).await;
    let text = serde_json::to_string(&end).unwrap();
    let told = all(&*log, &serde_json::from_str(&text).unwrap()).await;
    let told: Vec<Change> = told.into_iter().map(|notice| notice.change).collect();
    let expected: Vec<Change> = keys.into_iter().map(Change::Key).collect();
    assert!(told == expected, "{} of {}", told.len(), expected.len());
}

/// A full server lets a removal's script go on once it has given room back, and with it the log. What
/// the log cannot take even so is a gap.
#[tokio::test]
async fn a_full_server_still_removes_and_its_log_shows_it() {
    let Some(server) = PrivateRedis::start("the log of a full Redis", &[]) else { return };
    let (tier, log) = open(&server).await;
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    let end = log.end().await.unwrap();
    let mut raw = server.raw().await;
    raw_call(&mut raw, &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(tier.put(key.clone(), entry("w")).await.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(log.beat().await.unwrap_err().kind(), ErrorKind::Full);
    tier.remove(key.clone()).await.unwrap();
    let namespace = namespace();
    tier.clear(&namespace).await.unwrap();
    let told: Vec<Change> = all(&*log, &end).await.into_iter().map(|n| n.change).collect();
    assert_eq!(told, [Change::Key(key), Change::Clear(namespace)]);
}

#[tokio::test]
async fn beats_do_not_drive_the_notices_out() {
    let Some(server) = PrivateRedis::start("many beats", &[]) else { return };
    let (_tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let beats = join_all((0..200).map(|_| log.beat())).await;
    assert!(beats.iter().all(Result::is_ok));
    let notices = all(&*log, &end).await;
    assert!((1..50).contains(&notices.len()), "{} entries of 200 beats", notices.len());
    assert!(notices.iter().all(|notice| notice.change == Change::Beat));
}

/// As a program in any language does it: two plain commands.
#[tokio::test]
async fn a_program_that_knows_redis_only_removes_a_key_and_tells_it() {
    let Some(server) = PrivateRedis::start("an invalidation from outside", &[]) else { return };
    let (tier, log) = open(&server).await;
    let mut raw = server.raw().await;
    for version in [None, Some(Version(5))] {
        let key = key();
        tier.put(key.clone(), entry("v").with_version(version)).await.unwrap();
        let seen = tier.get(&key).await.unwrap().fence;
        let end = log.end().await.unwrap();
        let millis = now().as_millis();
        let mut eval = redis::cmd("EVAL");
        eval.arg(INVALIDATE_SCRIPT).arg(4).arg("cache:~log").arg("cache:~log:end");
        eval.arg(format!("cache:{}", key.namespace())).arg(format!("cache:{key}"));
        eval.arg(millis * 1_000).arg(12_345).arg(millis).arg(100_000).arg(60_000);
        assert_eq!(eval.query_async::<u32>(&mut raw).await.unwrap(), 1);

        let found = tier.get(&key).await.unwrap();
        assert_eq!((payload(&found), &found.corrupt), (None, &None));
        assert!(found.fence.as_mark() > seen.as_mark());
        let outcome = tier.fill(key.clone(), entry("stale"), seen).await.unwrap();
        assert_eq!(outcome, cache_core::PutOutcome::Superseded);
        let notices = all(&*log, &end).await;
        let [notice] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(notice.change, Change::Key(key.clone()));
        assert_eq!(notice.author, Author::Application);
        assert_eq!(Some(notice.mark), found.fence.as_mark());
        assert_eq!(notice.at.as_millis(), millis);
        let older = Put {
            key: key.clone(),
            entry: entry("older").with_version(version.map(|_| Version(4))),
            condition: Condition::Unmoved(found.fence),
        };
        let refused =
            tier.put_many(&[older]).await.unwrap() == [cache_core::PutOutcome::Superseded];
        assert_eq!(refused, version.is_some(), "it keeps the version that the key had");
    }
    let mut stray = redis::cmd("EVAL");
    stray.arg(INVALIDATE_SCRIPT).arg(4).arg("cache:~log").arg("cache:~log:end");
    stray.arg("cache:a").arg("cache:b:k").arg(1).arg(1).arg(1).arg(1).arg(1);
    let error = stray.exec_async(&mut raw).await.unwrap_err();
    assert!(error.to_string().contains("does not lie in the namespace"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_or_freezes_fails_a_reader_and_is_read_again() {
    let Some(mut server) = PrivateRedis::start("a log whose server dies", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let wait_for = |wait| {
        let (log, end) = (Arc::clone(&log), end.clone());
        tokio::spawn(async move { log.read(&end, wait).await })
    };
    log.read(&end, SOON).await.unwrap();
    server.freeze();
    let read = tokio::time::timeout(PATIENCE, wait_for(Duration::from_millis(50))).await;
    let error = read.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    server.thaw();
    tier.remove(key()).await.unwrap();
    let page = eventually("read", async || log.read(&end, SOON).await).await;
    assert_eq!((page.notices.len(), page.gap), (1, false));

    let end = page.next;
    let reader = tokio::spawn({
        let (log, end) = (Arc::clone(&log), end.clone());
        async move { log.read(&end, Duration::from_secs(10)).await }
    });
    server.kill();
    let error = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.restart();
    let page = eventually("read", async || log.read(&end, SOON).await).await;
    assert!(page.gap);
}

#[tokio::test]
async fn a_closed_tier_ends_its_readers() {
    let Some(server) = PrivateRedis::start("a reader of a closed tier", &[]) else { return };
    let (tier, log) = open(&server).await;
    let end = log.end().await.unwrap();
    let reader = tokio::spawn({
        let (log, end) = (Arc::clone(&log), end.clone());
        async move { log.read(&end, PATIENCE).await }
    });
    tokio::task::yield_now().await;
    tier.close().await.unwrap();
    let error = tokio::time::timeout(PATIENCE / 2, reader).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(log.read(&end, SOON).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_tier_without_a_log_leaves_none() {
    let Some(server) = PrivateRedis::start("a tier without a log", &[]) else { return };
    let config = RedisConfig { log: LogMode::Off, ..RedisConfig::new(server.url()) };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    assert!(tier.log().is_none());
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    tier.remove(key.clone()).await.unwrap();
    tier.clear(&Namespace::new(key.namespace()).unwrap()).await.unwrap();
    let mut raw = server.raw().await;
    let left: Vec<String> = redis::cmd("KEYS").arg("*~*").query_async(&mut raw).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
