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
//!
//! What copies elsewhere have to hear of is told in the log by the statement that does it, or, with
//! `tell` false, not at all.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Binary, Bool, Double, Float, Integer, Nullable, SmallInt, Text},
};

use crate::record::Record;

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

/// How long a tombstone is remembered that SQL left, which has no clock: until a process that has
/// one says otherwise.
pub(crate) const STAMP_LATER: i64 = i64::MAX;

/// The first part of a statement whose own commit waits for the disk, whatever the connection's
/// setting: what was acknowledged must not be undone by a crash, or the value before it is read
/// again. It is set inside the statement because a `SET LOCAL` needs a transaction around it, three
/// round trips more. A join with it makes sure that it is evaluated.
macro_rules! durable {
    () => {
        "WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true))"
    };
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

    /// Puts in any case, but never over a newer version. No record: what is there goes. With `moves`
    /// a value that is written again counts as one that came just now. Answers the keys that were
    /// written. [`durable!`], because no loader brings back what only a caller has said.
    Insert {
        retain_until: i64 => BigInt,
        arrived: i64 => BigInt,
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
        expires_at: Vec<i64> => Array<BigInt>,
        records: Vec<Option<Record>> => Array<Nullable<Binary>>,
        priorities: Vec<i16> => Array<SmallInt>,
        moves: bool => Bool,
        at: i64 => BigInt,
        tell: bool => Bool,
    } -> (Binary,) = concat!(durable!(), ", \
        done AS (INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record, arrived, priority) \
        SELECT p.key, p.namespace, nextval('fence_marks'), p.version, p.expires_at, ?, p.record, \
            ?, p.priority \
        FROM unnest(?, ?, ?, ?, ?, ?) \
            AS p (key, namespace, version, expires_at, record, priority) CROSS JOIN durable \
        ON CONFLICT (key) DO UPDATE SET \
            fence = nextval('fence_marks'), version = EXCLUDED.version, \
            expires_at = EXCLUDED.expires_at, retain_until = EXCLUDED.retain_until, \
            record = EXCLUDED.record, priority = EXCLUDED.priority, \
            arrived = CASE WHEN ? OR e.record IS NULL OR e.expires_at <= EXCLUDED.arrived \
                THEN EXCLUDED.arrived ELSE e.arrived END \
        WHERE e.version IS NULL OR EXCLUDED.version IS NULL OR EXCLUDED.version >= e.version \
            OR e.fence < COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0) \
        RETURNING e.key, e.fence, substr(e.record, 5, 4) AS digest), \
        told AS (INSERT INTO notices (change, author, mark, at, digest, name) \
            SELECT 1, 0, d.fence, ?, d.digest, d.key FROM done AS d WHERE ?) \
        SELECT d.key FROM done AS d");

    /// Puts where the fence is still the one that was seen, and leaves it there. A clear that
    /// comes in between raises the floor above it: the row is dead on arrival.
    Fill {
        arrived: i64 => BigInt,
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        seen: Vec<i64> => Array<BigInt>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
        expires_at: Vec<i64> => Array<BigInt>,
        records: Vec<Record> => Array<Binary>,
        priorities: Vec<i16> => Array<SmallInt>,
        moves: bool => Bool,
    } -> (Binary,) = "\
        INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record, arrived, priority) \
        SELECT p.key, p.namespace, p.seen, p.version, p.expires_at, 0, p.record, ?, p.priority \
        FROM unnest(?, ?, ?, ?, ?, ?, ?) \
            AS p (key, namespace, seen, version, expires_at, record, priority) \
        WHERE p.seen >= COALESCE( \
            (SELECT n.floor FROM namespaces AS n WHERE n.namespace = p.namespace), 0) \
        ON CONFLICT (key) DO UPDATE SET \
            fence = EXCLUDED.fence, version = EXCLUDED.version, \
            expires_at = EXCLUDED.expires_at, record = EXCLUDED.record, \
            priority = EXCLUDED.priority, \
            arrived = CASE WHEN ? OR e.record IS NULL OR e.expires_at <= EXCLUDED.arrived \
                THEN EXCLUDED.arrived ELSE e.arrived END \
        WHERE EXCLUDED.fence >= e.fence AND ( \
            e.version IS NULL OR EXCLUDED.version IS NULL OR EXCLUDED.version >= e.version \
            OR e.fence < COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0)) \
        RETURNING e.key";

    /// Leaves tombstones, with the newest version known since the last clear; [`durable!`].
    Remove {
        removed_at: i64 => BigInt,
        retain_until: i64 => BigInt,
        keys: Keys => Array<Binary>,
        namespaces: Names => Array<Text>,
        versions: Vec<Option<i64>> => Array<Nullable<BigInt>>,
        at: i64 => BigInt,
        tell: bool => Bool,
    } -> () = concat!(durable!(), ", \
        done AS (INSERT INTO entries AS e \
            (key, namespace, fence, version, expires_at, retain_until, record) \
        SELECT p.key, p.namespace, nextval('fence_marks'), p.version, ?, ?, NULL \
        FROM unnest(?, ?, ?) AS p (key, namespace, version) CROSS JOIN durable \
        ON CONFLICT (key) DO UPDATE SET \
            fence = nextval('fence_marks'), \
            version = GREATEST(EXCLUDED.version, CASE WHEN e.fence >= COALESCE( \
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0) \
                THEN e.version END), \
            expires_at = EXCLUDED.expires_at, retain_until = EXCLUDED.retain_until, record = NULL \
        RETURNING e.key, e.fence) \
        INSERT INTO notices (change, author, mark, at, name) \
        SELECT 1, 0, d.fence, ?, d.key FROM done AS d WHERE ?");

    /// Raises the floor of a namespace above everything in it; [`durable!`].
    Clear {
        namespace: String => Text,
        at: i64 => BigInt,
        tell: bool => Bool,
    } -> () = concat!(durable!(), ", \
        done AS (INSERT INTO namespaces AS n (namespace, floor) \
        SELECT ?, nextval('fence_marks') FROM durable \
        ON CONFLICT (namespace) DO UPDATE SET floor = nextval('fence_marks') \
        RETURNING n.namespace, n.floor) \
        INSERT INTO notices (change, author, mark, at, name) \
        SELECT 2, 0, d.floor, ?, convert_to(d.namespace, 'UTF8') FROM done AS d WHERE ?");

    /// A sign of life in the log.
    Beat {
        at: i64 => BigInt,
    } -> () = "\
        INSERT INTO notices (change, author, mark, at, name) \
        SELECT 3, 0, nextval('fence_marks'), ?, ''";

    /// Wakes who listens. Not within the statement that has something to tell: the server commits
    /// the transactions that notify one after the other. Nothing is lost with it, so it does not
    /// wait for the disk.
    Wake {
        channel: String => Text,
        payload: String => Text,
    } -> () = "\
        SELECT pg_notify(?, ?), set_config('synchronous_commit', 'off', true)";

    /// The present life of the database, nothing before its first connection; and what is
    /// committed.
    LogEnd {} -> (Nullable<Text>, Text) = "\
        SELECT (SELECT l.id::text FROM lives AS l), pg_current_snapshot()::text";

    /// What the snapshot `since` did not see and the snapshot `until` (none: the present one) sees,
    /// after a mark, in the `life` of the database. Always a row: the life, both snapshots, and
    /// whether notices that `since` did not see are gone, or it is not of this life; then a notice
    /// or nothing. In such a gap what is left is told, up to now.
    ///
    /// All that a snapshot did not see is above its end, or among those that were under way: two
    /// look-ups in the index, however long some transaction is open. (`OFFSET 0`, or the second
    /// would be a hash join, which reads all notices.) It misses what was deleted when the snapshot up to which that happened is a later one.
    LogPage {
        rows_max: i64 => BigInt,
        since: String => Text,
        until: Option<String> => Nullable<Text>,
        after: i64 => BigInt,
        life: String => Text,
    } -> (
        Nullable<Text>, Text, Text, Bool,
        Nullable<SmallInt>, Nullable<SmallInt>, Nullable<BigInt>, Nullable<BigInt>,
        Nullable<Binary>, Nullable<Binary>,
    ) = "\
        WITH page AS (SELECT ?::bigint AS rows_max), \
        asked AS MATERIALIZED (SELECT * FROM (SELECT ?::text::pg_snapshot, \
            ?::text::pg_snapshot, ?::bigint, ?::text) AS a (since, until, after, life)), \
        known AS MATERIALIZED (SELECT s.trimmed, pg_current_snapshot() AS present, \
            (SELECT l.id::text FROM lives AS l) AS life FROM notice_state AS s), \
        place AS MATERIALIZED (SELECT k.life, g.gap, \
            CASE WHEN g.gap THEN COALESCE(k.trimmed, '1:1:') ELSE a.since END AS since, \
            CASE WHEN g.gap THEN k.present ELSE COALESCE(a.until, k.present) END AS until, \
            CASE WHEN g.gap THEN -1 ELSE a.after END AS after \
            FROM asked AS a CROSS JOIN known AS k CROSS JOIN LATERAL (SELECT \
                k.life IS DISTINCT FROM a.life \
                OR pg_snapshot_xmax(a.since) > pg_snapshot_xmax(k.present) \
                OR k.trimmed IS NOT NULL AND ( \
                    pg_snapshot_xmax(k.trimmed) > pg_snapshot_xmax(a.since) \
                    OR EXISTS (SELECT FROM pg_snapshot_xip(a.since) AS x (xid) \
                        WHERE pg_visible_in_snapshot(x.xid, k.trimmed)))) AS g (gap)) \
        SELECT p.life, p.since::text, p.until::text, p.gap, \
            n.change, n.author, n.mark, n.at, n.digest, n.name \
        FROM place AS p LEFT JOIN LATERAL ( \
            SELECT r.change, r.author, r.mark, r.at, r.digest, r.name FROM ( \
                SELECT o.* FROM notices AS o WHERE o.xid >= pg_snapshot_xmax(p.since) \
                UNION ALL \
                SELECT o.* FROM pg_snapshot_xip(p.since) AS x (xid) CROSS JOIN LATERAL \
                    (SELECT n.* FROM notices AS n WHERE n.xid = x.xid OFFSET 0) AS o) AS r \
            WHERE r.mark > p.after AND pg_visible_in_snapshot(r.xid, p.until) \
            ORDER BY r.mark LIMIT (SELECT page.rows_max FROM page)) AS n ON true \
        ORDER BY n.mark";

    /// Lets one process shorten the log; see [`ClaimSweep`].
    ClaimTrim {
        trimmed_at: i64 => BigInt,
        last_before: i64 => BigInt,
        ahead_of: i64 => BigInt,
    } -> (Bool,) = "\
        UPDATE notice_state AS s SET trimmed_at = ? \
        WHERE s.trimmed_at <= ? OR s.trimmed_at > ? RETURNING true";

    /// Notes what is committed now, for a later [`AdvanceTrim`].
    NoteSnapshot {
        at: i64 => BigInt,
    } -> () = "\
        INSERT INTO notice_snapshots (at, snapshot) VALUES (?, pg_current_snapshot()) \
        ON CONFLICT (at) DO UPDATE SET snapshot = EXCLUDED.snapshot";

    /// How many notices there are, counted up to a bound.
    CountNotices {
        rows_max: i64 => BigInt,
    } -> (BigInt,) = "\
        SELECT count(*) FROM (SELECT FROM notices LIMIT ?) AS n";

    /// Declares what was noted up to a moment as gone, and forgets it but for that; a row when there
    /// was something. A moment in the future is of a clock that runs ahead, and counts as old. It
    /// never goes back, whatever the clocks that made the notes.
    AdvanceTrim {
        noted_until: i64 => BigInt,
        ahead_of: i64 => BigInt,
    } -> (Bool,) = "\
        WITH old AS (DELETE FROM notice_snapshots AS s WHERE s.at <= ? OR s.at > ? \
            RETURNING s.at, s.snapshot), \
        newest AS (SELECT o.snapshot FROM old AS o \
            ORDER BY pg_snapshot_xmax(o.snapshot) DESC, o.at DESC LIMIT 1) \
        UPDATE notice_state AS s SET trimmed = n.snapshot FROM newest AS n \
        WHERE s.trimmed IS NULL OR ( \
            pg_snapshot_xmax(n.snapshot) >= pg_snapshot_xmax(s.trimmed) \
            AND NOT EXISTS (SELECT FROM pg_snapshot_xip(n.snapshot) AS x (xid) \
                WHERE pg_visible_in_snapshot(x.xid, s.trimmed))) \
        RETURNING true";

    /// The oldest moment of which the state was noted.
    OldestSnapshot {} -> (Nullable<BigInt>,) = "SELECT min(s.at) FROM notice_snapshots AS s";

    /// Deletes some notices that were declared gone. The tombstones of those by SQL are still to be
    /// remembered for ever ([`STAMP_LATER`]): from now on for a time. Answers how many.
    Trim {
        rows_max: i64 => BigInt,
        stamp_later: i64 => BigInt,
        retain_until: i64 => BigInt,
    } -> (BigInt,) = "\
        WITH gone AS (DELETE FROM notices WHERE ctid = ANY(ARRAY( \
            SELECT n.ctid FROM notice_state AS s JOIN notices AS n \
                ON n.xid < pg_snapshot_xmax(s.trimmed) \
            WHERE pg_visible_in_snapshot(n.xid, s.trimmed) LIMIT ?)) \
            RETURNING change, author, name), \
        stamped AS (SELECT e.key FROM entries AS e \
            WHERE e.key IN (SELECT g.name FROM gone AS g WHERE g.author = 1 AND g.change = 1) \
                AND e.retain_until = ? ORDER BY e.key FOR UPDATE OF e), \
        kept AS (UPDATE entries AS e SET retain_until = ? FROM stamped AS s WHERE e.key = s.key) \
        SELECT count(*) FROM gone";

    /// Takes a lease that nobody has, or whose period has passed; a row for who has it then.
    Acquire {
        key: Vec<u8> => Binary,
        token: i64 => BigInt,
        ends_at: i64 => BigInt,
        at: i64 => BigInt,
    } -> (Bool,) = "\
        INSERT INTO leases AS l (key, token, ends_at) VALUES (?, ?, ?) \
        ON CONFLICT (key) DO UPDATE SET token = EXCLUDED.token, ends_at = EXCLUDED.ends_at \
        WHERE l.ends_at <= ? RETURNING true";

    /// Has a lease end later; a row when it was still the owner's.
    Renew {
        ends_at: i64 => BigInt,
        key: Vec<u8> => Binary,
        token: i64 => BigInt,
        at: i64 => BigInt,
    } -> (Bool,) = "\
        UPDATE leases AS l SET ends_at = ? WHERE l.key = ? AND l.token = ? AND l.ends_at > ? \
        RETURNING true";

    /// Ends a lease and wakes who waits for it, if it was still the owner's.
    Release {
        key: Vec<u8> => Binary,
        token: i64 => BigInt,
        at: i64 => BigInt,
        channel: String => Text,
        payload: String => Text,
    } -> () = "\
        WITH gone AS (DELETE FROM leases AS l \
            WHERE l.key = ? AND l.token = ? AND l.ends_at > ? RETURNING true) \
        SELECT pg_notify(?, ?) FROM gone";

    /// When a lease ends, if there is one.
    LeaseEnd {
        key: Vec<u8> => Binary,
    } -> (BigInt,) = "SELECT l.ends_at FROM leases AS l WHERE l.key = ?";

    /// Deletes leases that have ended.
    SweepLeases {
        ended_at: i64 => BigInt,
        rows_max: i64 => BigInt,
    } -> () = "\
        DELETE FROM leases WHERE ctid = ANY(ARRAY( \
            SELECT l.ctid FROM leases AS l WHERE l.ends_at <= ? \
            LIMIT ? FOR UPDATE OF l SKIP LOCKED))";

    /// Rows (an estimate, below 0: none yet) and bytes, indexes and large values included; and what
    /// was evicted: for bytes, for entries, for pressure.
    Usage {} -> (Float, BigInt, BigInt, BigInt, BigInt) = "\
        SELECT c.reltuples, pg_total_relation_size(c.oid), \
            t.evicted_for_bytes, t.evicted_for_entries, t.evicted_for_pressure \
        FROM pg_class AS c CROSS JOIN totals AS t WHERE c.oid = 'entries'::regclass";

    /// What the table takes, indexes and large values included.
    TableBytes {} -> (BigInt,) = "SELECT pg_total_relation_size('entries')";

    /// Adds to what was put. Answers when the table was last read, and what there is since at most:
    /// bytes and values.
    AddWritten {
        bytes: i64 => BigInt,
        rows: i64 => BigInt,
    } -> (BigInt, BigInt, BigInt) = "\
        UPDATE totals AS t SET written_bytes = t.written_bytes + ?, \
            written_rows = t.written_rows + ? \
        RETURNING t.read_at, t.read_bytes + t.written_bytes - t.written_bytes_then, \
            t.read_rows + t.written_rows - t.written_rows_then";

    /// Adds to the notes on reads, of many keys.
    NoteReads {
        keys: Keys => Array<Binary>,
        reads: Vec<i64> => Array<BigInt>,
        last_reads: Vec<i64> => Array<BigInt>,
    } -> () = "\
        INSERT INTO reads AS r (key, reads, last_read) \
        SELECT n.key, n.reads, n.last_read FROM unnest(?, ?, ?) AS n (key, reads, last_read) \
        ORDER BY n.key \
        ON CONFLICT (key) DO UPDATE SET reads = r.reads + EXCLUDED.reads, \
            last_read = GREATEST(r.last_read, EXCLUDED.last_read)";

    /// Lets one process evict; see [`ClaimSweep`]. Answers what was put by then, and when the table
    /// was last read.
    ClaimEviction {
        claimed_at: i64 => BigInt,
        claimed_before: i64 => BigInt,
        ahead_of: i64 => BigInt,
    } -> (BigInt, BigInt, BigInt) = "\
        UPDATE totals AS t SET claimed_at = ? WHERE t.claimed_at <= ? OR t.claimed_at > ? \
        RETURNING t.written_bytes, t.written_rows, t.read_at";

    /// Lets others evict.
    ReleaseEviction {} -> () = "UPDATE totals SET claimed_at = 0";

    /// Notes what there is, and lets others evict. Answers what there is, with what was put
    /// meanwhile.
    NoteEviction {
        read_at: i64 => BigInt,
        bytes: i64 => BigInt,
        rows: i64 => BigInt,
        bytes_then: i64 => BigInt,
        rows_then: i64 => BigInt,
        for_bytes: i64 => BigInt,
        for_entries: i64 => BigInt,
        for_pressure: i64 => BigInt,
    } -> (BigInt, BigInt) = "\
        UPDATE totals AS t SET claimed_at = 0, read_at = ?, read_bytes = ?, read_rows = ?, \
            written_bytes_then = ?, written_rows_then = ?, \
            evicted_for_bytes = t.evicted_for_bytes + ?, \
            evicted_for_entries = t.evicted_for_entries + ?, \
            evicted_for_pressure = t.evicted_for_pressure + ? \
        RETURNING t.read_bytes + t.written_bytes - t.written_bytes_then, \
            t.read_rows + t.written_rows - t.written_rows_then";

    /// What a range of pages holds, and which of its values go first: a row without a key for the
    /// sums of bytes, values and bytes that are pinned; then values with class (-1 expired, or the
    /// priority), two ranks and bytes. Reads count that are later than the value. The bytes are what
    /// [`row_bytes`](crate::room::row_bytes) says.
    Survey {
        order: i16 => SmallInt,
        now: i64 => BigInt,
        read_before: i64 => BigInt,
        by_reads: bool => Bool,
        first_page: String => Text,
        end_page: String => Text,
        class_worst: i16 => SmallInt,
        rank_worst: f64 => Double,
        rows_max: i64 => BigInt,
    } -> (
        Nullable<Binary>, BigInt, SmallInt, Double, Double, BigInt, BigInt, BigInt,
    ) = "\
        WITH asked AS MATERIALIZED ( \
            SELECT ?::smallint AS by, ?::bigint AS now, ?::bigint AS read_before), \
        seen AS MATERIALIZED (SELECT e.key, e.expires_at, e.record IS NOT NULL AS is_value, \
                e.arrived, e.priority, r.last_read, COALESCE(r.reads, 0) AS reads, \
                octet_length(e.key) AS k, octet_length(e.namespace) AS n, \
                COALESCE(octet_length(e.record), 0) AS len, \
                CASE WHEN a.read_before > 0 AND e.arrived >= a.read_before \
                    THEN 1e15 ELSE 0 END AS newcomer \
            FROM asked AS a CROSS JOIN entries AS e LEFT JOIN reads AS r \
                ON ? AND r.key = e.key AND r.last_read >= e.arrived \
            WHERE e.ctid >= ?::tid AND e.ctid < ?::tid), \
        ranked AS MATERIALIZED (SELECT s.key, s.expires_at, s.is_value, \
                CASE WHEN s.expires_at <= a.now THEN -1 ELSE s.priority END::smallint AS class, \
                CASE a.by WHEN 1 THEN s.arrived WHEN 2 THEN s.expires_at WHEN 3 THEN random() \
                    WHEN 4 THEN GREATEST(s.arrived, s.last_read) WHEN 5 THEN s.reads + s.newcomer \
                    WHEN 6 THEN COALESCE(s.reads / (1 + (a.now - s.last_read) / 60000.0), 0) \
                        + s.newcomer \
                    ELSE CASE WHEN s.last_read >= a.read_before THEN 1 ELSE 0 END \
                    END::double precision AS first, \
                CASE a.by WHEN 7 THEN s.arrived \
                    ELSE GREATEST(s.arrived, s.last_read) END::double precision AS second, \
                CASE WHEN s.len + s.k + s.n <= 1900 \
                    THEN (96 + s.k + s.n + s.len) * 5 / 4 + (s.k + 24) * 3 / 2 \
                    ELSE (116 + s.k + s.n) * 5 / 4 + (s.k + 24) * 3 / 2 \
                        + s.len + s.len / 20 + 500 END AS bytes \
            FROM seen AS s CROSS JOIN asked AS a) \
        SELECT NULL::bytea, 0::bigint, 0::smallint, 0::double precision, 0::double precision, \
            COALESCE(sum(r.bytes), 0)::bigint, count(*) FILTER (WHERE r.is_value), \
            COALESCE(sum(r.bytes) FILTER (WHERE r.is_value AND r.class = 3), 0)::bigint \
        FROM ranked AS r \
        UNION ALL (SELECT r.key, r.expires_at, r.class, COALESCE(r.first, 0), \
                COALESCE(r.second, 0), r.bytes::bigint, 0::bigint, 0::bigint \
            FROM ranked AS r WHERE r.is_value AND (r.class, r.first) <= (?, ?) \
            ORDER BY 3, 4, 5 LIMIT ?)";

    /// Evicts values that have not been written since: those with these deadlines. Their fences and
    /// versions stay while they must be remembered. Answers which went, and whether with their rows.
    Evict {
        keys: Keys => Array<Binary>,
        deadlines: Vec<i64> => Array<BigInt>,
        retained_at: i64 => BigInt,
        hollowed_at: i64 => BigInt,
    } -> (Binary, Bool) = "\
        WITH picked AS MATERIALIZED (SELECT e.key, e.retain_until \
            FROM unnest(?, ?) AS c (key, expires_at) JOIN entries AS e \
                ON e.key = c.key AND e.expires_at = c.expires_at AND e.record IS NOT NULL \
            ORDER BY e.key FOR UPDATE OF e SKIP LOCKED), \
        sorted AS MATERIALIZED (SELECT p.key, p.retain_until <= ? AS whole FROM picked AS p), \
        gone AS (DELETE FROM entries AS e USING sorted AS s WHERE e.key = s.key AND s.whole), \
        hollow AS (UPDATE entries AS e SET record = NULL, expires_at = ? \
            FROM sorted AS s WHERE e.key = s.key AND NOT s.whole), \
        unread AS (DELETE FROM reads AS r USING sorted AS s WHERE r.key = s.key) \
        SELECT s.key, s.whole FROM sorted AS s";

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
    /// remembered. A tombstone's deadline is when it was written. Answers how many.
    Sweep {
        first_page: String => Text,
        end_page: String => Text,
        retained_at: i64 => BigInt,
        expired_at: i64 => BigInt,
        rows_max: i64 => BigInt,
    } -> (BigInt,) = "\
        WITH gone AS (DELETE FROM entries WHERE ctid = ANY(ARRAY( \
            SELECT e.ctid FROM entries AS e \
            WHERE e.ctid >= ?::tid AND e.ctid < ?::tid AND e.retain_until <= ? \
                AND (e.expires_at <= ? OR e.fence < COALESCE( \
                    (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0)) \
            LIMIT ? FOR UPDATE OF e SKIP LOCKED)) RETURNING key), \
        unread AS (DELETE FROM reads AS r USING gone AS g WHERE r.key = g.key) \
        SELECT count(*) FROM gone";
}
