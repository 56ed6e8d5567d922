//! How much there may be, and about how much there is.
//!
//! PostgreSQL does not count rows as they come and go, and deleting gives no room back until the
//! table is vacuumed. So what was put since the table was last read is added to what it held then,
//! which is never too little; a value that was written again counts twice until the next look. Each
//! process adds what it has put to a row that all share, a hundredth of the bound at a time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cache_core::{Eviction, Pressure, Ranking, ReadNotes, Result, Timestamp};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::timeout,
};

use crate::{error::Access, sql, store::Store};

/// Part of the bound in bytes at which eviction begins, and down to which it goes. The table takes
/// the rest: rows that are dead and not yet vacuumed, and holes that no new value fits into. In a
/// table of values of one size it is a quarter to a third; see the test of many sizes.
const BYTES_HIGH: f64 = 0.70;
const BYTES_LOW: f64 = 0.65;

/// Part of the bound in bytes from which on whoever puts has to wait for room.
const BYTES_FULL: f64 = 0.75;

/// Part of the bound in bytes that counts as all of it for the gauge of pressure: so eviction works
/// below the 90 % from which on a tier counts as being under pressure, and that is reached when
/// eviction falls behind.
const BYTES_ALL: f64 = 0.80;

/// Part of the bound in entries down to which eviction goes.
const ENTRIES_LOW: f64 = 0.95;

/// The most values whose reads wait to be written down.
const NOTES_MAX: usize = 8_192;

/// Rounds of the evictor for which a put waits: one may have been under way, and what another one
/// cannot give nobody can.
const ROUNDS_MAX: usize = 3;

/// How long a put waits for room at most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The bounds of a tier, and what is known of how near they are.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) bytes_max: Option<u64>,
    pub(crate) entries_max: Option<u64>,
    pub(crate) ranking: Ranking,
    pub(crate) notes: ReadNotes<Vec<u8>>,
    /// Which part of the bounds may be used, in thousandths: less than all under pressure.
    share: AtomicU64,
    /// What this process has put and not yet told the others.
    untold: Mutex<Untold>,
    known: Mutex<Known>,
    /// Held while this process evicts, so that whoever waits for room waits for that.
    pub(crate) evicting: AsyncMutex<()>,
    /// Wakes the evictor.
    pub(crate) wanted: Notify,
    /// Wakes those who wait for room, when the evictor has done what it can.
    pub(crate) made: Notify,
}

/// What was put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

/// What was put and is in nobody's count yet.
#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    /// Nobody tells it.
    waiting: Put,
    /// Somebody is about to, and may not have been heard yet.
    on_the_way: Put,
}

impl Untold {
    /// All that waits goes on its way.
    fn send(&mut self) -> Put {
        let sent = std::mem::take(&mut self.waiting);
        self.on_the_way.bytes += sent.bytes;
        self.on_the_way.rows += sent.rows;
        sent
    }
}

/// How much there is at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Whether the table was ever read.
    pub(crate) is_read: bool,
}

impl Room {
    pub(crate) fn new(
        bytes_max: Option<u64>,
        entries_max: Option<u64>,
        eviction: Eviction,
    ) -> Self {
        Self {
            bytes_max,
            entries_max,
            ranking: eviction.ranking(),
            notes: ReadNotes::new(NOTES_MAX),
            share: AtomicU64::new(1_000),
            untold: Mutex::default(),
            known: Mutex::default(),
            evicting: AsyncMutex::new(()),
            wanted: Notify::new(),
            made: Notify::new(),
        }
    }

    /// Whether there is a bound at all.
    pub(crate) fn is_bounded(&self) -> bool {
        self.bytes_max.is_some() || self.entries_max.is_some()
    }

    /// Has no more than a share of the bounds used from now on.
    pub(crate) fn set_share(&self, share: f64) {
        self.share.store((share.clamp(0.0, 1.0) * 1_000.0) as u64, Ordering::Relaxed);
    }

