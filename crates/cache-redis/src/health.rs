//! Whether a connection can still be used.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What is known of one connection, shared by all who use it.
///
/// The end of a connection is noticed at once. A line that was cut without a word is noticed by
/// its silence: requests time out and nothing is answered, for longer than a server that is merely
/// slow or frozen for a moment takes.
#[derive(Debug)]
pub(crate) struct Health {
    born: Instant,
    dead: AtomicBool,
    /// When the first answer since the last one was missed, in milliseconds since birth and plus
    /// one; 0 for never.
    silent_since: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), dead: AtomicBool::new(false), silent_since: AtomicU64::new(0) }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        // Written only when it changes: all requests share this word.
        if self.silent_since.load(Ordering::Relaxed) != 0 {
            self.silent_since.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a request that timed out. The connection is dead when that has been so for `patience`.
    pub(crate) fn missed_an_answer(&self, patience: Duration) {
        self.missed_at(self.born.elapsed(), patience);
    }

    fn missed_at(&self, age: Duration, patience: Duration) {
        let now = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let since =
            self.silent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if let Err(since) = since
            && u128::from(now.saturating_sub(since)) >= patience.as_millis()
        {
            self.die();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_lasting_silence_is_death() {
        let health = Health::new();
        for millis in [1_000, 1_001, 1_299] {
            health.missed_at(at(millis), PATIENCE);
            assert!(health.is_alive(), "at {millis} ms");
        }
        health.missed_at(at(1_300), PATIENCE);
        assert!(!health.is_alive());
    }

    #[test]
    fn an_answer_ends_the_silence() {
        let health = Health::new();
        health.missed_at(at(0), PATIENCE);
        health.answered();
        health.missed_at(at(1_000), PATIENCE);
        assert!(health.is_alive());
    }
}
