//! The log and the leases as parts of the file: their bounds, restarts, and the end of the tier.

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use cache_core::{
    ByteSize, Change, Clock, ErrorKind, Key, Leases, Log, ManualClock, Position, Removal,
    SystemClock, Tier, TierExt,
};
use cache_sqlite::{SqliteConfig, SqliteTier};
use diesel::{
    Connection, QueryableByName, RunQueryDsl, connection::SimpleConnection, sql_query,
    sql_types::BigInt, sqlite::SqliteConnection,
};
use support::{entry, key};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(600);

fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().expect("a path in UTF-8")).expect("it opens")
}

fn rows(path: &Path, table: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let count = sql_query(format!("SELECT count(*) AS rows FROM {table}"));
    count.get_result::<Row>(&mut raw(path)).expect("it is counted").rows
}

fn parts(tier: &Arc<SqliteTier>) -> (Arc<dyn Log>, Arc<dyn Leases>) {
    (tier.log().expect("it has a log"), tier.leases().expect("it gives leases"))
}

/// The keys that the log tells of after `at`, and whether it told of a gap before them.
async fn told(log: &Arc<dyn Log>, mut at: Position) -> (Vec<Key>, bool) {
    let (mut keys, mut gap) = (Vec::new(), false);
    loop {
        let page = log.read(&at, Duration::ZERO).await.expect("the log answers");
        if page.notices.is_empty() {
            return (keys, gap);
        }
        gap |= page.gap;
        at = page.next;
        keys.extend(page.notices.into_iter().map(|notice| match notice.change {
            Change::Key(key) => key,
            other => panic!("{other:?} is not of a key"),
        }));
    }
}

#[tokio::test]
async fn the_log_keeps_its_bound_and_tells_who_has_not_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    let config = SqliteConfig { bytes_max: ByteSize::mib(1), ..SqliteConfig::new(&path) };
    let tier = SqliteTier::with_config(&config, SystemClock::shared()).unwrap();
    let (log, _) = parts(&tier);
    let start = log.end().await.unwrap();
    let removals: Vec<Removal> = (0..2_000).map(|i| key(&format!("k{i}")).into()).collect();
    for some in removals.chunks(100) {
        tier.remove_many(some).await.unwrap();
    }
    let kept = rows(&path, "notices");
    assert!((512..1_024).contains(&kept), "{kept} notices in 1 MiB");
    let (keys, gap) = told(&log, start).await;
    assert!(gap, "the oldest were taken out");
    let youngest = removals[2_000 - keys.len()..].iter().map(|removal| &removal.key);
    assert!(keys.iter().eq(youngest), "the youngest are there");
}

#[tokio::test]
async fn a_position_is_good_after_a_restart_and_not_in_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    let tier = SqliteTier::open(&path).unwrap();
    let (log, _) = parts(&tier);
    let start = log.end().await.unwrap();
    tier.remove(key("before")).await.unwrap();
    tier.close().await.unwrap();
    assert_eq!(log.read(&start, LONG).await.unwrap_err().kind(), ErrorKind::Closed);

    let tier = SqliteTier::open(&path).unwrap();
    tier.remove(key("after")).await.unwrap();
    let (log, _) = parts(&tier);
    assert_eq!(told(&log, start.clone()).await, (vec![key("before"), key("after")], false));
    tier.close().await.unwrap();

    std::fs::remove_file(&path).unwrap();
    let tier = SqliteTier::open(&path).unwrap();
    tier.remove(key("new")).await.unwrap();
    assert_eq!(told(&parts(&tier).0, start).await, (vec![key("new")], true));
}

#[tokio::test]
async fn a_file_without_a_log_gets_one_and_keeps_its_entries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    let mut first = raw(&path);
    first.batch_execute(include_str!("../migrations/0001_entries.sql")).unwrap();
    first.batch_execute("PRAGMA application_id = 0x74636163; PRAGMA user_version = 1").unwrap();
    let floor = "INSERT INTO namespaces VALUES ('test', 41, 9223372036854775807, NULL)";
    first.batch_execute(floor).unwrap();
    first.batch_execute("UPDATE marks SET last = 41").unwrap();
    drop(first);

    let tier = SqliteTier::open(&path).unwrap();
    assert_eq!(tier.get(&key("k")).await.unwrap().fence.as_mark(), Some(41));
    let (log, leases) = parts(&tier);
    let start = log.end().await.unwrap();
    tier.put(key("k"), entry("v", &SystemClock::new())).await.unwrap();
    assert_eq!(told(&log, start).await, (vec![key("k")], false));
    assert!(leases.acquire(&key("k"), LONG).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_hears_of_the_end_of_the_tier() {
    let directory = tempfile::tempdir().unwrap();
    let tier = SqliteTier::open(directory.path().join("cache.sqlite")).unwrap();
    let (log, leases) = parts(&tier);
    let start = log.end().await.unwrap();
    assert!(leases.acquire(&key("k"), LONG).await.unwrap().is_some());
    let reader = tokio::spawn(async move { log.read(&start, LONG).await.map(drop) });
    let waiter = tokio::spawn(async move { leases.wait(&key("k"), LONG).await });
    tier.close().await.unwrap();
    for ended in [reader, waiter] {
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        let told = ended.expect("it ends").unwrap();
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn leases_outlive_a_restart_and_are_swept_when_they_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(directory.path().join("cache.sqlite"));
    let clock = ManualClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let tier = SqliteTier::with_config(&config, Arc::clone(&shared)).unwrap();
    for i in 0..20 {
        let period = Duration::from_secs(1 + i % 2 * 60);
        assert!(parts(&tier).1.acquire(&key(&i.to_string()), period).await.unwrap().is_some());
    }
    tier.close().await.unwrap();

    let tier = SqliteTier::with_config(&config, shared).unwrap();
    assert_eq!(parts(&tier).1.acquire(&key("0"), LONG).await.unwrap(), None, "it is held");
    clock.advance(Duration::from_secs(2));
    tier.sweep().await.unwrap();
    assert_eq!(rows(&config.path, "leases"), 10);
    assert!(parts(&tier).1.acquire(&key("0"), LONG).await.unwrap().is_some());
}
