//! Every statement that the tier runs, each prepared once a connection.
//!
//! The statements are types of their own, written out: diesel keeps the prepared form of a type
//! with a static query id under that id, and finds it without building the text again.

use diesel::{
    QueryResult, RunQueryDsl,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{BigInt, Binary, Nullable, Text},
    sqlite::{Sqlite, SqliteConnection},
};

/// A value that takes the place of a `?`.
trait Parameter {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()>;
}

macro_rules! parameter {
    ($($rust:ty => $sql:ty;)+) => {$(
        impl Parameter for $rust {
            fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                out.push_bind_param::<$sql, _>(self)
            }
        }
    )+};
}

parameter! {
    i64 => BigInt;
    Option<i64> => Nullable<BigInt>;
    &[u8] => Binary;
    Option<&[u8]> => Nullable<Binary>;
    &str => Text;
}

/// Pushes `sql` with a parameter for each `?`, in order.
fn push<'b, const N: usize>(
    sql: &str,
    parameters: [&'b dyn Parameter; N],
    mut out: AstPass<'_, 'b, Sqlite>,
) -> QueryResult<()> {
    let mut pieces = sql.split('?');
    out.push_sql(pieces.next().unwrap_or_default());
    for (piece, parameter) in pieces.zip(parameters) {
        parameter.push(&mut out)?;
        out.push_sql(piece);
    }
    Ok(())
}

/// A statement: its parameters, its text, which parameter each `?` is, and what a row holds.
macro_rules! statement {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty),* $(,)? }
        ($($parameter:ident),*) -> $row:ty,
        $sql:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name $(<$life>)? { $(pub(crate) $field: $type),* }

        impl $(<$life>)? QueryFragment<Sqlite> for $name $(<$life>)? {
            fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                push($sql, [$(&self.$parameter),*], out)
            }
        }

        const _: () = {
            /// Stands for the statement in a connection's cache: a lifetime cannot.
            pub(crate) struct Id;

            impl $(<$life>)? QueryId for $name $(<$life>)? {
                type QueryId = Id;
            }
        };

        impl $(<$life>)? RunQueryDsl<SqliteConnection> for $name $(<$life>)? {}

        impl $(<$life>)? Query for $name $(<$life>)? {
            type SqlType = $row;
        }
    };
}

statement! {
    /// What is known of a key, and the floor of its namespace: always one row, of one moment.
    Find<'a> { key: &'a [u8], namespace: &'a str }
    (namespace, key)
        -> (Nullable<BigInt>, Nullable<BigInt>, Nullable<Binary>, Nullable<BigInt>),
    "SELECT entries.id, entries.fence, entries.record, \
         (SELECT floor FROM namespaces WHERE namespace = ?) \
     FROM (SELECT 1) LEFT JOIN entries ON entries.key = ?"
}

statement! {
    /// Writes an entry in any case, but over no newer version. A value that comes back goes behind
    /// all others; with `moves` not 0, one that replaces another does so too.
    Insert<'a> {
        key: &'a [u8],
        fence: i64,
        version: Option<i64>,
        expires_at: i64,
        retain_until: i64,
        priority: i64,
        record: &'a [u8],
        moves: i64,
        floor: i64,
    }
    (key, fence, version, expires_at, retain_until, priority, record, moves, floor) -> (),
    "INSERT INTO entries (key, fence, version, expires_at, retain_until, priority, record) \
     VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET id = CASE \
         WHEN entries.priority IS NULL OR ? <> 0 THEN (SELECT max(id) FROM entries) + 1 \
         ELSE entries.id END, fence = excluded.fence, \
     version = excluded.version, expires_at = excluded.expires_at, \
     retain_until = excluded.retain_until, priority = excluded.priority, \
     record = excluded.record \
     WHERE entries.fence < ? OR coalesce(entries.version <= excluded.version, TRUE)"
}

