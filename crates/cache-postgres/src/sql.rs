//! The statements, each with its text and its parameters.
//!
//! They are written by hand, because diesel prepares an `on_conflict().do_update()`, an `update`
//! and a `sql_query` anew at each call, which costs a round trip. A type with a `QueryId` and a
//! fixed text is prepared once a connection, whatever its parameters. The tables are named without
//! their schema: the search path of each connection holds nothing else.
//!
//! Marks are taken inside the statement that uses them, and in an update after the row is locked.
//! So they grow with each change of a key, and one that is taken by a clear is above those of all
//! rows that were committed before. Statements of several rows are given these in the order of
//! their keys, so that two of them lock rows in the same order and never wait for each other.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Binary, Bool, Float, Integer, Nullable, Text},
};

/// A statement: its parameters, in the order of the question marks in its text.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $rust:ty => $sql:ty,)* } -> $row:ty = $text:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, QueryId)]
        pub(crate) struct $name {
            $(pub(crate) $field: $rust,)*
        }

        impl QueryFragment<Pg> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                let mut text = $text.split('?');
                out.push_sql(text.next().unwrap_or_default());
                $(
                    out.push_bind_param::<$sql, _>(&self.$field)?;
                    out.push_sql(text.next().unwrap_or_default());
                )*
                Ok(())
            }
        }

        impl Query for $name {
            type SqlType = $row;
        }
    )+};
}

type Keys = Vec<Vec<u8>>;
type Names = Vec<String>;

