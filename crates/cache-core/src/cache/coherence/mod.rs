//! Keeps the copies of this process in step with what others change.
//!
//! A cache follows the log of each of its tiers that has one. The topmost of these is the near
//! tier's: it tells of every change that a cache makes, soonest. The logs of lower tiers tell what
//! programs without a cache have changed there, and what a tier above has missed.

mod follow;
mod mend;
mod repair;

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{near::Provenance, shared::Shared};
use crate::{
    bus::Log,
    clock::Timestamp,
    entry::Entry,
    error::{Error, ErrorKind, Result},
    fence::Fence,
    key::Key,
    stack::Stack,
    stats::{LatencyHistogram, LatencySummary},
    tier::{Put, Scope, Tier},
};

/// How long the first calls wait for the logs. Servers that are away hold nobody up for longer.
const BEGIN_WITHIN: Duration = Duration::from_millis(20);

/// What the near tier does while this process cannot hear of the changes of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenCut {
    /// It goes on: what it holds may be older than what others have written, until its deadlines.
    /// Once the log is reached again it is brought up to date, or emptied.
    #[default]
    Serve,
    /// It is passed by: every read asks the tiers below.
    Bypass,
    /// Reads fail with [`ErrorKind::Unavailable`].
    Fail,
}

/// The longest that one reading of a log waits.
const LOG_WAIT_MAX: Duration = Duration::from_millis(400);

/// The shortest silence after which a process may count as cut off. A busy one does not get to
/// reading much sooner.
pub(super) const CUT_AFTER_MIN: Duration = Duration::from_millis(100);

/// What is known of the logs that a cache follows.
#[derive(Debug)]
pub(super) struct Coherence {
    when_cut: WhenCut,
    cut_after: Duration,
    /// The logs, of the topmost tier first.
    logs: Vec<Followed>,
    /// Until when calls wait for the logs: from the first call on.
    begin_by: OnceLock<Instant>,
    /// How many of the logs have been reached.
    begun: AtomicUsize,
    /// Wakes those who wait for that, in the order in which they came.
    all_begun: Notify,
    /// Inserts of this process that are on their way, by key and digest of the entry: their notices
    /// may come before they have ended.
    inserting: Mutex<HashSet<(Key, u32)>>,
    lag: Mutex<LatencyHistogram>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Followed {
    /// Of which tier of the stack.
    level: usize,
    log: Arc<dyn Log>,
    /// When the log was last read, whether or not it had anything new, in milliseconds.
    heard_at: AtomicU64,
}

impl Coherence {
    pub(super) fn new(
        stack: Option<&Stack>,
        now: Timestamp,
        when_cut: WhenCut,
        cut_after: Duration,
    ) -> Self {
        let tiers = stack.map(Stack::tiers).unwrap_or_default().iter().enumerate();
        let followed = |(level, tier): (usize, &Arc<dyn Tier>)| {
            Some(Followed { level, log: tier.log()?, heard_at: AtomicU64::new(now.as_millis()) })
        };
        Self {
            when_cut,
            cut_after,
            logs: tiers.filter_map(followed).collect(),
            begin_by: OnceLock::new(),
            begun: AtomicUsize::new(0),
            all_begun: Notify::new(),
            inserting: Mutex::default(),
            lag: Mutex::new(LatencyHistogram::new()),
            stop: CancellationToken::new(),
        }
    }

    /// How long one reading of a log waits for something new. An empty answer is a sign of life, of
    /// which there are to be some before this process counts as cut off.
    fn log_wait(&self) -> Duration {
        match self.when_cut {
            WhenCut::Serve => LOG_WAIT_MAX,
            WhenCut::Bypass | WhenCut::Fail => (self.cut_after / 3).min(LOG_WAIT_MAX),
        }
    }

    /// What the near tier is to know of a value for which tiers told these fences.
    pub(super) fn provenance(&self, fence_at: impl Fn(usize) -> Fence) -> Provenance {
        let seen = self.logs.first().and_then(|log| fence_at(log.level).as_mark());
        Provenance { seen: seen.unwrap_or(0), digest: 0 }
    }

    /// Adds what tells a value from others to the notices of lower logs, whose marks cannot be
    /// compared with those that its reader has seen.
    pub(super) fn with_digest(&self, provenance: Provenance, entry: &Entry) -> Provenance {
        let digest = if self.logs.len() > 1 { entry.digest() } else { 0 };
        Provenance { digest, ..provenance }
    }

    /// The digest of an entry that this process inserts, by which it will know the notice of it; 0
    /// where there is no log.
    pub(super) fn digest_of_insert(&self, entry: &Entry) -> u32 {
        if self.logs.is_empty() { 0 } else { entry.digest() }
    }