statement! {
    /// Writes an entry unless its key has moved beyond `seen`, or has a newer version. What is
    /// remembered of the key stays remembered for as long as it had to be. Its place is that of an
    /// [`Insert`].
    Fill<'a> {
        key: &'a [u8],
        seen: i64,
        version: Option<i64>,
        expires_at: i64,
        priority: i64,
        record: &'a [u8],
        moves: i64,
        floor: i64,
    }
    (key, seen, version, expires_at, priority, record, moves, floor) -> (),
    "INSERT INTO entries (key, fence, version, expires_at, retain_until, priority, record) \
     VALUES (?, ?, ?, ?, 0, ?, ?) ON CONFLICT (key) DO UPDATE SET id = CASE \
         WHEN entries.priority IS NULL OR ? <> 0 THEN (SELECT max(id) FROM entries) + 1 \
         ELSE entries.id END, fence = excluded.fence, \
     version = excluded.version, expires_at = excluded.expires_at, \
     priority = excluded.priority, record = excluded.record \
     WHERE entries.fence <= excluded.fence \
     AND (entries.fence < ? OR coalesce(entries.version <= excluded.version, TRUE))"
}

statement! {
    /// Removes a key, with the newest version that it is known to have had. With `unless_above`,
    /// not when that one is newer.
    Remove<'a> {
        key: &'a [u8],
        fence: i64,
        version: Option<i64>,
        now: i64,
        retain_until: i64,
        unless_above: Option<i64>,
        floor: i64,
    }
    (key, fence, version, now, retain_until, floor, floor, unless_above) -> (),
    "INSERT INTO entries (key, fence, version, expires_at, retain_until, priority, record) \
     VALUES (?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT (key) DO UPDATE SET fence = excluded.fence, \
     version = CASE WHEN entries.fence < ? THEN excluded.version ELSE coalesce(\
         max(entries.version, excluded.version), entries.version, excluded.version) END, \
     expires_at = excluded.expires_at, retain_until = excluded.retain_until, \
     priority = NULL, record = NULL \
     WHERE entries.fence < ? OR coalesce(entries.version <= ?, TRUE)"
}

statement! {
    /// The mark of a namespace's last clear.
    Floor<'a> { namespace: &'a str }
    (namespace) -> BigInt,
    "SELECT floor FROM namespaces WHERE namespace = ?"
}

statement! {
    /// Kills what a namespace holds below `floor`, and has it swept after the key `sweep_from`.
    RaiseFloor<'a> {
        namespace: &'a str,
        floor: i64,
        retain_until: i64,
        sweep_from: Option<&'a [u8]>,
    }
    (namespace, floor, retain_until, sweep_from) -> (),
    "INSERT INTO namespaces (namespace, floor, retain_until, sweep_from) VALUES (?, ?, ?, ?) \
     ON CONFLICT (namespace) DO UPDATE SET floor = max(floor, excluded.floor), \
     retain_until = excluded.retain_until, \
     sweep_from = coalesce(excluded.sweep_from, sweep_from)"
}

statement! {
    /// The last mark that was given out.
    LastMark {} () -> BigInt,
    "SELECT last FROM marks"
}

statement! {
    /// Notes the last mark that was given out.
    SetLastMark { last: i64 } (last) -> (),
    "UPDATE marks SET last = ?"
}

statement! {
    /// Values that have expired, the first of them: their rows, and how long those must be
    /// remembered.
    Expired { now: i64, limit: i64 }
    (now, limit) -> (BigInt, BigInt),
    "SELECT id, retain_until FROM entries \
     WHERE record IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?"
}

statement! {
    /// Values of the usual priority in the order in which they came, which is that of the file: row,
    /// how long the row must be remembered, the value's length in bytes, and what was noted of
    /// reads.
    Oldest { after: i64, limit: i64 }
    (after, limit) -> (BigInt, BigInt, BigInt, BigInt, BigInt),
    "SELECT entries.id, retain_until, length(record), coalesce(reads, 0), coalesce(last_read, 0) \
     FROM entries LEFT JOIN notes ON notes.id = entries.id \
     WHERE entries.id > ? AND priority = 1 ORDER BY entries.id LIMIT ?"
}

statement! {
    /// The same of the values of another priority.
    OldestOf { priority: i64, after: i64, limit: i64 }
    (priority, after, limit) -> (BigInt, BigInt, BigInt, BigInt, BigInt),
    "SELECT entries.id, retain_until, length(record), coalesce(reads, 0), coalesce(last_read, 0) \
     FROM entries INDEXED BY entries_by_priority LEFT JOIN notes ON notes.id = entries.id \
     WHERE priority = ? AND priority <> 1 AND entries.id > ? ORDER BY entries.id LIMIT ?"
}

