//! The sample and its histogram.

use std::collections::{BinaryHeap, HashMap};

use super::distances::Distances;

/// Bins of the histogram for each doubling of the distance.
const BINS_A_DOUBLING: f64 = 8.0;
const BINS: usize = 64 * BINS_A_DOUBLING as usize;

/// After so many reads in the sample all earlier ones count half.
const HALF_LIFE: u64 = 1 << 16;

/// A key's last read.
#[derive(Clone, Copy, Debug)]
struct Last {
    place: usize,
    weight: u32,
}

/// What one thread at a time knows of the sample.
#[derive(Debug)]
pub(super) struct Tracker {
    keys_max: usize,
    /// Hashes up to here are in the sample.
    threshold: u64,
    keys: HashMap<u64, Last>,
    /// The same keys: the largest hash leaves first.
    largest: BinaryHeap<u64>,
    distances: Distances,
    /// How many reads had each distance, as estimated of all reads.
    bins: Vec<f64>,
    /// All of them, those of new keys too.
    total: f64,
    /// What the keys weigh of which it is known, to stand in where it is not.
    weighed: (u64, u64),
    sampled: u64,
    /// How many reads there were up to the last ageing, and what is left of them.
    reads_then: u64,
    reads_left: f64,
}

impl Tracker {
    pub(super) fn new(keys_max: usize, rate_max: f64) -> Self {
        Self {
            keys_max,
            // A cast of a number that is too large gives the largest.
            threshold: (rate_max * 2_f64.powi(64)) as u64,
            keys: HashMap::new(),
            largest: BinaryHeap::new(),
            distances: Distances::new(keys_max),
            bins: vec![0.0; BINS],
            total: 0.0,
            weighed: (0, 0),
            sampled: 0,
            reads_then: 0,
            reads_left: 0.0,
        }
    }

    pub(super) fn threshold(&self) -> u64 {
        self.threshold
    }

    pub(super) fn rate(&self) -> f64 {
        (self.threshold as f64 + 1.0) / 2_f64.powi(64)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A read of a key, and what its value takes; 0: not known.
    pub(super) fn read(&mut self, hash: u64, weight: u32) {
        // Its batch may have waited while the sample became smaller.
        if hash > self.threshold {
            return;
        }
        self.sampled += 1;
        let scale = 1.0 / self.rate();
        let last = self.keys.get(&hash).copied();
        let weight = self.weight(weight, last);
        self.total += scale;
        if let Some(Last { place, .. }) = last {
            // The key itself is there once; of the others, as many again as are in the sample.
            let others = self.distances.after(place) as f64;
            self.bins[bin(others * scale + f64::from(weight))] += scale;
            self.distances.take(place);
        } else {
            self.largest.push(hash);
        }
        if self.distances.is_full() {
            let keys = &mut self.keys;
            self.distances.renumber(|hash, place| {
                keys.get_mut(&hash).expect("a key with a place is followed").place = place;
            });
        }
        let place = self.distances.push(hash, weight);
        self.keys.insert(hash, Last { place, weight });
        if self.keys.len() > self.keys_max {
            self.shrink();
        }
    }

    /// Leaves out the key of the largest hash, and all that come with one as large.
    fn shrink(&mut self) {
        let Some(hash) = self.largest.pop() else { return };
        if let Some(Last { place, .. }) = self.keys.remove(&hash) {
            self.distances.take(place);
        }
        self.threshold = hash.saturating_sub(1);
    }

    fn weight(&mut self, told: u32, last: Option<Last>) -> u32 {
        let (keys, bytes) = self.weighed;
        if told > 0 {
            self.weighed = (keys + 1, bytes + u64::from(told));
            return told;
        }
        let mean = || u32::try_from(bytes.checked_div(keys).unwrap_or(1)).unwrap_or(u32::MAX);
        last.map_or_else(mean, |last| last.weight).max(1)
    }

    /// Now and then lets what was count half.
    pub(super) fn age(&mut self, reads: impl FnOnce() -> u64) {
        if self.sampled < HALF_LIFE {
            return;
        }
        self.sampled = 0;
        let reads = reads();
        self.reads_left = (self.reads_left + reads.saturating_sub(self.reads_then) as f64) / 2.0;
        self.reads_then = reads;
        self.total /= 2.0;
        self.bins.iter_mut().for_each(|bin| *bin /= 2.0);
        let (keys, bytes) = self.weighed;
        self.weighed = (keys.div_ceil(2), bytes.div_ceil(2));
    }

    /// LRU's hit ratio with room for `bytes`, after `reads` reads in all; none before there were any.
    pub(super) fn hit_ratio(&self, bytes: u64, reads: u64) -> Option<f64> {
        let real = self.reads_left + reads.saturating_sub(self.reads_then) as f64;
        if self.total == 0.0 || real <= 0.0 {
            return None;
        }
        let end = (bytes.max(1) as f64).log2() * BINS_A_DOUBLING;
        let whole = (end as usize).min(BINS);
        let part = self.bins.get(whole).map_or(0.0, |bin| bin * end.fract());
        let hits = self.bins[..whole].iter().sum::<f64>() + part;
        // A sample that lacks a hot key has fewer reads than its part, and those would have been
        // hits; one that has it has more (the correction of SHARDS).
        Some(((hits + real - self.total) / real).clamp(0.0, 1.0))
    }
}

/// The bin of a distance of at least 1.
fn bin(distance: f64) -> usize {
    ((distance.max(1.0).log2() * BINS_A_DOUBLING) as usize).min(BINS - 1)
}