    /// Whether the bounds are narrower than they were set.
    pub(crate) fn is_shrunk(&self) -> bool {
        self.share.load(Ordering::Relaxed) < 1_000
    }

    /// How many bytes of so many that there are have to go, and how many values.
    pub(crate) fn owed(&self, bytes: u64, rows: u64) -> (u64, u64) {
        let bytes_owed = self.bytes_max.map_or(0, |max| {
            if bytes > self.part(max, BYTES_HIGH) || self.is_shrunk() {
                bytes.saturating_sub(self.part(max, BYTES_LOW))
            } else {
                0
            }
        });
        let rows_owed = self.entries_max.map_or(0, |max| {
            if rows > self.part(max, 1.0) { rows - self.part(max, ENTRIES_LOW) } else { 0 }
        });
        (bytes_owed, rows_owed)
    }

    pub(crate) fn know(&self, known: Known) {
        *self.known.lock() = known;
    }

    /// Whether it is time to read the table.
    pub(crate) fn is_high(&self) -> bool {
        let known = self.estimate();
        !known.is_read || self.owed(known.bytes, known.rows) != (0, 0)
    }

    /// Whether nothing more should come in before something has gone.
    fn is_full(&self) -> bool {
        let known = self.estimate();
        self.bytes_max.is_some_and(|max| known.bytes > self.part(max, BYTES_FULL))
            || self.entries_max.is_some_and(|max| known.rows > max)
    }

    /// How much of what values may take they take. Not what the table takes: what has gone leaves
    /// room in it, which is used again.
    pub(crate) fn pressure(&self) -> Pressure {
        let used = (self.estimate().bytes as f64 / BYTES_ALL) as u64;
        Pressure { used, limit: self.bytes_max.unwrap_or(0) }
    }

    fn estimate(&self) -> Known {
        let (known, untold) = (*self.known.lock(), *self.untold.lock());
        let Untold { waiting, on_the_way } = untold;
        Known {
            bytes: known.bytes + waiting.bytes + on_the_way.bytes,
            rows: known.rows + waiting.rows + on_the_way.rows,
            ..known
        }
    }

    fn part(&self, max: u64, part: f64) -> u64 {
        let share = self.share.load(Ordering::Relaxed) as f64 / 1_000.0;
        (max as f64 * share * part) as u64
    }

    /// What this process has put and not yet told the others, which it now tells. It counts here
    /// until it [was told](Self::told).
    pub(crate) fn untold(&self) -> Put {
        self.untold.lock().send()
    }

    /// What was on its way has arrived, or (and then it is lost) never will.
    fn told(&self, put: Put) {
        let on_the_way = &mut self.untold.lock().on_the_way;
        on_the_way.bytes = on_the_way.bytes.saturating_sub(put.bytes);
        on_the_way.rows = on_the_way.rows.saturating_sub(put.rows);
    }

    /// The most bytes that go into the table without a look at the room in between.
    pub(crate) fn stride(&self) -> usize {
        let stride = self.bytes_max.map_or(u64::MAX, |max| max / 32);
        usize::try_from(stride).unwrap_or(usize::MAX)
    }

    /// Notes what was put; answers what the others should be told now.
    fn note(&self, put: Put) -> Option<Put> {
        let mut untold = self.untold.lock();
        untold.waiting.bytes += put.bytes;
        untold.waiting.rows += put.rows;
        let bytes_due = self.bytes_max.is_some_and(|max| untold.waiting.bytes > max / 100);
        let rows_due = self.entries_max.is_some_and(|max| untold.waiting.rows > max / 100);
        (bytes_due || rows_due).then(|| untold.send())
    }
}

impl Store {
    /// Waits until there is room, or for five seconds: the server may be unable to give any.
    pub(crate) async fn wait_for_room(&self) {
        if !self.room.is_bounded() || !self.room.is_full() {
            return;
        }
        // The evictor makes it, and goes on when who waits gives up: an eviction that was dropped on
        // its way would keep all others out until its claim has ended.
        let making_room = async {
            for _ in 0..ROUNDS_MAX {
                // Made before the look, so that no round ends unnoticed between the two.
                let made = self.room.made.notified();
                if !self.room.is_full() {
                    return;
                }
                self.room.wanted.notify_one();
                made.await;
            }
        };
        if timeout(WAIT_MAX, making_room).await.is_err() {
            tracing::warn!("there was no room within {WAIT_MAX:?}; writing all the same");
        }
    }

