//! A shared tier's server, as the simulation has it: one state that every node sees, which can
//! stop, freeze, forget and come back with what it had some time ago.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use cache_core::{
    Author, Change, Clock, Condition, Entry, Error, ErrorKind, Fence, Key, LeaseToken, Lookup,
    Namespace, Notice, PAYLOAD_LEN_MAX, Page, Position, Put, PutOutcome, Removal, Result,
    Timestamp, Version,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use crate::{broken::Defect, gate::Gate};

/// The state of one shared tier. Everything in it happens at once: what is between two calls is the
/// business of the [`Link`](crate::link::Link) that carries them.
pub struct Store {
    name: Arc<str>,
    /// How long a moved fence is remembered.
    retention: Duration,
    /// The server's own clock, which only its retention goes by. Whether an entry has expired is
    /// asked of the node that reads, as in the real tiers.
    clock: Arc<dyn Clock>,
    defect: Option<Defect>,
    state: Mutex<State>,
    condition: Gate<Health>,
    /// How many changes its log keeps; nothing: it has none.
    log_len: Option<usize>,
    appended: Notify,
    leases: Mutex<BTreeMap<Key, Held>>,
    released: Notify,
}

/// A lease that somebody has.
#[derive(Clone, Copy)]
struct Held {
    token: LeaseToken,
    /// By the server's clock.
    until: Timestamp,
}

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It is not there: calls fail at once.
    Down,
    /// It has stopped where it stood: what it is sent it carries out when it goes on.
    Frozen,
    /// It answers reads only.
    ReadOnly,
    /// It takes no more puts.
    Full,
}

struct State {
    shelf: Shelf,
    snapshot: Option<Shelf>,
    /// Which run of the server this is.
    run: u64,
}

/// What a restart with an old snapshot brings back.
#[derive(Clone, Default)]
struct Shelf {
    /// The run of the server whose data these are, as the data themselves say.
    run: u64,
    mark: u64,
    records: BTreeMap<Key, Record>,
    /// The marks at which namespaces were cleared.
    floors: BTreeMap<String, u64>,
    /// The mark at which everything was.
    base: u64,
    log: VecDeque<Notice>,
    /// The number of the log's last notice.
    log_end: u64,
}

#[derive(Clone)]
struct Record {
    mark: u64,
    version: Option<Version>,
    entry: Option<Entry>,
    /// By the server's clock: from then on nothing needs to be remembered of a dead record.
    forget_at: Timestamp,
}

impl Store {
    /// An empty server.
    #[must_use]
    pub fn new(
        name: &str,
        retention: Duration,
        clock: Arc<dyn Clock>,
        defect: Option<Defect>,
        log_len: Option<usize>,
    ) -> Self {
        let state = State { shelf: Shelf::default(), snapshot: None, run: 0 };
        let condition = Gate::new(Health::Serving);
        let (name, state) = (name.into(), Mutex::new(state));
        let (appended, leases, released) = (Notify::new(), Mutex::default(), Notify::new());
        Self {
            name,
            retention,
            clock,
            defect,
            state,
            condition,
            log_len,
            appended,
            leases,
            released,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How long a moved fence is remembered.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.retention
    }

    /// How it is now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.condition.get()
    }

    /// How it is from now on.
    pub fn set_health(&self, health: Health) {
        self.condition.set(health);
    }

    /// Waits while it is frozen.
    pub async fn thaw(&self) {
        self.condition.wait_for(|health| health != Health::Frozen).await;
    }

    /// Keeps what it holds now, for [`Restart::Snapshot`].
    pub fn take_snapshot(&self) {
        let mut state = self.state.lock();
        state.snapshot = Some(state.shelf.clone());
    }

    /// Ends its run and begins another.
    pub fn restart(&self, restart: Restart) {
        let mut state = self.state.lock();
        state.run += 1;
        self.leases.lock().clear();
        let kept = match restart {
            Restart::Empty => Shelf { run: u64::MAX, ..Shelf::default() },
            Restart::Snapshot => state.snapshot.clone().unwrap_or_default(),
        };
        state.shelf = kept;
        if self.defect == Some(Defect::UnnoticedLoss) {
            state.shelf.run = state.run;
        } else {
            // Marks of this run are above all that any reader has seen of an earlier one.
            state.shelf.mark = state.run << 32;
        }
    }

