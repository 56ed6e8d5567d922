//! The file: made, found again, refused, locked, damaged and closed.

mod support;

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use cache_core::{Error, ErrorKind, Removal, Span, SystemClock, Tier, TierExt};
use cache_sqlite::{SqliteConfig, SqliteDurability, SqliteTier};
use diesel::{Connection, connection::SimpleConnection, sqlite::SqliteConnection};
use support::{entry, key};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("cache.sqlite")
}

/// A connection that knows nothing of the tier.
fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().expect("a path in UTF-8")).expect("it opens")
}

fn refusal(path: &Path) -> Error {
    SqliteTier::open(path).expect_err("it is refused")
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart() {
    let directory = directory();
    let clock = SystemClock::new();
    let tier = SqliteTier::open(file(&directory)).unwrap();
    let kept = entry("kept", &clock);
    tier.put(key("kept"), kept.clone()).await.unwrap();
    let fence = tier.get(&key("removed")).await.unwrap().fence;
    tier.remove(key("removed")).await.unwrap();
    tier.close().await.unwrap();

    let tier = SqliteTier::open(file(&directory)).unwrap();
    assert_eq!(tier.get(&key("kept")).await.unwrap().entry, Some(kept));
    let late = tier.fill(key("removed"), entry("stale", &clock), fence).await.unwrap();
    assert_eq!(late, cache_core::PutOutcome::Superseded, "a removal is remembered");
}

/// The connections of a tier are closed at the same time, each by its own thread. SQLite 3.51.1 took
/// two of its locks in another order there than elsewhere, and now and then stood still for ever.
#[test]
fn a_tier_that_is_closed_again_and_again_ends_each_time() {
    let (sender, ended) = mpsc::channel();
    for _ in 0..4 {
        let sender = sender.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let directory = directory();
                for _ in 0..250 {
                    let tier = SqliteTier::open(file(&directory)).unwrap();
                    // Both have read, and so have the shared memory open.
                    let k = key("k");
                    let (one, other) = tokio::join!(tier.get(&k), tier.get(&k));
                    assert!(one.is_ok() && other.is_ok());
                    tier.close().await.unwrap();
                }
            });
            sender.send(()).expect("it is waited for");
        });
    }
    for _ in 0..4 {
        ended.recv_timeout(Duration::from_secs(60)).expect("a tier that was closed does not end");
    }
}

#[tokio::test]
async fn a_file_is_made_with_its_directory_for_its_owner_only() {
    let directory = directory();
    let path = directory.path().join("not/yet/there/cache.sqlite");
    let tier = SqliteTier::open(&path).unwrap();
    tier.put(key("k"), entry("v", &SystemClock::new())).await.unwrap();
    assert_eq!(tier.path(), path);
    #[cfg(unix)]
    for beside in ["", "-wal", "-shm"] {
        let beside = format!("{}{beside}", path.display());
        let permissions = fs::metadata(&beside).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&permissions);
        assert_eq!(mode & 0o777, 0o600, "{beside}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = directory();
    let path = file(&directory);
    let garbage = "symbol,price\nAAPL,187.5\n".repeat(1_000);
    fs::write(&path, &garbage).unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let told = error.to_string();
    assert!(told.contains(path.to_str().unwrap()) && told.contains("sqlite.path"), "{told}");
    assert!(told.contains("move it away"), "{told}");
    assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let directory = directory();
    let path = file(&directory);
    raw(&path).batch_execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY)").unwrap();
    let before = fs::read(&path).unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("another program's"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let directory = directory();
    let path = file(&directory);
    SqliteTier::open(&path).unwrap().close().await.unwrap();
    raw(&path).batch_execute("PRAGMA user_version = 7").unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[test]
fn a_path_where_no_file_can_be_is_named() {
    let directory = directory();
    let regular = directory.path().join("regular");
    fs::write(&regular, "").unwrap();
    let error = refusal(&regular.join("cache.sqlite"));
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`sqlite.path`"), "{error}");
    let error = refusal(directory.path());
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("directory"), "{error}");
}

#[tokio::test]
async fn two_that_open_a_new_file_at_once_both_get_it() {
    let directory = directory();
    let path = file(&directory);
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || SqliteTier::open(path))
        })
        .collect();
    for (i, opened) in opened.into_iter().enumerate() {
        let tier = opened.await.unwrap().unwrap();
        let put = tier.put(key(&i.to_string()), entry("v", &SystemClock::new())).await;
        assert_eq!(put.unwrap(), cache_core::PutOutcome::Stored);
    }
}

