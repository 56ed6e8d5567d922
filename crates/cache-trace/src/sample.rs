//! Spatial sampling: whole keys are in the sample or out of it, by their hash.
//!
//! A cache of a hundredth of the size over a hundredth of the keys has about the hit ratio of the
//! whole (C. Waldspurger et al., *Efficient MRC Construction with SHARDS*, FAST 2015, and *Cache
//! Modeling and Optimization using Miniature Simulations*, ATC 2017).

/// Which part of the hashes is in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate {
    /// The largest hash, after mixing, that is in the sample.
    threshold: u64,
}

impl Rate {
    pub(crate) const ALL: Self = Self { threshold: u64::MAX };

    /// So much of the whole, from 0 to 1.
    pub(crate) fn new(part: f64) -> Self {
        // A cast of a number that is too large gives the largest.
        Self { threshold: (part * 2_f64.powi(64)) as u64 }
    }

    pub(crate) fn halved(self) -> Self {
        Self { threshold: self.threshold / 2 }
    }

    pub(crate) fn part(self) -> f64 {
        if self == Self::ALL { 1.0 } else { (self.threshold as f64 + 1.0) / 2_f64.powi(64) }
    }
}

/// Whether a key is in the sample.
pub(crate) fn takes(hash: u64, rate: Rate) -> bool {
    rate == Rate::ALL || mix(hash) <= rate.threshold
}

/// Another hash of a hash: a log of a sample holds the keys of small hashes only, of which a
/// sample's sample must not be the smallest.
pub(crate) const fn mix(hash: u64) -> u64 {
    // The finalizer of SplitMix64.
    let z = hash.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_about_its_part_and_a_smaller_one_is_within_it() {
        let (small, large) = (Rate::new(0.1), Rate::new(0.3));
        let of = |rate| (0..100_000).filter(move |hash| takes(*hash, rate));
        assert!((9_500..10_500).contains(&of(small).count()));
        assert!((29_000..31_000).contains(&of(large).count()));
        assert!(of(small).all(|hash| takes(hash, large)));
        assert_eq!(of(Rate::ALL).count(), 100_000);
        assert_eq!(Rate::new(1.0), Rate::ALL);
    }
}
