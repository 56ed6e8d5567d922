//! Virtual time: milliseconds since the simulation began, and the order within one of them.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cache_core::{Clock, Timestamp};
use tokio::time::Instant;

/// When the simulation begins, by clocks that are right.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A point of a run. Two of the same millisecond are told apart by their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Milliseconds since the run began.
    pub ms: u64,
    order: u64,
}

impl Moment {
    /// After every other one.
    pub const MAX: Self = Self { ms: u64::MAX, order: u64::MAX };

    /// How long after `earlier` this is.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.ms.saturating_sub(earlier.ms)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.ms)
    }
}

/// Tells moments.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    order: AtomicU64,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { began: Instant::now(), order: AtomicU64::new(0) }
    }

    /// The present moment, after all that were told before.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { ms: self.ms(), order: self.order.fetch_add(1, Ordering::Relaxed) }
    }

    /// Milliseconds since the run began.
    #[must_use]
    pub fn ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("a run is short")
    }

    /// The clock of a process that started with its wall clock wrong by `offset_ms`.
    #[must_use]
    pub fn clock(&self, offset_ms: i64) -> NodeClock {
        NodeClock { began: self.began, at: EPOCH_MS.saturating_add_signed(offset_ms) }
    }
}

/// A process's clock: virtual time, off by what the node's wall clock was off when it started.
#[derive(Clone, Debug)]
pub struct NodeClock {
    began: Instant,
    at: u64,
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.at).after(self.began.elapsed())
    }
}

/// `ms` milliseconds.
#[must_use]
pub const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
