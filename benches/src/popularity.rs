//! Which keys are asked for how often.

use rand::{Rng, rngs::SmallRng};

/// Zipf's law: the key of rank `r` is asked for in proportion to `1 / r^exponent`.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The share of each rank and all before it.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Over `keys` keys. An exponent of 0.99 is YCSB's.
    ///
    /// # Panics
    ///
    /// Without any key.
    #[must_use]
    pub fn new(keys: usize, exponent: f64) -> Self {
        assert!(keys > 0, "a popularity needs a key");
        let mut total = 0.0;
        let mut cumulated: Vec<f64> = (1..=keys)
            .map(|rank| {
                total += (rank as f64).powf(-exponent);
                total
            })
            .collect();
        for share in &mut cumulated {
            *share /= total;
        }
        Self { cumulated }
    }

    /// The index of a key, 0 for the most popular.
    pub fn pick(&self, rng: &mut SmallRng) -> usize {
        let at: f64 = rng.random();
        self.cumulated.partition_point(|share| *share <= at).min(self.cumulated.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_first_key_is_asked_for_about_as_often_as_the_law_says() {
        let zipf = Zipf::new(1_000, 0.99);
        let mut rng = SmallRng::seed_from_u64(42);
        let picks = 100_000;
        let mut counts = vec![0_u32; 1_000];
        for _ in 0..picks {
            counts[zipf.pick(&mut rng)] += 1;
        }
        let harmonic: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1_u32, 2, 10] {
            let expected = f64::from(picks) * f64::from(rank).powf(-0.99) / harmonic;
            let counted = f64::from(counts[rank as usize - 1]);
            assert!((counted / expected - 1.0).abs() < 0.1, "rank {rank}: {counted}, {expected}");
        }
    }

    #[test]
    fn one_seed_is_one_sequence_and_one_key_is_always_picked() {
        let picks = |seed| {
            let (zipf, mut rng) = (Zipf::new(50, 0.99), SmallRng::seed_from_u64(seed));
            (0..100).map(|_| zipf.pick(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
        assert_eq!(Zipf::new(1, 0.99).pick(&mut SmallRng::seed_from_u64(1)), 0);
    }
}