statement! {
    /// The same of values of a priority, those first that expire first.
    Nearest { priority: i64, limit: i64 }
    (priority, limit) -> (BigInt, BigInt, BigInt, BigInt, BigInt),
    "SELECT entries.id, retain_until, length(record), 0, 0 \
     FROM entries INDEXED BY entries_by_deadline \
     WHERE record IS NOT NULL AND priority = ? ORDER BY expires_at LIMIT ?"
}

statement! {
    /// The first and the last row.
    Span {} () -> (BigInt, BigInt),
    "SELECT coalesce((SELECT min(id) FROM entries), 0), coalesce((SELECT max(id) FROM entries), 0)"
}

statement! {
    /// Moves a row behind all others.
    Move { id: i64 } (id) -> (),
    "UPDATE entries SET id = (SELECT max(id) FROM entries) + 1 WHERE id = ?"
}

statement! {
    /// Adds reads to what was noted of a value, if it is there.
    Note { reads: i64, last_read: i64, id: i64 }
    (reads, last_read, id) -> (),
    "INSERT INTO notes (id, reads, last_read) SELECT id, ?, ? FROM entries \
     WHERE id = ? AND priority IS NOT NULL \
     ON CONFLICT (id) DO UPDATE SET reads = reads + excluded.reads, \
     last_read = max(last_read, excluded.last_read)"
}

statement! {
    /// Notes that a value counts as read so often.
    SetReads { reads: i64, id: i64 } (reads, id) -> (),
    "UPDATE notes SET reads = ? WHERE id = ?"
}

statement! {
    /// How many values there are, and how many were evicted for bytes, for entries, for pressure.
    Totals {} () -> (BigInt, BigInt, BigInt, BigInt),
    "SELECT entries, evicted_for_bytes, evicted_for_entries, evicted_for_pressure FROM totals"
}

statement! {
    /// How many bytes the pinned values have.
    PinnedBytes {} () -> BigInt,
    "SELECT pinned_bytes FROM totals"
}

statement! {
    /// Counts what was evicted.
    CountEvicted { bytes: i64, entries: i64, pressure: i64 } (bytes, entries, pressure) -> (),
    "UPDATE totals SET evicted_for_bytes = evicted_for_bytes + ?, \
     evicted_for_entries = evicted_for_entries + ?, \
     evicted_for_pressure = evicted_for_pressure + ?"
}

statement! {
    /// Takes the value out of a row that must still be remembered. The row goes to another place:
    /// where a row only shrinks, SQLite does not merge its page with others.
    Hollow { id: i64 } (id) -> (),
    "UPDATE entries SET id = (SELECT max(id) FROM entries) + 1, priority = NULL, record = NULL \
     WHERE id = ?"
}

statement! {
    /// Takes a row out.
    Delete { id: i64 } (id) -> (),
    "DELETE FROM entries WHERE id = ?"
}

statement! {
    /// Takes out rows without a value that need not be remembered any more.
    DeleteForgettable { now: i64, limit: i64 }
    (now, limit) -> (),
    "DELETE FROM entries WHERE id IN (SELECT id FROM entries \
     WHERE record IS NULL AND retain_until <= ? ORDER BY retain_until LIMIT ?)"
}

statement! {
    /// Rows without a value that could be forgotten first.
    NearestForgettable { limit: i64 }
    (limit) -> (BigInt, BigInt, Binary),
    "SELECT id, fence, key FROM entries WHERE record IS NULL ORDER BY retain_until LIMIT ?"
}

statement! {
    /// A namespace in which dead rows may be found: its name, its floor, and after which key.
    NextToSweep {} () -> (Text, BigInt, Binary),
    "SELECT namespace, floor, sweep_from FROM namespaces WHERE sweep_from IS NOT NULL LIMIT 1"
}

statement! {
    /// The key that is `limit` keys after `after`, and before `end`.
    KeyAhead<'a> { after: &'a [u8], end: &'a [u8], limit: i64 }
    (after, end, limit) -> Binary,
    "SELECT key FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT 1 OFFSET ?"
}

