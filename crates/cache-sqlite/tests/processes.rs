//! Several processes on one file: this test binary runs itself again.

mod support;

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use cache_core::{
    Change, Clock, Condition, Log, Position, Put, PutOutcome, SystemClock, Tier, TierExt, Version,
};
use cache_sqlite::SqliteTier;
use diesel::{
    Connection, QueryableByName, RunQueryDsl, sql_query, sql_types::Text, sqlite::SqliteConnection,
};
use support::{entry, key};
use tokio::time::timeout;

/// What a process that this binary starts does, and the file that it does it to.
const ROLE: &str = "CACHE_SQLITE_TEST_ROLE";
const FILE: &str = "CACHE_SQLITE_TEST_FILE";

/// How many entries each of two processes writes.
const WRITES: usize = 1_000;

fn start(role: &str, file: &Path) -> Child {
    Command::new(env::current_exe().expect("this binary has a path"))
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(ROLE, role)
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs again")
}

/// Not a test: what the other process does. Without a role there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_process() {
    let (Ok(role), Ok(file)) = (env::var(ROLE), env::var(FILE)) else { return };
    let tier = SqliteTier::open(file).unwrap();
    match role.as_str() {
        "share" => share(&tier, "theirs", "ours").await,
        "write for ever" => write_for_ever(&tier).await,
        "remove for ever" => remove_for_ever(&tier).await,
        other => panic!("no role {other}"),
    }
    tier.close().await.unwrap();
}

/// Writes entries of its own and versions of a shared one, and reads what the other writes.
async fn share(tier: &Arc<SqliteTier>, own: &str, others: &str) {
    let clock = SystemClock::new();
    for i in 0..WRITES {
        let outcome =
            tier.put(key(&format!("{own} {i}")), whole(i, &clock)).await.expect("it is written");
        assert_eq!(outcome, PutOutcome::Stored);
        let shared = whole(i, &clock).with_version(Some(Version(i as u64)));
        tier.put(key("shared"), shared).await.expect("it is written");
        for other in [key(&format!("{others} {i}")), key("shared")] {
            if let Some(found) = tier.get(&other).await.expect("it is read").entry {
                assert_whole(&found.payload);
            }
        }
    }
}

/// Says after each batch that it was acknowledged.
async fn write_for_ever(tier: &Arc<SqliteTier>) {
    let clock = SystemClock::new();
    for batch in 0.. {
        let puts: Vec<Put> = (batch * 10..batch * 10 + 10)
            .map(|i| Put {
                key: key(&i.to_string()),
                entry: whole(i, &clock),
                condition: Condition::Always,
            })
            .collect();
        tier.put_many(&puts).await.expect("they are written");
        println!("acknowledged {batch};");
    }
}

/// Says after each removal that it was acknowledged.
async fn remove_for_ever(tier: &Arc<SqliteTier>) {
    for i in 0.. {
        tier.remove(key(&i.to_string())).await.expect("it is removed");
        println!("acknowledged {i};");
    }
}

/// An entry whose payload shows whether it is whole.
fn whole(i: usize, clock: &dyn Clock) -> cache_core::Entry {
    entry(vec![(i % 251) as u8; 1 + i % 7 * 1_000], clock)
}

fn assert_whole(payload: &[u8]) {
    assert!(payload.iter().all(|byte| *byte == payload[0]), "a torn entry");
    assert_eq!(payload.len() % 1_000, 1, "a torn entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_and_read_at_once_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache.sqlite");
    let tier = SqliteTier::open(&file).unwrap();
    let mut other = start("share", &file);
    share(&tier, "ours", "theirs").await;
    let output = tokio::task::spawn_blocking(move || other.wait()).await.unwrap();
    assert!(output.unwrap().success(), "the other process lost something");

    for own in ["ours", "theirs"] {
        for i in 0..WRITES {
            let found = tier.get(&key(&format!("{own} {i}"))).await.unwrap().entry;
            let found = found.unwrap_or_else(|| panic!("{own} {i} is lost"));
            assert_eq!(found.payload, whole(i, &SystemClock::new()).payload);
        }
    }
    let shared = tier.get(&key("shared")).await.unwrap().entry.unwrap();
    assert_eq!(shared.version, Some(Version(WRITES as u64 - 1)), "the newest version won");
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache.sqlite");
    let acknowledged = kill_while_it_writes(start("write for ever", &file));

    let tier = SqliteTier::open(&file).unwrap();
    for i in 0..(acknowledged + 1) * 10 {
        let found = tier.get(&key(&i.to_string())).await.unwrap().entry;
        let found = found.unwrap_or_else(|| panic!("entry {i} is lost"));
        assert_eq!(found.payload, whole(i, &SystemClock::new()).payload);
    }
    tier.close().await.unwrap();
    assert_eq!(integrity(&file), "ok");
}

/// Reads the log while another process writes it, for which no bell rings here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_removed_is_heard_of_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache.sqlite");
    let tier = SqliteTier::open(&file).unwrap();
    let log = tier.log().unwrap();
    let mut at = log.end().await.unwrap();
    let other = start("remove for ever", &file);
    let killed = tokio::task::spawn_blocking(move || kill_while_it_writes(other));
    let mut heard = Vec::new();
    while !killed.is_finished() {
        heard.extend(read_on(&*log, &mut at).await);
    }
    let acknowledged = killed.await.unwrap();
    timeout(Duration::from_secs(20), async {
        while heard.len() <= acknowledged {
            heard.extend(read_on(&*log, &mut at).await);
        }
    })
    .await
    .expect("all that was acknowledged is heard of");
    let expected: Vec<_> = (0..heard.len()).map(|i| Change::Key(key(&i.to_string()))).collect();
    assert_eq!(heard, expected, "each once, in their order, and none is missing");
}

async fn read_on(log: &dyn Log, at: &mut Position) -> Vec<Change> {
    let page = log.read(at, Duration::from_secs(1)).await.expect("the log answers");
    assert!(!page.gap);
    *at = page.next;
    page.notices.into_iter().map(|notice| notice.change).collect()
}

/// Kills a process after its hundredth acknowledgement, without a warning and in the middle of
/// whatever it does, and answers the last one that it gave.
fn kill_while_it_writes(mut other: Child) -> usize {
    let mut acknowledged = None;
    let lines = BufReader::new(other.stdout.take().expect("it is piped")).lines();
    for line in lines.map_while(Result::ok) {
        // The test runner may have begun the line.
        let Some((_, number)) = line.trim_end_matches(';').split_once("acknowledged ") else {
            continue;
        };
        let number: usize = number.parse().expect("a number");
        acknowledged = Some(number);
        if number == 100 {
            // What it has said by now is still to be read.
            other.kill().expect("it runs, or has ended by itself");
        }
    }
    other.wait().expect("it ends");
    let acknowledged = acknowledged.expect("it wrote");
    assert!(acknowledged >= 100);
    acknowledged
}

fn integrity(file: &Path) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let file = file.to_str().expect("a path in UTF-8");
    let mut connection = SqliteConnection::establish(file).expect("it opens");
    let check = sql_query("PRAGMA integrity_check");
    let row: Row = check.get_result(&mut connection).expect("it is checked");
    row.integrity_check
}
