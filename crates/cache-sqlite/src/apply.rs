//! What becomes of a write: the rules of fences and versions, within one transaction.

use std::{collections::HashMap, time::Duration};

use cache_core::{Key, Namespace, PutOutcome, Timestamp, Version};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, sqlite::SqliteConnection};

use crate::{
    log, millis,
    room::Room,
    sql::{
        Acquire, Append, Fill, Floor, Insert, LastMark, LogState, PinnedBytes, RaiseFloor, Release,
        Remove, Renew, SetLastMark, Trim,
    },
    victims::{PINNED, ROW_BYTES},
};

/// The log is trimmed once for so many notices.
const TRIM_STEP: i64 = 256;

/// One change, decoded and encoded by its caller, so that the only thread that writes does not.
#[derive(Debug)]
pub(crate) enum Change {
    /// An entry, in any case.
    Insert(Stored),
    /// An entry, while its key has not moved beyond a mark.
    Fill(Stored, u64),
    /// An insert of an entry that is too large to be held: removes what it would have replaced.
    Oversized { key: Key, version: Option<i64> },
    /// The key's removal, at a version.
    Remove { key: Key, version: Option<i64> },
    /// Everything of a namespace.
    Clear(Namespace),
    /// A sign of life in the log.
    Beat,
    /// A lease, unless somebody has it: stored, or superseded.
    Acquire { key: Key, token: i64, period: Duration },
    /// A longer or shorter lease, while it is the owner's: stored, or superseded.
    Renew { key: Key, token: i64, period: Duration },
    /// The end of a lease.
    Release { key: Key, token: i64 },
    /// Nothing: refused before it came here. Keeps its place among the outcomes.
    Refused(PutOutcome),
}

/// An entry as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) version: Option<i64>,
    pub(crate) expires_at: i64,
    pub(crate) priority: i64,
    pub(crate) record: Vec<u8>,
}

impl Change {
    /// About how many bytes the change brings to the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Insert(stored) | Self::Fill(stored, _) => stored.record.len() as u64 + ROW_BYTES,
            Self::Refused(_) => 0,
            _ => ROW_BYTES,
        }
    }

    /// Whether the change may leave a notice.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Beat) || self.is_of_a_caller()
    }

    /// Whether it is what a caller has said, and no loader brings again. It must outlive a power
    /// cut in any mode, or the value before it is read again.
    pub(crate) fn is_of_a_caller(&self) -> bool {
        matches!(
            self,
            Self::Insert(_) | Self::Oversized { .. } | Self::Remove { .. } | Self::Clear(_)
        )
    }
}

impl Stored {
    /// The checksum in its record: the entry's digest.
    fn digest(&self) -> u32 {
        self.record.get(4..8).and_then(|sum| sum.try_into().ok()).map_or(0, u32::from_be_bytes)
    }
}

/// A version as a column: a signed number of the same order.
pub(crate) fn version_column(version: Option<Version>) -> Option<i64> {
    version.map(Version::to_ordered_i64)
}

/// A transaction's view of the marks. Nobody else gives out any before it ends.
pub(crate) struct Transaction<'c> {
    connection: &'c mut SqliteConnection,
    now: Timestamp,
    retain_until: i64,
    notices_max: i64,
    /// Not 0: a value that is written again goes behind all others.
    moves: i64,
    /// How many bytes of values may be pinned.
    pinned_max: u64,
    first: i64,
    last: i64,
    /// Floors that were looked up already.
    floors: HashMap<String, i64>,
    /// The number of the last notice; nothing until it is needed.
    last_notice: Option<i64>,
}

impl<'c> Transaction<'c> {
    /// Begins to apply changes in a transaction that holds the writers' lock. Fences that move
    /// are remembered until `retain_until`, and the last `notices_max` changes are told.
    pub(crate) fn new(
        connection: &'c mut SqliteConnection,
        now: Timestamp,
        retain_until: Timestamp,
        notices_max: i64,
        room: &Room,
    ) -> QueryResult<Self> {
        let last = LastMark {}.get_result(connection)?;
        Ok(Self {
            connection,
            now,
            retain_until: millis(retain_until),
            notices_max,
            moves: i64::from(room.ranking().moves_what_is_written()),
            pinned_max: room.pinned_max(),
            first: last,
            last,
            floors: HashMap::new(),
            last_notice: None,
        })
    }

    pub(crate) fn apply(&mut self, change: &Change) -> QueryResult<PutOutcome> {
        match change {
            Change::Insert(stored) => self.insert(stored),
            Change::Fill(stored, seen) => self.fill(stored, *seen),
            Change::Oversized { key, version } => {
                Ok(match self.remove(key, *version, *version)? {
                    PutOutcome::Stored => PutOutcome::TooLarge,
                    refused => refused,
                })
            }
            Change::Remove { key, version } => self.remove(key, *version, None),
            Change::Clear(namespace) => self.clear(namespace),
            Change::Beat => self.tell(log::BEAT, "", 0, 0).map(|()| PutOutcome::Stored),
            Change::Acquire { key, token, period } => {
                let (token, until, now) = (*token, self.end_of(*period), millis(self.now));
                let acquire = Acquire { key: key.encoded().as_bytes(), token, until, now };
                acquire.execute(self.connection).map(outcome)
            }
            Change::Renew { key, token, period } => {
                let (token, until, now) = (*token, self.end_of(*period), millis(self.now));
                let renew = Renew { key: key.encoded().as_bytes(), token, until, now };
                renew.execute(self.connection).map(outcome)
            }
            Change::Release { key, token } => {
                let release = Release { key: key.encoded().as_bytes(), token: *token };
                release.execute(self.connection).map(outcome)
            }
            Change::Refused(outcome) => Ok(*outcome),
        }
    }

