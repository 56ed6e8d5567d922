//! A bounded, adaptive limit on the loads of one source at the same time.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

use crate::error::{Error, ErrorKind, Result};

/// A source counts as slow when its loads take this many times what they took at its best.
const SLOW_FACTOR: f64 = 2.0;

/// What is left of the limit when the source fails or is slow.
const SHRINK_FACTOR: f64 = 0.7;

/// The share of a round's loads that may fail, one in so many.
const FAILED_ONE_IN: usize = 10;

/// How much of the way the floor goes up to a round's mean. A source that has become slower for
/// good is the normal one after some dozens of rounds.
const FLOOR_DRIFT: f64 = 0.05;

/// Within what a [`LoadLimit`] finds its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimitConfig {
    /// The least limit, at least one: so many loads are always tried.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// The first.
    pub start: usize,
    /// Callers that wait for a permit. Whoever comes then fails at once.
    pub waiting_max: usize,
}

impl Default for LoadLimitConfig {
    fn default() -> Self {
        Self { min: 2, max: 256, start: 16, waiting_max: 4_096 }
    }
}

/// What a load is for. The order is the order in which waiting ones go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for the value. May use all of the limit.
    Miss,
    /// There is a value that is old. Starts while less than 80 % of the limit is in use.
    Refresh,
    /// Nobody has asked yet. Starts while less than 50 % of the limit is in use.
    Warm,
}

impl Priority {
    const ALL: [Self; 3] = [Self::Miss, Self::Refresh, Self::Warm];

    const fn percent(self) -> usize {
        match self {
            Self::Miss => 100,
            Self::Refresh => 80,
            Self::Warm => 50,
        }
    }
}

/// Bounds the loads that run at the same time, and finds out how many are good for the source.
///
/// Cheap to clone; clones are the same. One is shared by everything that loads from one source:
/// several caches, their refreshes, the warmer.
///
/// # How it adapts
///
/// Loads are looked at in rounds of as many as the limit allows at once. After a round whose mean
/// time is at most twice the least mean that was seen, and that has made use of the limit, it grows
/// by its square root. When a round is slower, or as soon as a tenth of one has failed, it shrinks
/// to 70 %: once a round, as loads that began before do not count any more. It stays between its
/// bounds, so a source that is out is still tried, by few.
///
/// # Order
///
/// Who waits is served in order of priority, and first come first served within one.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// use std::time::Duration;
/// use cache_core::{LoadLimit, LoadLimitConfig, Priority};
///
/// let limit = LoadLimit::new(LoadLimitConfig::default());
/// let permit = limit.acquire(Priority::Miss, Duration::from_millis(100)).await?;
/// let took = Duration::from_millis(300); // Of the load that ran meanwhile.
/// permit.succeeded(took);
/// assert_eq!(limit.stats().in_use, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LoadLimit(Arc<Mutex<State>>);

/// How a [`LoadLimit`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimitStats {
    /// Loads that may run at the same time now.
    pub limit: usize,
    /// Loads that run.
    pub in_use: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// Callers that got no permit so far.
    pub shed: u64,
}

/// The right to run one load. Dropped without a word it says nothing about the source.
#[derive(Debug)]
#[must_use = "the right ends when it is dropped"]
pub struct LoadPermit {
    limit: LoadLimit,
    /// How often the limit had shrunk before.
    shrunk: u64,
    outcome: Outcome,
}

impl LoadLimit {
    /// A limit that starts where `config` says. Bounds that contradict each other are put right:
    /// the least is at least one, the most at least the least.
    #[must_use]
    pub fn new(config: LoadLimitConfig) -> Self {
        let min = config.min.max(1);
        let max = config.max.max(min);
        let config = LoadLimitConfig { min, max, ..config };
        Self(Arc::new(Mutex::new(State {
            limit: config.start.clamp(min, max) as f64,
            config,
            in_use: 0,
            queues: Default::default(),
            shed: 0,
            floor: None,
            shrunk: 0,
            round: Round::default(),
        })))
    }

    /// A permit, now or never.
    #[must_use]
    pub fn try_acquire(&self, priority: Priority) -> Option<LoadPermit> {
        let mut state = self.0.lock();
        if state.may_start(priority) && !state.is_anyone_before(priority) {
            return Some(state.start(self));
        }
        state.shed += 1;
        None
    }

    /// A permit, after waiting for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] when there was none in that time, or too many wait already. The
    /// caller serves what it has, if it has anything.
    ///
    /// # Cancel safety
    ///
    /// Whoever drops this takes nothing, and nobody after it waits longer for that.
    pub async fn acquire(&self, priority: Priority, patience: Duration) -> Result<LoadPermit> {
        let granted = {
            let mut state = self.0.lock();
            if state.may_start(priority) && !state.is_anyone_before(priority) {
                return Ok(state.start(self));
            }
            if state.has_room_to_wait() {
                let (grant, granted) = oneshot::channel();
                state.queues[priority as usize].push_back(grant);
                Some(granted)
            } else {
                None
            }
        };
        if let Some(granted) = granted {
            // A permit that comes as the time is over lies in the channel, and is given back with
            // it.
            if let Ok(Ok(permit)) = timeout(patience, granted).await {
                return Ok(permit);
            }
        }
        let mut state = self.0.lock();
        state.shed += 1;
        Err(state.overloaded(patience))
    }

    /// How it stands now.
    #[must_use]
    pub fn stats(&self) -> LoadLimitStats {
        let state = self.0.lock();
        let wait = |queue: &VecDeque<Waiting>| queue.iter().filter(|w| !w.is_closed()).count();
        LoadLimitStats {
            limit: state.limit(),
            in_use: state.in_use,
            waiting: state.queues.iter().map(wait).sum(),
            shed: state.shed,
        }
    }

