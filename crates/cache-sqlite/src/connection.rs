//! One open connection: how the file is opened, and how transactions are carried out on it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cache_core::{Error, ErrorKind, Result};
use diesel::{
    Connection as _, QueryResult, RunQueryDsl,
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
    sqlite::SqliteConnection,
};

use crate::{
    error::{Doing, explain, is_locked},
    migrate::{self, State},
    place::Place,
    sql::{JournalMode, LastMark},
};

/// How long SQLite itself waits for a writer's lock at a time. Its pauses grow to 100 ms, too long
/// to find the gaps between another busy process's transactions; we ask again instead, and so its
/// pauses stay below this.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Pages that the writer keeps in memory, in KiB: the indexes of a middling file. A transaction that
/// does not fit is written twice.
const WRITER_CACHE_KIB: u32 = 16 << 10;

/// Pages that a reader keeps in memory, in KiB. They last until the next commit only.
const READER_CACHE_KIB: u32 = 4 << 10;

/// How long the log waits for readers to go on before it is emptied. Their snapshots are short.
const READERS_WAIT: Duration = Duration::from_millis(200);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Reader,
    Writer,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The operating system: a crash of the process loses nothing, a power cut may.
    Handed,
    /// The disk: nothing loses anything.
    Synced,
}

pub(crate) struct Connection {
    inner: SqliteConnection,
    place: Arc<Place>,
    role: Role,
    commit: Commit,
    /// The write-ahead log is written back when it is longer than this.
    log_len_due: u64,
}

impl Connection {
    /// Opens the file; a writer makes or brings up its tables.
    pub(crate) fn open(place: Arc<Place>, role: Role) -> Result<Self> {
        let inner = SqliteConnection::establish(&place.url).map_err(|fault| {
            let fault = diesel::result::Error::QueryBuilderError(fault.to_string().into());
            explain(&place.path, Doing::Open, fault)
        })?;
        let log_len_due = place.log_len_max;
        let mut connection = Self { inner, place, role, commit: Commit::Handed, log_len_due };
        connection.set_up().map_err(|fault| connection.explain(Doing::Open, fault))?;
        if role == Role::Writer {
            connection.bring_up()?;
            let result = connection.set_busy_timeout(LOCK_POLL.min(connection.place.busy_timeout));
            result.map_err(|fault| connection.explain(Doing::Open, fault))?;
        }
        Ok(connection)
    }