    /// Notes the marks that were given out. The last thing before the commit.
    pub(crate) fn finish(self) -> QueryResult<()> {
        if self.last > self.first {
            SetLastMark { last: self.last }.execute(self.connection)?;
        }
        Ok(())
    }

    fn insert(&mut self, stored: &Stored) -> QueryResult<PutOutcome> {
        let Stored { key, version, expires_at, priority, record } = stored;
        let fence = self.next_mark();
        let insert = Insert {
            key: key.encoded().as_bytes(),
            fence,
            version: *version,
            expires_at: *expires_at,
            retain_until: self.retain_until,
            priority: self.priority(*priority, record)?,
            record,
            moves: self.moves,
            floor: self.floor(key.namespace())?,
        };
        let outcome = insert.execute(self.connection).map(outcome)?;
        if outcome == PutOutcome::Stored {
            self.tell(log::KEY, key.encoded(), fence, stored.digest())?;
        }
        Ok(outcome)
    }

    fn fill(&mut self, stored: &Stored, seen: u64) -> QueryResult<PutOutcome> {
        let Stored { key, version, expires_at, priority, record } = stored;
        // A mark that was never given out was not read here, and must not outrank those to come.
        let seen = i64::try_from(seen).unwrap_or(i64::MAX).min(self.last);
        let floor = self.floor(key.namespace())?;
        if floor > seen {
            return Ok(PutOutcome::Superseded);
        }
        let fill = Fill {
            key: key.encoded().as_bytes(),
            seen,
            version: *version,
            expires_at: *expires_at,
            priority: self.priority(*priority, record)?,
            record,
            moves: self.moves,
            floor,
        };
        fill.execute(self.connection).map(outcome)
    }

    fn remove(
        &mut self,
        key: &Key,
        version: Option<i64>,
        unless_above: Option<i64>,
    ) -> QueryResult<PutOutcome> {
        let fence = self.next_mark();
        let remove = Remove {
            key: key.encoded().as_bytes(),
            fence,
            version,
            now: millis(self.now),
            retain_until: self.retain_until,
            unless_above,
            floor: self.floor(key.namespace())?,
        };
        let outcome = remove.execute(self.connection).map(outcome)?;
        if outcome == PutOutcome::Stored {
            self.tell(log::KEY, key.encoded(), fence, 0)?;
        }
        Ok(outcome)
    }

    /// Everything below the new floor is dead at once. The sweeper takes it out later, beginning
    /// before the namespace's first key.
    fn clear(&mut self, namespace: &Namespace) -> QueryResult<PutOutcome> {
        let floor = self.next_mark();
        let before_all = format!("{namespace}:");
        let raise = RaiseFloor {
            namespace: namespace.as_str(),
            floor,
            retain_until: self.retain_until,
            sweep_from: Some(before_all.as_bytes()),
        };
        raise.execute(self.connection)?;
        self.floors.insert(namespace.as_str().to_owned(), floor);
        self.tell(log::CLEAR, namespace.as_str(), floor, 0)?;
        Ok(PutOutcome::Stored)
    }

    /// Appends a notice to the log, and takes old ones out once in a while.
    fn tell(&mut self, kind: i64, subject: &str, mark: i64, digest: u32) -> QueryResult<()> {
        let last = match self.last_notice {
            Some(last) => last,
            None => LogState {}.get_result::<(i64, i64, i64)>(self.connection)?.2,
        };
        let number = last + 1;
        let (at, digest) = (millis(self.now), i64::from(digest));
        Append { number, kind, subject, mark, at, digest }.execute(self.connection)?;
        self.last_notice = Some(number);
        if number % TRIM_STEP == 0 {
            Trim { to: number - self.notices_max }.execute(self.connection)?;
        }
        Ok(())
    }

    /// Pinned counts as high once too much is pinned.
    fn priority(&mut self, wanted: i64, record: &[u8]) -> QueryResult<i64> {
        if wanted != PINNED {
            return Ok(wanted);
        }
        let pinned: i64 = PinnedBytes {}.get_result(self.connection)?;
        let fits = pinned.unsigned_abs() + record.len() as u64 <= self.pinned_max;
        Ok(if fits { PINNED } else { PINNED - 1 })
    }

    fn end_of(&self, period: Duration) -> i64 {
        millis(self.now.after(period))
    }

    /// A mark above all marks so far. One that a refused write does not use is lost, which harms
    /// nobody.
    fn next_mark(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn floor(&mut self, namespace: &str) -> QueryResult<i64> {
        if let Some(floor) = self.floors.get(namespace) {
            return Ok(*floor);
        }
        let floor = Floor { namespace }.get_result(self.connection).optional()?.unwrap_or(0);
        self.floors.insert(namespace.to_owned(), floor);
        Ok(floor)
    }
}

/// A guarded statement changes its one row, or none.
fn outcome(rows: usize) -> PutOutcome {
    if rows == 0 { PutOutcome::Superseded } else { PutOutcome::Stored }
}