#[tokio::test]
async fn while_another_process_holds_the_lock_reads_go_on_and_writes_say_so() {
    let directory = directory();
    let config =
        SqliteConfig { busy_timeout: Span::millis(20), ..SqliteConfig::new(file(&directory)) };
    let clock = SystemClock::new();
    let tier = SqliteTier::with_config(&config, Arc::new(clock.clone())).unwrap();
    tier.put(key("k"), entry("v", &clock)).await.unwrap();

    let mut other = raw(&config.path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let error = tier.put(key("k"), entry("w", &clock)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && !error.may_have_happened());
    assert!(error.to_string().contains("`sqlite.busy_timeout`"), "{error}");
    assert!(tier.get(&key("k")).await.unwrap().entry.is_some());

    other.batch_execute("ROLLBACK").unwrap();
    let again = tier.put(key("k"), entry("w", &clock)).await.unwrap();
    assert_eq!(again, cache_core::PutOutcome::Stored);
}

#[tokio::test]
async fn damaged_pages_are_errors_that_say_what_to_do_and_never_a_panic() {
    let directory = directory();
    let path = file(&directory);
    let clock = SystemClock::new();
    let tier = SqliteTier::open(&path).unwrap();
    let keys: Vec<_> = (0..200).map(|i| key(&format!("k{i}"))).collect();
    for key in &keys {
        tier.put(key.clone(), entry(vec![7; 1_000], &clock)).await.unwrap();
    }
    tier.close().await.unwrap();
    let mut damaged = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = damaged.metadata().unwrap().len();
    damaged.seek(SeekFrom::Start(len / 2)).unwrap();
    damaged.write_all(&vec![0xFF; usize::try_from(len / 2).unwrap()]).unwrap();
    drop(damaged);

    let faults = match SqliteTier::open(&path) {
        Err(error) => vec![error],
        Ok(tier) => {
            let mut faults = Vec::new();
            for key in keys {
                faults.extend(tier.get(&key).await.err());
                faults.extend(tier.put(key, entry("mended", &clock)).await.err());
            }
            faults.extend(tier.sweep().await.err());
            tier.close().await.unwrap();
            faults
        }
    };
    assert!(!faults.is_empty(), "half of the file is gone");
    for error in faults {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}

#[tokio::test]
async fn a_closed_tier_has_finished_its_writes_and_says_that_it_is_closed() {
    let directory = directory();
    let clock = SystemClock::new();
    let tier = SqliteTier::open(file(&directory)).unwrap();
    let puts: Vec<_> = (0..500)
        .map(|i| {
            let (tier, clock) = (Arc::clone(&tier), clock.clone());
            tokio::spawn(async move { tier.put(key(&i.to_string()), entry("v", &clock)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    tier.close().await.unwrap();
    tier.close().await.unwrap();
    assert_eq!(tier.get(&key("0")).await.unwrap_err().kind(), ErrorKind::Closed);

    let again = SqliteTier::open(file(&directory)).unwrap();
    for (i, put) in puts.into_iter().enumerate() {
        let stored = match put.await.unwrap() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                false
            }
        };
        let found = again.get(&key(&i.to_string())).await.unwrap().entry.is_some();
        assert_eq!(found, stored, "put {i}");
    }
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_carried_out() {
    let directory = directory();
    let clock = SystemClock::new();
    let tier = SqliteTier::open(file(&directory)).unwrap();
    let put = tier.put(key("left"), entry("v", &clock));
    tokio::select! {
        biased;
        _ = put => panic!("it cannot be done when it is asked for the first time"),
        () = std::future::ready(()) => {}
    }
    // Writes are carried out in their order.
    tier.remove(key("another")).await.unwrap();
    assert!(tier.get(&key("left")).await.unwrap().entry.is_some());
}

#[tokio::test]
async fn every_durability_keeps_what_it_was_given() {
    for durability in [SqliteDurability::Relaxed, SqliteDurability::Full] {
        let directory = directory();
        let config = SqliteConfig { durability, ..SqliteConfig::new(file(&directory)) };
        let clock = SystemClock::new();
        let tier = SqliteTier::with_config(&config, Arc::new(clock.clone())).unwrap();
        tier.put(key("k"), entry("v", &clock)).await.unwrap();
        tier.remove_many(&[Removal::from(key("gone"))]).await.unwrap();
        tier.put(key("l"), entry("v", &clock)).await.unwrap();
        for text in ["k", "l"] {
            assert!(tier.get(&key(text)).await.unwrap().entry.is_some(), "{durability:?}");
        }
    }
}
