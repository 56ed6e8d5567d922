//! What becomes of a write: the rules of fences and versions, within one transaction.

use std::collections::HashMap;

use cache_core::{Key, Namespace, PutOutcome, Timestamp, Version};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, sqlite::SqliteConnection};

use crate::{
    millis,
    room::ROW_BYTES,
    sql::{Fill, Floor, Insert, LastMark, RaiseFloor, Remove, SetLastMark},
};

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
    /// Nothing: refused before it came here. Keeps its place among the outcomes.
    Refused(PutOutcome),
}

/// An entry as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) version: Option<i64>,
    pub(crate) expires_at: i64,
    pub(crate) record: Vec<u8>,
}

impl Change {
    /// About how many bytes the change brings to the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Insert(stored) | Self::Fill(stored, _) => stored.record.len() as u64 + ROW_BYTES,
            Self::Oversized { .. } | Self::Remove { .. } | Self::Clear(_) => ROW_BYTES,
            Self::Refused(_) => 0,
        }
    }

    /// Whether the change must outlive a power cut in any mode: what was removed must not return.
    pub(crate) fn is_removal(&self) -> bool {
        matches!(self, Self::Oversized { .. } | Self::Remove { .. } | Self::Clear(_))
    }
}

/// A version as a column: a signed number of the same order.
pub(crate) fn version_column(version: Option<Version>) -> Option<i64> {
    version.map(Version::to_ordered_i64)
}

/// A transaction's view of the marks. Nobody else gives out any before it ends.
pub(crate) struct Transaction<'c> {
    connection: &'c mut SqliteConnection,
    now: i64,
    retain_until: i64,
    first: i64,
    last: i64,
    /// Floors that were looked up already.
    floors: HashMap<String, i64>,
}

impl<'c> Transaction<'c> {
    /// Begins to apply changes in a transaction that holds the writers' lock. Fences that move
    /// are remembered until `retain_until`.
    pub(crate) fn new(
        connection: &'c mut SqliteConnection,
        now: Timestamp,
        retain_until: Timestamp,
    ) -> QueryResult<Self> {
        let last = LastMark {}.get_result(connection)?;
        Ok(Self {
            connection,
            now: millis(now),
            retain_until: millis(retain_until),
            first: last,
            last,
            floors: HashMap::new(),
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

    fn insert(
        &mut self,
        Stored { key, version, expires_at, record }: &Stored,
    ) -> QueryResult<PutOutcome> {
        let insert = Insert {
            key: key.encoded().as_bytes(),
            fence: self.next_mark(),
            version: *version,
            expires_at: *expires_at,
            retain_until: self.retain_until,
            record,
            floor: self.floor(key.namespace())?,
        };
        insert.execute(self.connection).map(outcome)
    }

    fn fill(&mut self, stored: &Stored, seen: u64) -> QueryResult<PutOutcome> {
        let Stored { key, version, expires_at, record } = stored;
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
            record,
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
        let remove = Remove {
            key: key.encoded().as_bytes(),
            fence: self.next_mark(),
            version,
            now: self.now,
            retain_until: self.retain_until,
            unless_above,
            floor: self.floor(key.namespace())?,
        };
        remove.execute(self.connection).map(outcome)
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
        Ok(PutOutcome::Stored)
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