    /// Counts what was put, and has the evictor look when that is much.
    pub(crate) async fn wrote(&self, put: Put) -> Result<()> {
        if !self.room.is_bounded() {
            return Ok(());
        }
        if let Some(put) = self.room.note(put) {
            self.tell_totals(put).await?;
        }
        if self.room.is_high() {
            self.room.wanted.notify_one();
        }
        Ok(())
    }

    /// Adds to what all processes have put, and learns how much that is.
    pub(crate) async fn tell_totals(&self, put: Put) -> Result<()> {
        let statement = sql::AddWritten { bytes: signed(put.bytes), rows: signed(put.rows) };
        let added = async {
            let mut session = self.connections.session().await?;
            session.load_one(Access::Write, statement).await
        };
        let added: Result<(i64, i64, i64)> = added.await;
        self.room.told(put);
        let (read_at, bytes, rows) = added?;
        self.room.know(Known {
            bytes: bytes.max(0).unsigned_abs(),
            rows: rows.max(0).unsigned_abs(),
            is_read: read_at > 0,
        });
        Ok(())
    }

    /// Writes down which values were read.
    pub(crate) async fn write_notes(&self) -> Result<()> {
        let notes = self.room.notes.take();
        if notes.is_empty() {
            return Ok(());
        }
        let mut statement =
            sql::NoteReads { keys: Vec::new(), reads: Vec::new(), last_reads: Vec::new() };
        for (key, note) in notes {
            statement.keys.push(key);
            statement.reads.push(i64::from(note.reads));
            statement.last_reads.push(crate::puts::millis(note.last));
        }
        let mut session = self.connections.session().await?;
        session.execute(Access::Write, statement).await.map(|_| ())
    }

    /// Notes that values were read, where the policy goes by that.
    pub(crate) fn note_reads<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, now: Timestamp) {
        if self.room.is_bounded() && self.room.ranking.goes_by_reads() {
            self.room.notes.add(keys, now);
        }
    }
}

pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// About what a row takes in table, index and, where its value lies out of line, there. The same as
/// [`sql::Survey`] computes of a row that is there.
pub(crate) fn row_bytes(key_len: usize, namespace_len: usize, record_len: usize) -> u64 {
    let (key, namespace, record) = (key_len as u64, namespace_len as u64, record_len as u64);
    let is_inline = record + key + namespace <= 1_900;
    let heap = 96 + key + namespace + if is_inline { record } else { 20 };
    let beside = if is_inline { 0 } else { record + record / 20 + 500 };
    heap + heap / 4 + (key + 24) * 3 / 2 + beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_goes_down_to_the_low_mark_once_the_high_one_is_passed() {
        let room = Room::new(Some(1_000), Some(100), Eviction::Fifo);
        assert_eq!(room.owed(700, 100), (0, 0));
        assert_eq!(room.owed(701, 101), (51, 6));
        room.set_share(0.5);
        assert_eq!(room.owed(701, 101), (376, 54));
    }

    #[test]
    fn what_was_put_is_told_a_hundredth_of_the_bound_at_a_time() {
        let room = Room::new(Some(10_000), None, Eviction::Fifo);
        assert_eq!(room.note(Put { bytes: 100, rows: 1 }), None);
        assert_eq!(room.note(Put { bytes: 1, rows: 1 }), Some(Put { bytes: 101, rows: 2 }));
        assert_eq!(room.note(Put::default()), None);
        // Until they have heard of it, it is still counted here.
        assert_eq!((room.estimate().bytes, room.estimate().rows), (101, 2));
        room.told(Put { bytes: 101, rows: 2 });
        assert_eq!(room.estimate().bytes, 0);
    }
}
