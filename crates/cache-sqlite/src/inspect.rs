//! What the file says about itself: for an operator, not for the cache's own work.

use std::{fs, path::Path, sync::Arc};

use cache_core::{Error, ErrorKind, Result};
use diesel::{
    QueryableByName, RunQueryDsl,
    sql_types::{BigInt, Text},
};
use serde::Serialize;

use crate::{
    config::SqliteConfig,
    connection::{Connection, Role},
    place::Place,
    tier::SqliteTier,
};

/// How a SQLite file is, from [`SqliteTier::inspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SqliteReport {
    /// SQLite's version, such as `3.51.0`. It is built in.
    pub version: String,
    /// How many migrations the file has seen.
    pub schema_version: u64,
    /// `wal`, or readers and writers wait for each other.
    pub journal_mode: String,
    /// The first damage that a check of the whole file found.
    pub damage: Option<String>,
    /// The file's length in bytes.
    pub file_bytes: u64,
    /// Of that, what holds nothing.
    pub free_bytes: u64,
    /// The length of the write-ahead log beside it, in bytes.
    pub log_bytes: u64,
}

impl SqliteTier {
    /// Looks at the file as a whole, on a connection of its own. It reads all of it: a second or so
    /// for each GiB.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or read.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the look goes on to its end and changes nothing.
    pub async fn inspect(&self) -> Result<SqliteReport> {
        let path = self.path().to_owned();
        let look = tokio::task::spawn_blocking(move || look(&path));
        look.await.unwrap_or_else(|fault| {
            let message = "the look at the SQLite file was ended";
            Err(Error::new(ErrorKind::Internal, message).caused_by(fault))
        })
    }
}

fn look(path: &Path) -> Result<SqliteReport> {
    let place = Place::prepare(&SqliteConfig::new(path))?;
    let mut connection = Connection::open(Arc::new(place), Role::Reader)?;
    let row: Row = connection.look(|connection| diesel::sql_query(SQL).get_result(connection))?;
    let len = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Ok(SqliteReport {
        version: row.version,
        schema_version: row.schema_version.unsigned_abs(),
        journal_mode: row.journal_mode,
        damage: (row.damage != "ok").then_some(row.damage),
        file_bytes: len(path),
        free_bytes: row.free_bytes.unsigned_abs(),
        log_bytes: len(log.as_ref()),
    })
}

const SQL: &str = "\
    SELECT sqlite_version() AS version, \
        (SELECT user_version FROM pragma_user_version) AS schema_version, \
        (SELECT journal_mode FROM pragma_journal_mode) AS journal_mode, \
        (SELECT quick_check FROM pragma_quick_check LIMIT 1) AS damage, \
        (SELECT freelist_count FROM pragma_freelist_count) \
            * (SELECT page_size FROM pragma_page_size) AS free_bytes";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    schema_version: i64,
    #[diesel(sql_type = Text)]
    journal_mode: String,
    /// `ok`, or the first fault.
    #[diesel(sql_type = Text)]
    damage: String,
    #[diesel(sql_type = BigInt)]
    free_bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_file_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let tier = SqliteTier::open(directory.path().join("cache.sqlite")).unwrap();
        let report = tier.inspect().await.unwrap();
        assert_eq!((&*report.journal_mode, &report.damage), ("wal", &None));
        assert!(report.version.starts_with("3.") && report.schema_version >= 1, "{report:?}");
        assert!(report.file_bytes > 0, "{report:?}");
    }
}
