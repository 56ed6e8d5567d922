//! What the front counts of a hit in the near tier, for measurements with it and without.

use crate::cache::Metrics;

/// The statistics of a cache, without the cache.
#[derive(Debug, Default)]
pub struct HitStatistics(Metrics);

impl HitStatistics {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `hit` as a hit, and takes the time of a sample of them, as the front does.
    #[inline]
    pub fn count<R>(&self, hit: impl FnOnce() -> R) -> R {
        let started = Metrics::near_started();
        let answer = hit();
        self.0.near_hit(started);
        answer
    }
}
