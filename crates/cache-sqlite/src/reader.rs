//! The threads that read.

use std::sync::Arc;

use cache_core::{Clock, Error, Evictions, Key, ReadNotes, Result};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, sqlite::SqliteConnection};
use tokio::sync::{Mutex, mpsc};

use crate::{
    connection::{Connection, Snapshot},
    log::{self, At, Told},
    sql::{Count, Find, LeaseEnd, Pages, Totals},
    worker::Reply,
};

/// How many keys one snapshot looks up, a larger request aside: the others are for the next reader,
/// and the log cannot be written back beyond a snapshot.
const BATCH_KEYS_MAX: usize = 256;

/// What a reader is asked.
#[derive(Debug)]
pub(crate) enum Read {
    One(Key, Reply<Found>),
    Many(Vec<Key>, Reply<Vec<Found>>),
    Ping(Reply<()>),
    Usage(Reply<Used>),
    /// Where the log ends.
    LogEnd(Reply<At>),
    /// What the log has after a position; nothing is one that no log of this kind has made.
    Log(Option<At>, Reply<Told>),
    /// Until when a lease was given; nothing when it was not, or was released.
    Lease(Key, Reply<Option<i64>>),
    /// Answer what has been asked, and end.
    Close,
}

/// What the file holds of a key.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its row, if it has a value.
    row: Option<i64>,
    /// The mark of its row, 0 when there is none.
    pub(crate) fence: u64,
    /// The row's bytes, if it has any.
    pub(crate) record: Option<Vec<u8>>,
    /// The mark at which its namespace was last cleared.
    pub(crate) floor: u64,
}

/// What the file holds.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) evicted: Evictions,
}

/// Serves requests until the queue is closed or all callers have gone.
///
/// Readers take turns at the queue: one holds it while it waits and while it takes what has
/// gathered, and hands it on before it goes to the file.
pub(crate) fn serve(
    mut connection: Connection,
    queue: &Mutex<mpsc::Receiver<Read>>,
    noting: Option<&Noting>,
) {
    loop {
        let batch = gather(&mut queue.blocking_lock());
        if batch.is_empty() {
            return;
        }
        let rows = carry_out(&mut connection, batch);
        if let Some(Noting { notes, clock }) = noting {
            notes.add(&rows, clock.now());
        }
    }
}

/// Where reads are noted, for a policy that goes by them.
pub(crate) struct Noting {
    pub(crate) notes: Arc<ReadNotes<i64>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Waits for a request and takes those that are there with it; none when there will be no more.
fn gather(queue: &mut mpsc::Receiver<Read>) -> Vec<Read> {
    let mut batch = Vec::new();
    while batch.is_empty() {
        let Some(first) = queue.blocking_recv() else { return batch };
        let mut next = Some(first);
        let mut keys = 0;
        while let Some(request) = next {
            match &request {
                Read::Close => queue.close(),
                Read::Many(many, _) => keys += many.len(),
                _ => keys += 1,
            }
            batch.push(request);
            next = if keys < BATCH_KEYS_MAX { queue.try_recv().ok() } else { None };
        }
    }
    batch
}

/// Answers a batch from one snapshot. It begins after the last of the requests came, so whoever
/// asks after a write was acknowledged finds it. Answers the rows whose values were read.
fn carry_out(connection: &mut Connection, batch: Vec<Read>) -> Vec<i64> {
    let mut rows = Vec::new();
    match connection.snapshot() {
        Ok(mut snapshot) => {
            batch.into_iter().for_each(|request| answer(&mut snapshot, request, &mut rows));
        }
        Err(error) => batch.into_iter().for_each(|request| refuse(request, &error)),
    }
    rows
}

/// Answers a request, unless its caller has gone meanwhile.
fn answer(snapshot: &mut Snapshot<'_>, request: Read, rows: &mut Vec<i64>) {
    match request {
        Read::One(key, reply) if !reply.is_closed() => {
            let found = snapshot.query(|connection| find(connection, &key));
            rows.extend(found.iter().filter_map(|found| found.row));
            let _ = reply.send(found);
        }
        Read::Many(keys, reply) if !reply.is_closed() => {
            let found: Result<Vec<Found>> =
                snapshot.query(|connection| keys.iter().map(|key| find(connection, key)).collect());
            rows.extend(found.iter().flatten().filter_map(|found| found.row));
            let _ = reply.send(found);
        }
        Read::Usage(reply) => {
            let _ = reply.send(snapshot.query(used));
        }
        // The snapshot has read from the file.
        Read::Ping(reply) => {
            let _ = reply.send(Ok(()));
        }
        Read::LogEnd(reply) => {
            let _ = reply.send(snapshot.query(log::end));
        }
        Read::Log(after, reply) if !reply.is_closed() => {
            let _ = reply.send(snapshot.query(|connection| log::after(connection, after)));
        }
        Read::Lease(key, reply) if !reply.is_closed() => {
            let end = LeaseEnd { key: key.encoded().as_bytes() };
            let _ = reply.send(snapshot.query(|connection| end.get_result(connection).optional()));
        }
        Read::One(..) | Read::Many(..) | Read::Log(..) | Read::Lease(..) | Read::Close => {}
    }
}

fn refuse(request: Read, error: &Error) {
    let error = error.clone();
    match request {
        Read::One(_, reply) => drop(reply.send(Err(error))),
        Read::Many(_, reply) => drop(reply.send(Err(error))),
        Read::Usage(reply) => drop(reply.send(Err(error))),
        Read::Ping(reply) => drop(reply.send(Err(error))),
        Read::LogEnd(reply) => drop(reply.send(Err(error))),
        Read::Log(_, reply) => drop(reply.send(Err(error))),
        Read::Lease(_, reply) => drop(reply.send(Err(error))),
        Read::Close => {}
    }
}

fn find(connection: &mut SqliteConnection, key: &Key) -> QueryResult<Found> {
    let query = Find { key: key.encoded().as_bytes(), namespace: key.namespace() };
    type Row = (Option<i64>, Option<i64>, Option<Vec<u8>>, Option<i64>);
    let (row, fence, record, floor): Row = query.get_result(connection)?;
    let row = row.filter(|_| record.is_some());
    Ok(Found { row, fence: mark(fence), record, floor: mark(floor) })
}

fn used(connection: &mut SqliteConnection) -> QueryResult<Used> {
    let rows: i64 = Count {}.get_result(connection)?;
    let (bytes, _): (i64, i64) = Pages {}.get_result(connection)?;
    let (_, for_bytes, for_entries, for_pressure): (i64, i64, i64, i64) =
        Totals {}.get_result(connection)?;
    let evicted = Evictions {
        bytes: for_bytes.unsigned_abs(),
        entries: for_entries.unsigned_abs(),
        pressure: for_pressure.unsigned_abs(),
    };
    Ok(Used { rows: rows.unsigned_abs(), bytes: bytes.unsigned_abs(), evicted })
}

/// A mark as it is stored. No mark is negative, whatever somebody else wrote there.
fn mark(stored: Option<i64>) -> u64 {
    stored.and_then(|mark| u64::try_from(mark).ok()).unwrap_or(0)
}