statement! {
    /// Takes out the dead rows of a range of keys, `to` included.
    DeleteDead<'a> { after: &'a [u8], to: &'a [u8], floor: i64 }
    (after, to, floor) -> (),
    "DELETE FROM entries WHERE key > ? AND key <= ? AND fence < ?"
}

statement! {
    /// Notes after which key dead rows may still be found; nothing: there are none.
    SetSweepFrom<'a> { namespace: &'a str, sweep_from: Option<&'a [u8]> }
    (sweep_from, namespace) -> (),
    "UPDATE namespaces SET sweep_from = ? WHERE namespace = ?"
}

statement! {
    /// Forgets clears that need not be remembered any more and have left nothing behind.
    DeleteFloors { now: i64 } (now) -> (),
    "DELETE FROM namespaces WHERE sweep_from IS NULL AND retain_until <= ?"
}

statement! {
    /// The epoch of the log, the number of its oldest notice and that of its newest: 1 and 0 while
    /// there was none.
    LogState {} () -> (BigInt, BigInt, BigInt),
    "SELECT epoch, coalesce((SELECT min(number) FROM notices), 1), \
         coalesce((SELECT max(number) FROM notices), 0) FROM epochs"
}

statement! {
    /// The notices after a number: number, kind, subject, mark, moment, digest.
    Notices { after: i64, limit: i64 }
    (after, limit) -> (BigInt, BigInt, Text, BigInt, BigInt, BigInt),
    "SELECT number, kind, subject, mark, at, digest FROM notices \
     WHERE number > ? ORDER BY number LIMIT ?"
}

statement! {
    /// Appends a notice.
    Append<'a> { number: i64, kind: i64, subject: &'a str, mark: i64, at: i64, digest: i64 }
    (number, kind, subject, mark, at, digest) -> (),
    "INSERT INTO notices (number, kind, subject, mark, at, digest) VALUES (?, ?, ?, ?, ?, ?)"
}

statement! {
    /// Takes the oldest notices out, up to a number.
    Trim { to: i64 } (to) -> (),
    "DELETE FROM notices WHERE number <= ?"
}

statement! {
    /// Takes a lease, unless somebody has it.
    Acquire<'a> { key: &'a [u8], token: i64, until: i64, now: i64 }
    (key, token, until, now) -> (),
    "INSERT INTO leases (key, token, until) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE \
     SET token = excluded.token, until = excluded.until WHERE leases.until <= ?"
}

statement! {
    /// Moves the end of a lease that is still held with the token.
    Renew<'a> { key: &'a [u8], token: i64, until: i64, now: i64 }
    (until, key, token, now) -> (),
    "UPDATE leases SET until = ? WHERE key = ? AND token = ? AND until > ?"
}

statement! {
    /// Gives a lease up.
    Release<'a> { key: &'a [u8], token: i64 } (key, token) -> (),
    "DELETE FROM leases WHERE key = ? AND token = ?"
}

statement! {
    /// Until when a lease was given.
    LeaseEnd<'a> { key: &'a [u8] } (key) -> BigInt,
    "SELECT until FROM leases WHERE key = ?"
}

statement! {
    /// Forgets leases that have ended.
    DeleteLeases { now: i64 } (now) -> (),
    "DELETE FROM leases WHERE until <= ?"
}

statement! {
    /// Bytes in pages that hold something, and pages that hold nothing.
    Pages {} () -> (BigInt, BigInt),
    "SELECT (page_count - freelist_count) * page_size, freelist_count \
     FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
}

statement! {
    /// How many rows there are. SQLite walks the smallest index for it.
    Count {} () -> BigInt,
    "SELECT count(*) FROM entries"
}

statement! {
    /// Whose file it is, of which version, and how many tables it has.
    Marking {} () -> (BigInt, BigInt, BigInt),
    "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) \
     FROM pragma_application_id, pragma_user_version"
}

statement! {
    /// How commits are kept: `wal`, when other processes may read meanwhile.
    JournalMode {} () -> Text,
    "SELECT journal_mode FROM pragma_journal_mode"
}