statements! {
    /// The server's version, and whether the table of versions and the schema are there. (Not by
    /// `to_regnamespace`: it may still not know a schema that was made while we waited for a lock.)
    SchemaState {
        version_table: String => Text,
        schema: String => Text,
    } -> (Integer, Bool, Bool) = "\
        SELECT current_setting('server_version_num')::integer, to_regclass(?) IS NOT NULL, \
            EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = ?)";

    /// The newest migration that was applied.
    SchemaVersion {} -> (Nullable<Integer>,) = "SELECT max(v.version) FROM schema_version AS v";

    /// Whether the server answers.
    Ping {} -> (Integer,) = "SELECT 1";

    /// One key: the floor of its namespace, its fence and its record. Always one row.
    Get {
        namespace: String => Text,
        key: Vec<u8> => Binary,
    } -> (BigInt, Nullable<BigInt>, Nullable<Binary>) = "\
        SELECT COALESCE((SELECT n.floor FROM namespaces AS n WHERE n.namespace = ?), 0), \
            e.fence, e.record \
        FROM (SELECT) AS one LEFT JOIN entries AS e ON e.key = ?";

    /// Many keys: a row for each that is known, and one, marked `true`, for the floor of each
    /// namespace that has one. One statement and so one moment for both.
    GetMany {
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
    } -> (Bool, Binary, BigInt, Nullable<Binary>) = "\
        SELECT false, e.key, e.fence, e.record FROM entries AS e WHERE e.key = ANY(?) \
        UNION ALL \
        SELECT true, convert_to(n.namespace, 'UTF8'), n.floor, NULL \
        FROM namespaces AS n WHERE n.namespace = ANY(?)";

    /// Puts in any case, but never over a newer version. No record: what is there goes. Answers
    /// the keys that were written.
    Insert {
        retain_until: i64 => BigInt,
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
        expires_at: Vec<i64> => Array<BigInt>,
        records: Vec<Option<Vec<u8>>> => Array<Nullable<Binary>>,
    } -> (Binary,) = "\
        INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record) \
        SELECT p.key, p.namespace, nextval('fence_marks'), p.version, p.expires_at, ?, p.record \
        FROM unnest(?, ?, ?, ?, ?) AS p (key, namespace, version, expires_at, record) \
        ON CONFLICT (key) DO UPDATE SET \
            fence = nextval('fence_marks'), version = EXCLUDED.version, \
            expires_at = EXCLUDED.expires_at, retain_until = EXCLUDED.retain_until, \
            record = EXCLUDED.record \
        WHERE e.version IS NULL OR EXCLUDED.version IS NULL OR EXCLUDED.version >= e.version \
            OR e.fence < COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0) \
        RETURNING e.key";

    /// Puts where the fence is still the one that was seen, and leaves it there. A clear that
    /// comes in between raises the floor above it: the row is dead on arrival.
    Fill {
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        seen: Vec<i64> => Array<BigInt>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
        expires_at: Vec<i64> => Array<BigInt>,
        records: Vec<Vec<u8>> => Array<Binary>,
    } -> (Binary,) = "\
        INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record) \
        SELECT p.key, p.namespace, p.seen, p.version, p.expires_at, 0, p.record \
        FROM unnest(?, ?, ?, ?, ?, ?) AS p (key, namespace, seen, version, expires_at, record) \
        WHERE p.seen >= COALESCE( \
            (SELECT n.floor FROM namespaces AS n WHERE n.namespace = p.namespace), 0) \
        ON CONFLICT (key) DO UPDATE SET \
            fence = EXCLUDED.fence, version = EXCLUDED.version, \
            expires_at = EXCLUDED.expires_at, record = EXCLUDED.record \
        WHERE EXCLUDED.fence >= e.fence AND ( \
            e.version IS NULL OR EXCLUDED.version IS NULL OR EXCLUDED.version >= e.version \
            OR e.fence < COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0)) \
        RETURNING e.key";

    /// Leaves tombstones, with the newest version known since the last clear.
    ///
    /// `durable` makes this statement's own commit wait for the disk, whatever the connection's
    /// setting: a removal that was acknowledged must not be undone by a crash. It is set inside
    /// the statement because a `SET LOCAL` needs a transaction around it, three round trips more;
    /// the join makes sure that it is evaluated.
    Remove {
        removed_at: i64 => BigInt,
        retain_until: i64 => BigInt,
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
    } -> () = "\
        WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true)) \
        INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record) \
        SELECT p.key, p.namespace, nextval('fence_marks'), p.version, ?, ?, NULL \
        FROM unnest(?, ?, ?) AS p (key, namespace, version) CROSS JOIN durable \
        ON CONFLICT (key) DO UPDATE SET \
            fence = nextval('fence_marks'), \
            version = GREATEST(EXCLUDED.version, CASE WHEN e.fence >= COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0) \
                THEN e.version END), \
            expires_at = EXCLUDED.expires_at, retain_until = EXCLUDED.retain_until, record = NULL";

    /// Raises the floor of a namespace above everything in it; durable as [`Remove`] is.
    Clear {
        namespace: String => Text,
    } -> () = "\
        WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true)) \
        INSERT INTO namespaces (namespace, floor) \
        SELECT ?, nextval('fence_marks') FROM durable \
        ON CONFLICT (namespace) DO UPDATE SET floor = nextval('fence_marks')";

    /// Rows (an estimate, below 0: none yet) and bytes, indexes and large values included.
    Usage {} -> (Float, BigInt) = "\
        SELECT c.reltuples, pg_total_relation_size(c.oid) \
        FROM pg_class AS c WHERE c.oid = 'entries'::regclass";

    /// Lets one process sweep: a row for who may. A start in the future is of a clock that runs
    /// ahead, and must not stop everybody else.
    ClaimSweep {
        started_at: i64 => BigInt,
        last_before: i64 => BigInt,
        ahead_of: i64 => BigInt,
    } -> (Bool,) = "\
        UPDATE sweeps AS s SET started_at = ? WHERE s.started_at <= ? OR s.started_at > ? \
        RETURNING true";

    /// How many pages of the server's block size the table has.
    Pages {} -> (BigInt,) = "\
        SELECT pg_relation_size('entries') / current_setting('block_size')::bigint";

    /// Deletes some rows of a range of pages that nobody can read and whose fence need not be
    /// remembered. A tombstone's deadline is when it was written.
    Sweep {
        first_page: String => Text,
        end_page: String => Text,
        retained_at: i64 => BigInt,
        expired_at: i64 => BigInt,
        rows_max: i64 => BigInt,
    } -> () = "\
        DELETE FROM entries WHERE ctid = ANY(ARRAY( \
            SELECT e.ctid FROM entries AS e \
            WHERE e.ctid >= ?::tid AND e.ctid < ?::tid AND e.retain_until <= ? \
                AND (e.expires_at <= ? OR e.fence < COALESCE( \
                    (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0)) \
            LIMIT ? FOR UPDATE OF e SKIP LOCKED))";
}