    /// Expects notices of these inserts, until the answer is dropped.
    pub(super) fn expect(&self, puts: &[Put]) -> Expected<'_> {
        if self.logs.is_empty() {
            return Expected { coherence: self, inserts: Vec::new() };
        }
        let digest = |put: &Put| (put.key.clone(), put.entry.digest());
        let inserts: Vec<_> = puts.iter().map(digest).collect();
        self.inserting.lock().extend(inserts.iter().cloned());
        Expected { coherence: self, inserts }
    }

    /// Whether this process is just about to insert what a notice tells of.
    fn expects(&self, key: &Key, digest: u32) -> bool {
        digest != 0 && self.inserting.lock().contains(&(key.clone(), digest))
    }

    /// Whether the near tier may answer at `now`.
    pub(super) fn allows_near(&self, now: Timestamp) -> bool {
        self.when_cut == WhenCut::Serve || !self.is_cut(now)
    }

    /// Fails when reads are to fail while this process is cut off.
    pub(super) fn check_read(&self, now: impl FnOnce() -> Timestamp) -> Result<()> {
        if self.when_cut != WhenCut::Fail || !self.is_cut(now()) {
            return Ok(());
        }
        let message = format!(
            "nothing was heard of other processes' changes for {:?}, and reads are to fail then",
            self.cut_after
        );
        Err(Error::new(ErrorKind::Unavailable, message)
            .hint("look at the tiers' servers, or choose `WhenCut::Bypass`"))
    }

    fn is_cut(&self, now: Timestamp) -> bool {
        // Every change passes the lowest tier first: its log tells of all that the others tell of.
        self.logs.last().is_some_and(|log| log.is_cut(now, self.cut_after))
    }

    /// How long changes took to be heard.
    pub(super) fn lag(&self) -> LatencySummary {
        self.lag.lock().summary()
    }

    /// Whether all logs have been reached.
    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.logs.len()
    }

    /// One more of the logs has been reached.
    fn note_begun(&self) {
        if self.begun.fetch_add(1, Ordering::AcqRel) + 1 == self.logs.len() {
            self.all_begun.notify_waiters();
        }
    }

    /// Hears of nothing any more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Inserts of this process that are on their way.
pub(super) struct Expected<'c> {
    coherence: &'c Coherence,
    inserts: Vec<(Key, u32)>,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if self.inserts.is_empty() {
            return;
        }
        let mut inserting = self.coherence.inserting.lock();
        for insert in &self.inserts {
            inserting.remove(insert);
        }
    }
}

impl Followed {
    fn is_cut(&self, now: Timestamp, cut_after: Duration) -> bool {
        now.since(Timestamp::from_millis(self.heard_at.load(Ordering::Relaxed))) > cut_after
    }
}

impl Drop for Coherence {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Begins to follow the logs, at the first call that goes beyond the near tier: there is
    /// nothing to be kept in step before that, and a runtime from then on. Waits a moment until
    /// they are reached, so that no copy is made that changes of that moment could make wrong.
    pub(super) async fn follow_logs(self: &Arc<Self>) {
        self.watch_pressure();
        if !self.coherence.has_begun() {
            // Boxed, as each later call would pay for the size of this future.
            Box::pin(self.begin_to_follow()).await;
        }
    }

    async fn begin_to_follow(self: &Arc<Self>) {
        let coherence = &self.coherence;
        let begin_by = *coherence.begin_by.get_or_init(|| {
            self.spawn_followers();
            Instant::now() + BEGIN_WITHIN
        });
        if Instant::now() >= begin_by {
            return;
        }
        // Made before the look, so that the last one cannot begin unnoticed between the two.
        let all = coherence.all_begun.notified();
        if coherence.has_begun() {
            return;
        }
        // Who gives up takes no harm: the near tier is emptied when a log is reached later.
        let _ = timeout_at(begin_by, all).await;
    }

    fn spawn_followers(self: &Arc<Self>) {
        let Some(stack) = &self.stack else { return };
        for (place, log) in self.coherence.logs.iter().enumerate() {
            let stop = self.coherence.stop.clone();
            let following = follow::follow(Arc::downgrade(self), place);
            tokio::spawn(async move { stop.run_until_cancelled(following).await });
            for upper in 0..log.level {
                if stack.tiers()[upper].info().scope > Scope::Process {
                    // What is copied there before its place in the log is kept would be compared by
                    // nobody.
                    stack.unwatched(upper);
                    let stop = self.coherence.stop.clone();
                    let repairing = repair::repair(Arc::downgrade(self), place, upper);
                    tokio::spawn(async move { stop.run_until_cancelled(repairing).await });
                }
            }
        }
    }
}
