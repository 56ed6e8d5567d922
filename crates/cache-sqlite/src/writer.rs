//! The thread that writes.

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cache_core::{Clock, ErrorKind, PutOutcome, Ranking, ReadNotes, Result};
use tokio::{runtime::Builder, sync::mpsc, time::timeout};

use crate::{
    apply::{Change, Transaction},
    bells::Bells,
    config::{SqliteConfig, SqliteDurability},
    connection::{Commit, Connection},
    room::{self, Room},
    sweep,
    worker::Reply,
};

/// The most requests that one transaction carries out.
const BATCH_LEN_MAX: usize = 256;

/// The most bytes of values that one transaction gathers, so that file and log stay near their
/// bounds; a single larger request still has one of its own.
pub(crate) const BATCH_BYTES_MAX: u64 = 1 << 20;

/// The most steps that a write makes room for. What is owed after them is left to the next write or
/// sweep, so that a bound that was lowered does not stop everybody for long.
const ROOM_STEPS_MAX: usize = 64;

/// How often notes on reads are written down.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// How long this process writes without a pause.
const STINT: Duration = Duration::from_millis(50);

/// The pause after a stint. SQLite's lock has no queue: without a pause other processes might not
/// find a gap between two transactions before their time is up.
const PAUSE: Duration = Duration::from_millis(1);

/// What the writer is asked.
#[derive(Debug)]
pub(crate) enum Write {
    /// Carry out changes, in their order.
    Changes(Vec<Change>, Reply<Vec<PutOutcome>>),
    /// Take out what can go, all of it.
    Sweep(Reply<u64>),
    /// Have no more than a share of the bounds used, until told otherwise.
    Shrink(f64, Reply<u64>),
    /// Finish what has been asked, and end.
    Close,
}

/// Whether there is no more than there may be, or nothing that could go.
enum Progress {
    Done,
    More,
}

/// Changes that are waited for.
#[derive(Debug)]
struct Job {
    changes: Vec<Change>,
    reply: Reply<Vec<PutOutcome>>,
}

