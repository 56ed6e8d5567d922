//! Brings the schema to the version that this program knows.
//!
//! Not diesel's own migrations: their asynchronous harness blocks its thread, which a runtime of
//! one thread forbids (tests mostly have one), and keeps its table outside of our schema.

use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{
    error::{self, Access},
    sql,
};

/// How long making the tables may take, waiting for another process that makes them included.
pub(crate) const MIGRATION_MAX: Duration = Duration::from_secs(30);

/// Each brings the schema from the version that is its index to the next. Never edited, only added
/// to.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_entries.sql"),
    include_str!("../migrations/0002_promises.sql"),
    include_str!("../migrations/0003_eviction.sql"),
];

const LATEST: i32 = MIGRATIONS.len() as i32;

/// The oldest server that scans a range of pages without reading the rest, which the sweeper needs.
const SERVER_VERSION_MIN: i32 = 140_000;

/// Whether there is something to migrate in `schema`.
///
/// # Errors
///
/// [`ErrorKind::Incompatible`] when the server is too old or the schema too new.
pub(crate) async fn is_pending(connection: &mut AsyncPgConnection, schema: &str) -> Result<bool> {
    Ok(state(connection, schema).await?.version < LATEST)
}

/// Migrates `schema`, one process at a time. On an error the connection is left within a
/// transaction, and is to be closed.
///
/// # Errors
///
/// [`ErrorKind::Denied`] when the role may not, [`ErrorKind::ReadOnly`] on a standby, and those of
/// [`is_pending`].
pub(crate) async fn migrate(connection: &mut AsyncPgConnection, schema: &str) -> Result<()> {
    // The functions keep this search path: nobody's temporary table comes before ours.
    let begin = format!(
        "BEGIN; SET LOCAL statement_timeout = {timeout}; SET LOCAL lock_timeout = 0; \
         SET LOCAL search_path TO \"{schema}\", pg_temp; \
         SELECT pg_advisory_xact_lock(hashtextextended('cache-postgres schema {schema}', 0))",
        timeout = MIGRATION_MAX.as_millis()
    );
    run(connection, &begin).await?;
    // Another process may have done it while this one waited for the lock.
    let State { has_schema, version } = state(connection, schema).await?;
    if !has_schema {
        run(connection, &format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    if version == 0 {
        run(connection, "CREATE TABLE schema_version (version integer PRIMARY KEY)").await?;
    }
    for (migration, version) in MIGRATIONS.iter().zip(1..).skip_while(|(_, to)| *to <= version) {
        run(connection, migration).await?;
        run(connection, &format!("INSERT INTO schema_version VALUES ({version})")).await?;
    }
    run(connection, "COMMIT").await?;
    tracing::info!(schema, from = version, to = LATEST, "migrated the schema of the cache");
    Ok(())
}

struct State {
    has_schema: bool,
    /// 0: no tables yet.
    version: i32,
}

async fn state(connection: &mut AsyncPgConnection, schema: &str) -> Result<State> {
    let failed = |e| error::statement(e, Access::Read);
    let version_table = format!("{schema}.schema_version");
    let statement = sql::SchemaState { version_table, schema: schema.to_owned() };
    let (server, has_versions, has_schema): (i32, bool, bool) =
        statement.get_result(connection).await.map_err(failed)?;
    if server < SERVER_VERSION_MIN {
        let message = format!("the server is PostgreSQL {}", server / 10_000);
        return Err(Error::new(ErrorKind::Incompatible, message).hint("use version 14 or later"));
    }
    if !has_versions {
        return Ok(State { has_schema, version: 0 });
    }
    let (version,): (Option<i32>,) =
        sql::SchemaVersion {}.get_result(connection).await.map_err(failed)?;
    let version = version.unwrap_or(0);
    if version > LATEST {
        let message = format!(
            "the schema `{schema}` is of version {version}, and this program knows {LATEST} at most"
        );
        return Err(Error::new(ErrorKind::Incompatible, message)
            .hint("update this program, or choose another `schema`"));
    }
    Ok(State { has_schema, version })
}

async fn run(connection: &mut AsyncPgConnection, sql: &str) -> Result<()> {
    let done = connection.batch_execute(sql).await;
    done.map_err(|e| error::statement(e, Access::Read).context("cannot migrate the schema"))
}