    /// Answers reads of `keys` by a node whose clock says `now`.
    ///
    /// # Errors
    ///
    /// When it is down or has lost data.
    pub fn get(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Lookup>> {
        self.check(Kind::Read)?;
        let state = self.state.lock();
        Ok(keys.iter().map(|key| state.shelf.look_up(key, now, self.clock.now())).collect())
    }

    /// Carries out the first `count` of `puts`.
    ///
    /// # Errors
    ///
    /// When it is down, read-only or full, or has lost data.
    pub fn put(&self, puts: &[Put], count: usize, now: Timestamp) -> Result<Vec<PutOutcome>> {
        self.check(Kind::Put)?;
        let mut state = self.state.lock();
        let outcomes = puts.iter().take(count).map(|put| {
            let outcome = state.shelf.put(put, self.clock.now(), self.retention);
            let changes = matches!(outcome, PutOutcome::Stored | PutOutcome::TooLarge);
            if put.condition == Condition::Always && changes {
                let change = Change::Key(put.key.clone());
                self.append(&mut state.shelf, change, now, put.entry.digest());
            }
            outcome
        });
        Ok(outcomes.collect())
    }

    /// Carries out the first `count` of `removals`.
    ///
    /// # Errors
    ///
    /// When it is down or read-only, or has lost data.
    pub fn remove(&self, removals: &[Removal], count: usize, now: Timestamp) -> Result<()> {
        self.check(Kind::Removal)?;
        let mut state = self.state.lock();
        for removal in removals.iter().take(count) {
            state.shelf.remove(removal, self.clock.now(), self.retention, self.defect);
            self.append(&mut state.shelf, Change::Key(removal.key.clone()), now, 0);
        }
        Ok(())
    }

    /// Forgets a namespace.
    ///
    /// # Errors
    ///
    /// When it is down or read-only, or has lost data.
    pub fn clear(&self, namespace: &Namespace, now: Timestamp) -> Result<()> {
        self.check(Kind::Removal)?;
        let mut state = self.state.lock();
        let floor = state.shelf.next();
        state.shelf.floors.insert(namespace.as_str().to_owned(), floor);
        state.shelf.records.retain(|key, _| key.namespace() != namespace.as_str());
        self.append(&mut state.shelf, Change::Clear(namespace.clone()), now, 0);
        Ok(())
    }

    /// Whether it keeps a log.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.log_len.is_some()
    }

    /// Appends a change that has got the last mark.
    fn append(&self, shelf: &mut Shelf, change: Change, at: Timestamp, digest: u32) {
        let Some(log_len) = self.log_len else { return };
        let author = Author::Cache;
        shelf.log.push_back(Notice { change, mark: shelf.mark, at, author, digest });
        shelf.log_end += 1;
        if shelf.log.len() > log_len {
            shelf.log.pop_front();
        }
        self.appended.notify_waiters();
    }

    /// Where the log ends.
    ///
    /// # Errors
    ///
    /// When it is down or has lost data.
    pub fn log_end(&self) -> Result<Position> {
        self.check(Kind::Read)?;
        Ok(self.state.lock().shelf.position())
    }

    /// What was appended after `after`.
    ///
    /// # Errors
    ///
    /// When it is down or has lost data.
    pub fn log_page(&self, after: &Position) -> Result<Page> {
        self.check(Kind::Read)?;
        let state = self.state.lock();
        let shelf = &state.shelf;
        let first = shelf.log_end - shelf.log.len() as u64;
        let known = after.as_str().split_once('-').and_then(|(run, number)| {
            let number = number.parse().ok()?;
            let is_known =
                run.parse() == Ok(shelf.run) && (first..=shelf.log_end).contains(&number);
            is_known.then_some(number)
        });
        let skipped = usize::try_from(known.unwrap_or(first) - first).expect("a log is short");
        let notices = shelf.log.iter().skip(skipped).cloned().collect();
        Ok(Page { notices, next: shelf.position(), gap: known.is_none() })
    }

    /// Puts a sign of life into the log.
    ///
    /// # Errors
    ///
    /// When it takes no writes.
    pub fn beat(&self, now: Timestamp) -> Result<()> {
        self.check(Kind::Put)?;
        self.append(&mut self.state.lock().shelf, Change::Beat, now, 0);
        Ok(())
    }

