//! The SQLite tier against the conformance suite, with two handles on one file.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{Key, ManualClock, Tier, testkit::Harness};
use cache_sqlite::{SqliteConfig, SqliteTier};
use diesel::{Connection, RunQueryDsl, sql_query, sql_types::Binary, sqlite::SqliteConnection};
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
        let path = self.config().path;
        let path = path.to_str().expect("a path in UTF-8");
        let mut connection = SqliteConnection::establish(path).expect("the file is there");
        sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection).expect("it is set");
        let planted = sql_query(
            "INSERT INTO entries (key, fence, expires_at, retain_until, record) \
             VALUES (?, 0, 9223372036854775807, 0, ?) \
             ON CONFLICT (key) DO UPDATE SET record = excluded.record",
        )
        .bind::<Binary, _>(key.encoded().as_bytes())
        .bind::<Binary, _>(bytes)
        .execute(&mut connection);
        assert_eq!(planted, Ok(1));
        true
    }
}

cache_core::conformance_tests!(SqliteTier, Some(SqliteHarness::new()));
