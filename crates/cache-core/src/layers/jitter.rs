//! Randomness for pauses, so that many processes do not act in step.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A source of numbers that need not be good, only different in each process.
#[derive(Debug)]
pub(super) struct Jitter(AtomicU64);

impl Jitter {
    /// The same numbers for the same seed; without one, others each time.
    pub(super) fn new(seed: Option<u64>) -> Self {
        // A new `RandomState` is randomly seeded, which is all the randomness that is needed.
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(0))))
    }

    /// A part of `span`: from `least` of it (0 to 1) up to all of it.
    pub(super) fn part(&self, span: Duration, least: f64) -> Duration {
        span.mul_f64(least + (1.0 - least) * self.unit())
    }

    /// A number from 0 to 1, by SplitMix64.
    fn unit(&self) -> f64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut x = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_within_its_bounds_and_repeats_with_its_seed() {
        let span = Duration::from_millis(100);
        let draw = |seed| {
            let jitter = Jitter::new(seed);
            (0..1_000).map(|_| jitter.part(span, 0.5)).collect::<Vec<_>>()
        };
        let drawn = draw(Some(7));
        assert!(drawn.iter().all(|part| (span / 2..=span).contains(part)));
        assert!(drawn.iter().any(|part| *part < span.mul_f64(0.55)));
        assert!(drawn.iter().any(|part| *part > span.mul_f64(0.95)));
        assert_eq!(drawn, draw(Some(7)));
        assert_ne!(drawn, draw(Some(8)));
    }
}