pub(crate) struct Writer {
    connection: Connection,
    clock: Arc<dyn Clock>,
    durability: SqliteDurability,
    fence_retention: Duration,
    sweep_interval: Duration,
    notices_max: i64,
    bells: Arc<Bells>,
    room: Room,
    notes: Arc<ReadNotes<i64>>,
    /// When notes on reads are written down next.
    note_at: Instant,
    /// When the next step of a sweep is due.
    sweep_at: Instant,
    /// Who waits until there is no more than there may be, and what was evicted meanwhile.
    shrinkers: Vec<Reply<u64>>,
    shrunk: u64,
    /// Whether something was evicted since there was room the last time.
    evicted: bool,
    /// Who waits for the sweep that is under way, and what it has taken out.
    sweepers: Vec<Reply<u64>>,
    swept: u64,
    /// Since when this thread has written without a pause.
    stint: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        clock: Arc<dyn Clock>,
        config: &SqliteConfig,
        notes: Arc<ReadNotes<i64>>,
        bells: Arc<Bells>,
    ) -> Self {
        Self {
            connection,
            clock,
            durability: config.durability,
            fence_retention: config.fence_retention.0,
            sweep_interval: config.sweep_interval.0,
            notices_max: config.notices_max(),
            bells,
            room: Room::new(config.bytes_max.as_u64(), config.entries_max, config.eviction),
            notes,
            note_at: Instant::now() + NOTE_INTERVAL,
            sweep_at: Instant::now() + config.sweep_interval.0,
            shrinkers: Vec::new(),
            shrunk: 0,
            evicted: false,
            sweepers: Vec::new(),
            swept: 0,
            stint: None,
        }
    }

    /// Serves requests until the queue is closed or all callers have gone.
    pub(crate) fn serve(mut self, mut queue: mpsc::Receiver<Write>) {
        // This thread's own: it lets the wait for a request end when a sweep is due.
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        loop {
            let first = match queue.try_recv() {
                Ok(first) => Some(first),
                Err(_) if !self.shrinkers.is_empty() => None,
                Err(_) => {
                    self.stint = None;
                    let due = self.sweep_at.min(self.note_at);
                    let idle = due.saturating_duration_since(Instant::now());
                    match runtime.block_on(async { timeout(idle, queue.recv()).await }) {
                        Ok(None) => break,
                        Ok(first) => first,
                        Err(_) => None,
                    }
                }
            };
            let worked = first.is_some();
            if let Some(first) = first {
                let jobs = self.gather(first, &mut queue);
                self.carry_out(jobs);
            }
            if worked || !self.shrinkers.is_empty() {
                self.make_room();
                self.connection.keep_log_short();
            }
            if self.note_at <= Instant::now() {
                self.write_notes();
            }
            if self.sweep_at <= Instant::now() {
                self.make_room();
                self.sweep();
            }
            self.pause();
        }
        self.connection.empty_log();
    }

    /// Takes the changes that are there with the first request, up to the limits.
    fn gather(&mut self, first: Write, queue: &mut mpsc::Receiver<Write>) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Write::Changes(changes, reply) => {
                    bytes += changes.iter().map(Change::len).sum::<u64>();
                    jobs.push(Job { changes, reply });
                }
                Write::Sweep(reply) => {
                    self.sweepers.push(reply);
                    self.sweep_at = Instant::now();
                }
                Write::Shrink(share, reply) => {
                    self.room.set_share(share);
                    self.shrinkers.push(reply);
                }
                Write::Close => queue.close(),
            }
            let full = jobs.len() >= BATCH_LEN_MAX || bytes >= BATCH_BYTES_MAX;
            next = if full { None } else { queue.try_recv().ok() };
        }
        jobs
    }

    /// Carries jobs out in one transaction and answers them. When it fails each is tried alone, so
    /// that one that cannot be carried out harms itself only.
    fn carry_out(&mut self, jobs: Vec<Job>) {
        let alone = jobs.len() == 1;
        match self.commit(&jobs) {
            Ok(outcomes) => {
                self.ring(&jobs);
                for (job, outcomes) in jobs.into_iter().zip(outcomes) {
                    let _ = job.reply.send(Ok(outcomes));
                }
            }
            Err(error) if !alone && may_be_of_one(error.kind()) => {
                for job in jobs {
                    self.carry_out(vec![job]);
                }
            }
            Err(error) => {
                for job in jobs {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Wakes those who wait for what has been committed.
    fn ring(&self, jobs: &[Job]) {
        let changes = || jobs.iter().flat_map(|job| &job.changes);
        if changes().any(Change::is_told) {
            self.bells.ring_notices();
        }
        for change in changes() {
            if let Change::Release { key, .. } = change {
                self.bells.ring_release(key);
            }
        }
    }

    fn commit(&mut self, jobs: &[Job]) -> Result<Vec<Vec<PutOutcome>>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let said = jobs.iter().flat_map(|job| &job.changes).any(Change::is_of_a_caller);
        let synced = said || self.durability == SqliteDurability::Full;
        self.connection.set_commit(if synced { Commit::Synced } else { Commit::Handed })?;
        let now = self.clock.now();
        let retain_until = now.after(self.fence_retention);
        let notices_max = self.notices_max;
        let Self { connection, room, .. } = self;
        connection.write(|connection| {
            let mut transaction =
                Transaction::new(connection, now, retain_until, notices_max, room)?;
            let outcomes = jobs
                .iter()
                .map(|job| job.changes.iter().map(|change| transaction.apply(change)).collect())
                .collect::<diesel::QueryResult<_>>()?;
            transaction.finish()?;
            Ok(outcomes)
        })
    }

    /// By what values go.
    pub(crate) fn ranking(&self) -> Ranking {
        self.room.ranking()
    }

    /// Writes down which values were read. They are hints: a fault costs only them.
    fn write_notes(&mut self) {
        self.note_at = Instant::now() + NOTE_INTERVAL;
        let notes = self.notes.take();
        if notes.is_empty() {
            return;
        }
        if let Err(error) = self.connection.write(|connection| room::note(connection, &notes)) {
            tracing::debug!(%error, "could not note which values of the SQLite file were read");
        }
    }

    /// Keeps the file within its bounds. The writes that took it there have been answered: a fault here is theirs no more, and the next write tries again.
    fn make_room(&mut self) {
        let result = self.step_down();
        if matches!(result, Ok(Progress::Done)) && self.evicted {
            let Self { connection, room, .. } = self;
            self.evicted = connection.look(|connection| room.settle(connection)).is_err();
        }
        if let Err(error) = &result {
            tracing::warn!(%error, "could not make room in the SQLite file");
        }
        if !matches!(result, Ok(Progress::More)) {
            let answer = result.map(|_| self.shrunk);
            self.shrunk = 0;
            for reply in mem::take(&mut self.shrinkers) {
                let _ = reply.send(answer.clone());
            }
        }
    }

    fn step_down(&mut self) -> Result<Progress> {
        let room = &self.room;
        let mut owed = self.connection.look(|connection| room.owed(connection))?;
        if owed.is_reached() {
            return Ok(Progress::Done);
        }
        // What was read just now counts.
        self.write_notes();
        let Self { connection, room, .. } = self;
        for _ in 0..ROOM_STEPS_MAX {
            if owed.is_reached() {
                let room = &*room;
                owed = connection.look(|connection| room.owed(connection))?;
                if owed.is_reached() {
                    return Ok(Progress::Done);
                }
            }
            let now = self.clock.now();
            let retain_until = now.after(self.fence_retention);
            let step =
                connection.write(|connection| room.step(connection, owed, now, retain_until))?;
            connection.keep_log_short();
            if step.is_in_vain() {
                return Ok(Progress::Done);
            }
            self.shrunk += step.evicted;
            self.evicted |= step.evicted > 0;
            owed = owed.after(step.bytes, step.entries);
        }
        Ok(Progress::More)
    }

    /// One step of a sweep. The next one follows at once, after the requests that have come
    /// meanwhile, until there is nothing more.
    fn sweep(&mut self) {
        let now = self.clock.now();
        let step = self.connection.write(|connection| sweep::step(connection, now));
        let result = match step {
            Ok(step) => {
                self.swept += step.entries;
                if step.more {
                    return;
                }
                Ok(self.swept)
            }
            Err(error) => {
                tracing::warn!(%error, "could not sweep the SQLite file");
                Err(error)
            }
        };
        // Pages that were given back leave the file only when the log is written back.
        self.connection.empty_log();
        self.sweep_at = Instant::now() + self.sweep_interval;
        self.swept = 0;
        for reply in mem::take(&mut self.sweepers) {
            let _ = reply.send(result.clone());
        }
    }

    /// Lets other processes have the lock once a stint.
    fn pause(&mut self) {
        let started = *self.stint.get_or_insert_with(Instant::now);
        if started.elapsed() >= STINT {
            thread::sleep(PAUSE);
            self.stint = None;
        }
    }
}

/// Whether a transaction may fail with this because of one of its changes.
fn may_be_of_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Full | ErrorKind::Internal)
}
