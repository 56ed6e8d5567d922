//! What the server says about itself: for an operator, not for the cache's own work.

use cache_core::Result;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Bool, Integer, Text},
};
use serde::Serialize;

use crate::{error::Access, tier::PostgresTier};

/// How a PostgreSQL server is set up and how it is, from [`PostgresTier::inspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PostgresReport {
    /// The server's version, such as `15.14`.
    pub version: String,
    /// How many migrations the schema has seen.
    pub schema_version: u32,
    /// Whether the server only follows another one, and refuses writes.
    pub is_standby: bool,
    /// What a commit of this tier waits for.
    pub synchronous_commit: String,
    /// `on`, or a crash of the machine may corrupt the database.
    pub fsync: String,
    /// Connections that are open, those of others included.
    pub connections: u64,
    /// Connections that may be.
    pub connections_max: u64,
    /// What the entries take on the disk, with indexes, in bytes.
    pub table_bytes: u64,
    /// Of these, what the rows lie in: without indexes, and without values that lie out of line.
    pub heap_bytes: u64,
    /// How long a row is there on average, as the server's statistics have it; 0: it has none yet.
    pub row_bytes: u64,
    /// Rows of entries and tombstones, as the server's statistics have it.
    pub live_rows: u64,
    /// Rows that were replaced or deleted, and not yet vacuumed.
    pub dead_rows: u64,
}

impl PostgresTier {
    /// Asks the server how it is set up.
    ///
    /// # Errors
    ///
    /// Those of any call.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn inspect(&self) -> Result<PostgresReport> {
        self.calls
            .detached("inspect", |store| async move {
                let mut session = store.connections.session().await?;
                let row: Row = session.load_one(Access::Read, diesel::sql_query(SQL)).await?;
                Ok(row.into())
            })
            .await
    }
}

/// The search path is that of every session: the cache's schema.
const SQL: &str = "\
    SELECT current_setting('server_version') AS version, \
        COALESCE((SELECT max(v.version) FROM schema_version AS v), 0) AS schema_version, \
        pg_is_in_recovery() AS is_standby, \
        current_setting('synchronous_commit') AS synchronous_commit, \
        current_setting('fsync') AS fsync, \
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') \
            AS connections, \
        current_setting('max_connections')::bigint AS connections_max, \
        pg_total_relation_size('entries'::regclass) AS table_bytes, \
        pg_relation_size('entries'::regclass) AS heap_bytes, \
        COALESCE((SELECT sum(s.avg_width) FROM pg_stats AS s \
            WHERE s.schemaname = current_schema() AND s.tablename = 'entries'), 0)::bigint \
            AS row_bytes, \
        COALESCE(pg_stat_get_live_tuples('entries'::regclass), 0) AS live_rows, \
        COALESCE(pg_stat_get_dead_tuples('entries'::regclass), 0) AS dead_rows";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Integer)]
    schema_version: i32,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Text)]
    synchronous_commit: String,
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = BigInt)]
    connections: i64,
    #[diesel(sql_type = BigInt)]
    connections_max: i64,
    #[diesel(sql_type = BigInt)]
    table_bytes: i64,
    #[diesel(sql_type = BigInt)]
    heap_bytes: i64,
    #[diesel(sql_type = BigInt)]
    row_bytes: i64,
    #[diesel(sql_type = BigInt)]
    live_rows: i64,
    #[diesel(sql_type = BigInt)]
    dead_rows: i64,
}

impl From<Row> for PostgresReport {
    fn from(row: Row) -> Self {
        Self {
            version: row.version,
            schema_version: row.schema_version.unsigned_abs(),
            is_standby: row.is_standby,
            synchronous_commit: row.synchronous_commit,
            fsync: row.fsync,
            connections: row.connections.unsigned_abs(),
            connections_max: row.connections_max.unsigned_abs(),
            table_bytes: row.table_bytes.unsigned_abs(),
            heap_bytes: row.heap_bytes.unsigned_abs(),
            row_bytes: row.row_bytes.unsigned_abs(),
            live_rows: row.live_rows.unsigned_abs(),
            dead_rows: row.dead_rows.unsigned_abs(),
        }
    }
}