    /// Becomes ready when something is appended from now on.
    pub fn appended(&self) -> Notified<'_> {
        self.appended.notified()
    }

    /// Gives the lease of `key` to `token`, or to nobody while somebody has it.
    ///
    /// # Errors
    ///
    /// When it takes no writes.
    pub fn acquire(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        self.check(Kind::Put)?;
        let (mut leases, now) = (self.leases.lock(), self.clock.now());
        let is_held = leases.get(key).is_some_and(|held| now < held.until);
        if !is_held {
            leases.insert(key.clone(), Held { token, until: now.after(period) });
        }
        Ok(!is_held)
    }

    /// Renews a lease, if it is still `token`'s.
    ///
    /// # Errors
    ///
    /// When it takes no writes.
    pub fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        self.check(Kind::Put)?;
        let (mut leases, now) = (self.leases.lock(), self.clock.now());
        let own = leases.get_mut(key).filter(|held| held.token == token && now < held.until);
        Ok(own.map(|held| held.until = now.after(period)).is_some())
    }

    /// Ends a lease, if it is still `token`'s.
    ///
    /// # Errors
    ///
    /// When it takes no writes.
    pub fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        self.check(Kind::Put)?;
        let mut leases = self.leases.lock();
        if leases.get(key).is_some_and(|held| held.token == token) {
            leases.remove(key);
            self.released.notify_waiters();
        }
        Ok(())
    }

    /// For how long the lease of `key` is still somebody's.
    ///
    /// # Errors
    ///
    /// When it is down or has lost data.
    pub fn held_for(&self, key: &Key) -> Result<Duration> {
        self.check(Kind::Read)?;
        let held = self.leases.lock().get(key).copied();
        Ok(held.map_or(Duration::ZERO, |held| held.until.since(self.clock.now())))
    }

    /// Becomes ready when a lease ends before its time from now on.
    pub fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    /// Whether it answers.
    ///
    /// # Errors
    ///
    /// When it is down or has lost data.
    pub fn ping(&self) -> Result<()> {
        self.check(Kind::Read)
    }

    fn check(&self, kind: Kind) -> Result<()> {
        let fault = |kind, what| Err(Error::new(kind, format!("{} {what}", self.name)));
        match (self.health(), kind) {
            (Health::Down, _) => return fault(ErrorKind::Unavailable, "is down"),
            (Health::ReadOnly, Kind::Put | Kind::Removal) => {
                return fault(ErrorKind::ReadOnly, "is read-only");
            }
            (Health::Full, Kind::Put) => return fault(ErrorKind::Full, "is full"),
            _ => {}
        }
        let mut state = self.state.lock();
        if state.shelf.run == state.run {
            return Ok(());
        }
        // The data say that they are another run's: whoever sees it first gives them up, and
        // refuses every fill whose fence was read before.
        let (run, mark) = (state.run, state.shelf.next());
        state.shelf = Shelf { run, mark, base: mark, ..Shelf::default() };
        fault(ErrorKind::LostData, "has lost data")
    }
}

/// With what a server comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// With nothing.
    Empty,
    /// With what it had at its last snapshot.
    Snapshot,
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Put,
    Removal,
}

impl Shelf {
    fn look_up(&self, key: &Key, now: Timestamp, server: Timestamp) -> Lookup {
        let live = self.live(key, server);
        let mark = live.map_or(0, |record| record.mark).max(self.floor(key));
        let entry = live.and_then(|record| record.entry.clone());
        let entry = entry.filter(|entry| !entry.is_expired(now));
        Lookup { entry, fence: Fence::mark(mark), corrupt: None }
    }

    fn put(&mut self, put: &Put, server: Timestamp, retention: Duration) -> PutOutcome {
        let Put { key, entry, condition } = put;
        let live = self.live(key, server);
        let known = live.and_then(|record| record.version);
        let stands_at = live.map_or(0, |record| record.mark).max(self.floor(key));
        let kept_until = live.map_or(server, |record| record.forget_at);
        let (mark, forget_at) = match condition {
            Condition::Always => (None, server.after(retention)),
            Condition::Unmoved(fence) => {
                let Some(seen) = fence.as_mark() else { return PutOutcome::Skipped };
                if stands_at > seen {
                    return PutOutcome::Superseded;
                }
                (Some(stands_at), kept_until)
            }
        };
        if entry.is_older_than(known) {
            return PutOutcome::Superseded;
        }
        let fits = entry.payload.len() <= PAYLOAD_LEN_MAX;
        if mark.is_some() && !fits {
            return PutOutcome::TooLarge;
        }
        let mark = mark.unwrap_or_else(|| self.next());
        let (version, entry) = (entry.version, fits.then(|| entry.clone()));
        self.records.insert(key.clone(), Record { mark, version, entry, forget_at });
        if fits { PutOutcome::Stored } else { PutOutcome::TooLarge }
    }

    fn remove(
        &mut self,
        Removal { key, version }: &Removal,
        server: Timestamp,
        retention: Duration,
        defect: Option<Defect>,
    ) {
        let live = self.live(key, server);
        let known = live.and_then(|record| record.version);
        let stood_at = live.map_or(0, |record| record.mark);
        let mark = if defect == Some(Defect::NoTombstone) { stood_at } else { self.next() };
        let version = known.max(*version);
        let forget_at = server.after(retention);
        self.records.insert(key.clone(), Record { mark, version, entry: None, forget_at });
    }

    /// What is remembered of a key: a record that has an entry, or has moved not long ago. The
    /// rest is forgotten as early as a tier may.
    fn live(&self, key: &Key, server: Timestamp) -> Option<&Record> {
        let record = self.records.get(key)?;
        let has_entry = record.entry.as_ref().is_some_and(|entry| !entry.is_expired(server));
        let remembered = has_entry || server < record.forget_at;
        (remembered && record.mark >= self.floor(key)).then_some(record)
    }

    fn position(&self) -> Position {
        Position::new(&format!("{}-{}", self.run, self.log_end))
    }

    fn floor(&self, key: &Key) -> u64 {
        self.floors.get(key.namespace()).copied().unwrap_or(0).max(self.base)
    }

    fn next(&mut self) -> u64 {
        self.mark += 1;
        self.mark
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("name", &self.name).finish_non_exhaustive()
    }
}
