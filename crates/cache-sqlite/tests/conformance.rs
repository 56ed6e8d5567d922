//! The SQLite tier against the conformance suite, with two handles on one file.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    Key, ManualClock, Position, Tier,
    testkit::{Harness, LogHarness},
};
use cache_sqlite::{SqliteConfig, SqliteTier};
use diesel::{
    Connection, RunQueryDsl, sql_query,
    sql_types::{BigInt, Binary},
    sqlite::SqliteConnection,
};
use tempfile::TempDir;

struct SqliteHarness {
    clock: ManualClock,
    directory: TempDir,
}

impl SqliteHarness {
    fn new() -> Self {
        Self {
            clock: ManualClock::new(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn config(&self) -> SqliteConfig {
        SqliteConfig::new(self.directory.path().join("cache.sqlite"))
    }

    /// A connection that is none of the tier's.
    fn beside(&self) -> SqliteConnection {
        let path = self.config().path;
        let path = path.to_str().expect("a path in UTF-8");
        let mut connection = SqliteConnection::establish(path).expect("the file is there");
        sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection).expect("it is set");
        connection
    }
}

#[async_trait]
impl Harness for SqliteHarness {
    async fn open(&self) -> Arc<dyn Tier> {
        SqliteTier::with_config(&self.config(), Arc::new(self.clock.clone())).expect("it opens")
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        let planted = sql_query(
            "INSERT INTO entries (key, fence, expires_at, retain_until, record) \
             VALUES (?, 0, 9223372036854775807, 0, ?) \
             ON CONFLICT (key) DO UPDATE SET record = excluded.record",
        )
        .bind::<Binary, _>(key.encoded().as_bytes())
        .bind::<Binary, _>(bytes)
        .execute(&mut self.beside());
        assert_eq!(planted, Ok(1));
        true
    }
}

#[async_trait]
impl LogHarness for SqliteHarness {
    async fn trim(&self, position: &Position) -> bool {
        let (_, number) = position.as_str().rsplit_once('-').expect("a position has a number");
        let trimmed = sql_query(
            "DELETE FROM notices WHERE number <= ? AND number < (SELECT max(number) FROM notices)",
        )
        .bind::<BigInt, _>(number.parse::<i64>().expect("a number"))
        .execute(&mut self.beside());
        assert!(trimmed.is_ok_and(|trimmed| trimmed > 0));
        true
    }

    /// What the tiers find when a new file has been put in the place of the old one.
    async fn lose(&self) -> bool {
        let mut connection = self.beside();
        for lost in ["DELETE FROM notices", "UPDATE epochs SET epoch = random()"] {
            sql_query(lost).execute(&mut connection).expect("it is lost");
        }
        true
    }
}

cache_core::conformance_tests!(SqliteTier, Some(SqliteHarness::new()));
cache_core::log_conformance_tests!(SqliteTier, Some(SqliteHarness::new()));
cache_core::lease_conformance_tests!(SqliteTier, Some(SqliteHarness::new()));