    /// Begins to read: everything that is committed by now, and nothing that comes later.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot<'_>> {
        // A snapshot begins with its first read. If a lock is in the way, better here than at each
        // of the reads that follow.
        let result = begin(&mut self.inner, "BEGIN")
            .and_then(|()| LastMark {}.get_result::<i64>(&mut self.inner));
        match result {
            Ok(_) => Ok(Snapshot(self)),
            Err(fault) => {
                self.roll_back();
                Err(self.recover(Doing::Read, fault))
            }
        }
    }

    /// Reads with one statement.
    pub(crate) fn look<T>(
        &mut self,
        query: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        query(&mut self.inner).map_err(|fault| self.explain(Doing::Read, fault))
    }

    /// Writes, in one transaction, as soon as no other process does.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        // The lock comes first: a transaction that began with a read could be refused it for good.
        self.locked(Doing::Write, "BEGIN IMMEDIATE", work)
    }

    /// Chooses what the next commits wait for.
    pub(crate) fn set_commit(&mut self, commit: Commit) -> Result<()> {
        if self.commit == commit {
            return Ok(());
        }
        self.commit = commit;
        let result = self.synchronous();
        result.map_err(|fault| self.explain(Doing::Write, fault))
    }

    /// Writes the write-ahead log back when it has grown long.
    ///
    /// SQLite would do so by itself after a commit, but goes no further than the oldest reader's
    /// snapshot: while readers follow each other without a gap it tries after every commit, with
    /// two waits for the disk each, and the log only grows.
    pub(crate) fn keep_log_short(&mut self) {
        if self.place.log_len() > self.log_len_due {
            self.empty_log();
        }
    }

    /// Writes the write-ahead log back and empties it, once no reader needs it any more.
    pub(crate) fn empty_log(&mut self) {
        let result = self
            .set_busy_timeout(READERS_WAIT)
            .and_then(|()| self.inner.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)"));
        if let Err(fault) =
            result.and(self.set_busy_timeout(LOCK_POLL.min(self.place.busy_timeout)))
        {
            let path = self.place.path.display();
            tracing::warn!(%path, %fault, "could not write the log of the SQLite file back");
        }
        // A reader of another process that stays must not make every commit wait for it.
        self.log_len_due = self.place.log_len() + self.place.log_len_max;
    }

    /// Makes the tables, or brings them up, and has commits go through a write-ahead log.
    fn bring_up(&mut self) -> Result<()> {
        let place = Arc::clone(&self.place);
        if migrate::examine(&mut self.inner, &place.path)? != State::Ready {
            // Counts only while a file has no table yet.
            self.inner
                .batch_execute("PRAGMA auto_vacuum = INCREMENTAL")
                .map_err(|fault| self.explain(Doing::Open, fault))?;
            // Another process may have been faster, so the file is looked at again under the lock.
            self.locked(Doing::Open, "BEGIN EXCLUSIVE", |inner| {
                Ok(match migrate::examine(inner, &place.path) {
                    Ok(State::Behind(from)) => Ok(migrate::bring_up(inner, from)?),
                    Ok(State::Ready) => Ok(()),
                    Err(error) => Err(error),
                })
            })??;
        }
        // Two processes that open a new file at once are in each other's way for a moment.
        let wal = "PRAGMA journal_mode = WAL";
        let mode: String = patiently(place.busy_timeout, || self.inner.batch_execute(wal))
            .and_then(|()| JournalMode {}.get_result(&mut self.inner))
            .map_err(|fault| self.explain(Doing::Open, fault))?;
        if mode == "wal" {
            return Ok(());
        }
        let path = place.path.display();
        let fault = format!("the SQLite file {path} cannot have a write-ahead log");
        Err(Error::new(ErrorKind::Config, fault)
            .hint("name a file on a disk of this machine in `sqlite.path`"))
    }

    /// Carries out a transaction that begins with a lock, once no other process holds it.
    fn locked<T>(
        &mut self,
        doing: Doing,
        begin_sql: &str,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        let result = patiently(self.place.busy_timeout, || begin(&mut self.inner, begin_sql))
            .and_then(|()| self.finish(work));
        result.map_err(|fault| self.recover(doing, fault))
    }

    /// Carries out the transaction that has begun, as a whole or not at all.
    fn finish<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        let result = work(&mut self.inner).and_then(|done| {
            AnsiTransactionManager::commit_transaction(&mut self.inner).map(|()| done)
        });
        if result.is_err() {
            self.roll_back();
        }
        result
    }

    /// Ends a transaction that met a fault. After some faults SQLite has rolled back by itself,
    /// and this has nothing left to do and says so; the first fault is the one to tell.
    fn roll_back(&mut self) {
        let _ = AnsiTransactionManager::rollback_transaction(&mut self.inner);
    }

    fn recover(&mut self, doing: Doing, fault: diesel::result::Error) -> Error {
        self.replace_if_broken();
        self.explain(doing, fault)
    }

    /// A connection whose transaction can be neither carried out nor rolled back is of no more use.
    fn replace_if_broken(&mut self) {
        if AnsiTransactionManager::is_broken_transaction_manager(&mut self.inner)
            && let Ok(fresh) = Self::open(Arc::clone(&self.place), self.role)
        {
            *self = fresh;
        }
    }

    fn explain(&self, doing: Doing, fault: diesel::result::Error) -> Error {
        explain(&self.place.path, doing, fault)
    }

    fn set_up(&mut self) -> QueryResult<()> {
        self.set_busy_timeout(self.place.busy_timeout)?;
        // A file from elsewhere must not run functions out of its schema.
        self.inner.batch_execute("PRAGMA trusted_schema = FALSE")?;
        // `keep_log_short` does it.
        self.inner.batch_execute("PRAGMA wal_autocheckpoint = 0")?;
        let cache = match self.role {
            Role::Reader => READER_CACHE_KIB,
            Role::Writer => WRITER_CACHE_KIB,
        };
        self.inner.batch_execute(&format!("PRAGMA cache_size = -{cache}"))?;
        self.synchronous()?;
        if self.role == Role::Reader {
            self.inner.batch_execute("PRAGMA query_only = TRUE")?;
        }
        Ok(())
    }

    fn set_busy_timeout(&mut self, limit: Duration) -> QueryResult<()> {
        self.inner.batch_execute(&format!("PRAGMA busy_timeout = {}", limit.as_millis()))
    }

    fn synchronous(&mut self) -> QueryResult<()> {
        self.inner.batch_execute(match self.commit {
            Commit::Handed => "PRAGMA synchronous = NORMAL",
            Commit::Synced => "PRAGMA synchronous = FULL",
        })
    }
}

/// A moment of the file. Ends when it is dropped.
pub(crate) struct Snapshot<'c>(&'c mut Connection);

impl Snapshot<'_> {
    pub(crate) fn query<T>(
        &mut self,
        query: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        let result = query(&mut self.0.inner);
        result.map_err(|fault| self.0.explain(Doing::Read, fault))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.0.roll_back();
        self.0.replace_if_broken();
    }
}

fn begin(connection: &mut SqliteConnection, sql: &str) -> QueryResult<()> {
    AnsiTransactionManager::begin_transaction_sql(connection, sql)
}

/// Tries until no other connection is in the way, for `limit` at most.
fn patiently<T>(limit: Duration, mut attempt: impl FnMut() -> QueryResult<T>) -> QueryResult<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(fault) if is_locked(&fault) && started.elapsed() < limit => {
                // Where SQLite does not wait by itself.
                thread::sleep(Duration::from_micros(500));
            }
            result => return result,
        }
    }
}
