//! The time: the only place that asks the operating system for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// A moment, in whole milliseconds since the Unix epoch. Every deadline is one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment there is.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `span` later (to the millisecond, rounded down), or [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time. Shared by a cache, its tiers and its warmer, so that a test moves one hand.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment. Never goes back.
    fn now(&self) -> Timestamp;
}

/// The machine's clock: the wall clock as it was when this was made, carried on by the monotonic
/// one.
///
/// A stepped wall clock therefore moves no deadline of a running process. Clocks of different
/// processes differ by what their machines' wall clocks differed when they started.
///
/// On Linux it is read from the kernel's last tick, and so is behind by up to 4 ms (10 ms where a
/// kernel ticks a hundred times a second). The exact clock is read by an instruction that waits for
/// all before it: over many keys it would double what a hit in the near tier costs, as the
/// processor could no longer fetch one record while it waits for another.
#[derive(Clone, Debug)]
pub struct SystemClock {
    /// What the wall clock was ahead of the monotonic one when this was made.
    ahead_ms: u64,
}

impl SystemClock {
    /// A clock anchored now.
    #[must_use]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("the wall clock is after 1970");
        let started_at = Timestamp::default().after(since_epoch);
        // A machine that has been up for longer than since 1970 is ahead by less than nothing.
        Self { ahead_ms: started_at.as_millis().wrapping_sub(monotonic_ms()) }
    }

    /// A clock anchored now, ready to be shared.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(monotonic_ms().wrapping_add(self.ahead_ms))
    }
}

/// Milliseconds since some moment in the past, of the kernel's last tick. By hand: a `Duration` would
/// cost each hit two divisions.
#[cfg(target_os = "linux")]
#[inline]
fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // The monotonic clock began at zero.
    now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Milliseconds since this was called first.
#[cfg(not(target_os = "linux"))]
fn monotonic_ms() -> u64 {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let elapsed = FIRST.get_or_init(std::time::Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).expect("a process does not live that long")
}

/// A clock that a test moves by hand. Clones share one hand.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now().since(before), Duration::from_secs(3));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at an arbitrary, always equal moment (in November 2023).
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_700_000_000_000)))
    }

    /// Moves the hand forward by `span`.
    pub fn advance(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_on_from_the_wall_clock() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(first > Timestamp::from_millis(1_700_000_000_000));
        assert!(clock.now() >= first);
    }

    #[test]
    fn the_arithmetic_of_moments_saturates() {
        assert_eq!(Timestamp::MAX.after(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::default().after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::default().since(Timestamp::MAX), Duration::ZERO);
    }
}