    /// A load has ended.
    fn end(&self, shrunk: u64, outcome: Outcome) {
        let grants = {
            let mut state = self.0.lock();
            state.in_use -= 1;
            state.learn(shrunk, outcome);
            state.grants(self)
        };
        // Outside of the lock: the permit of one who has left meanwhile comes back by its drop.
        for (waiting, permit) in grants {
            drop(waiting.send(permit));
        }
    }
}

impl LoadPermit {
    /// The load has brought a value, in this time.
    pub fn succeeded(mut self, took: Duration) {
        self.outcome = Outcome::Succeeded(took);
    }

    /// The source has failed, or took too long. Not for an answer that there is no such thing.
    pub fn failed(mut self) {
        self.outcome = Outcome::Failed;
    }
}

impl Drop for LoadPermit {
    fn drop(&mut self) {
        self.limit.end(self.shrunk, self.outcome);
    }
}

impl fmt::Debug for LoadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadLimit").field(&self.stats()).finish()
    }
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Succeeded(Duration),
    Failed,
    Unknown,
}

type Waiting = oneshot::Sender<LoadPermit>;

struct State {
    config: LoadLimitConfig,
    /// Whole and parts: what grows by a square root must not lose its fractions.
    limit: f64,
    in_use: usize,
    /// Who waits, by priority.
    queues: [VecDeque<Waiting>; Priority::ALL.len()],
    shed: u64,
    /// What loads take when the source is at its best, in seconds.
    floor: Option<f64>,
    shrunk: u64,
    round: Round,
}

/// What was seen since the limit was last looked at.
#[derive(Default)]
struct Round {
    succeeded: usize,
    failed: usize,
    took: Duration,
    /// The most that were in use.
    peak: usize,
}

impl State {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn may_start(&self, priority: Priority) -> bool {
        self.in_use < (self.limit() * priority.percent() / 100).max(1)
    }

    /// Whether somebody waits who goes first. Those who have left do not count.
    fn is_anyone_before(&self, priority: Priority) -> bool {
        self.queues[..=priority as usize].iter().flatten().any(|waiting| !waiting.is_closed())
    }

    fn has_room_to_wait(&mut self) -> bool {
        let waiting =
            |queues: &[VecDeque<Waiting>]| queues.iter().map(VecDeque::len).sum::<usize>();
        if waiting(&self.queues) >= self.config.waiting_max {
            // Those who have left take no room.
            self.queues.iter_mut().for_each(|queue| queue.retain(|waiting| !waiting.is_closed()));
        }
        waiting(&self.queues) < self.config.waiting_max
    }

    fn start(&mut self, limit: &LoadLimit) -> LoadPermit {
        self.in_use += 1;
        self.round.peak = self.round.peak.max(self.in_use);
        LoadPermit { limit: limit.clone(), shrunk: self.shrunk, outcome: Outcome::Unknown }
    }

    /// Permits for those who may go now.
    fn grants(&mut self, limit: &LoadLimit) -> Vec<(Waiting, LoadPermit)> {
        let mut grants = Vec::new();
        for priority in Priority::ALL {
            while self.may_start(priority) {
                let Some(waiting) = self.queues[priority as usize].pop_front() else { break };
                if !waiting.is_closed() {
                    grants.push((waiting, self.start(limit)));
                }
            }
        }
        grants
    }

    fn learn(&mut self, shrunk: u64, outcome: Outcome) {
        // A load that began before the limit shrank says what is known already.
        if shrunk != self.shrunk {
            return;
        }
        match outcome {
            Outcome::Succeeded(took) => {
                self.round.succeeded += 1;
                self.round.took += took;
            }
            Outcome::Failed => self.round.failed += 1,
            Outcome::Unknown => return,
        }
        let Round { succeeded, failed, peak, .. } = self.round;
        if failed * FAILED_ONE_IN >= self.limit() {
            self.shrink();
        } else if succeeded + failed >= self.limit() {
            if self.is_slow() {
                self.shrink();
            } else {
                // A limit that nobody comes near says nothing about the next larger one.
                let is_used = peak * 2 >= self.limit();
                let grown = if is_used { self.limit + self.limit.sqrt() } else { self.limit };
                self.begin_round(grown);
            }
        }
    }

    /// Compares the round's mean with the floor, and then moves the floor.
    fn is_slow(&mut self) -> bool {
        let Round { succeeded, took, .. } = self.round;
        if succeeded == 0 {
            return false;
        }
        let mean = took.as_secs_f64() / succeeded as f64;
        let floor = self.floor.unwrap_or(mean);
        self.floor = Some(if mean < floor { mean } else { floor + (mean - floor) * FLOOR_DRIFT });
        mean > floor * SLOW_FACTOR
    }

    fn shrink(&mut self) {
        self.shrunk += 1;
        self.begin_round(self.limit * SHRINK_FACTOR);
    }

    fn begin_round(&mut self, limit: f64) {
        self.limit = limit.clamp(self.config.min as f64, self.config.max as f64);
        self.round = Round { peak: self.in_use, ..Round::default() };
    }

    fn overloaded(&self, patience: Duration) -> Error {
        let (limit, in_use) = (self.limit(), self.in_use);
        let message = format!(
            "no load could be started within {patience:?}: {in_use} run, and {limit} are good for \
             the source now"
        );
        Error::new(ErrorKind::Overloaded, message)
            .hint("see why the source is slow or fails, or raise the `max` of its load limit")
    }
}

#[cfg(test)]
mod tests;
