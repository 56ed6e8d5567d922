//! What a cache of another size would bring, estimated while the cache runs.

mod distances;
mod tracker;

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::tracker::Tracker;
use crate::{
    error::{Error, ErrorKind, Result},
    units::ByteSize,
};

/// Has a cache estimate its hit ratio at other sizes, from a small sample of its reads.
///
/// Of a sample of the keys it is known how many bytes of other keys were read between two reads of
/// each; LRU of a size would have kept what has fewer (C. Waldspurger et al., *Efficient MRC
/// Construction with SHARDS*, FAST 2015). The sample has a fixed number of keys: where there are
/// more, a smaller part of them is in it. So it takes about 100 bytes for each of
/// [`keys_max`](Self::keys_max) keys, whatever the cache holds. A read that is not in the sample pays
/// for a hash of its key. Reads of long ago count less and less.
///
/// The curve is that of LRU, whatever the cache's own policy is, and knows nothing of expiry: read
/// from it what more memory would change, not what the hit ratio is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveCurve {
    /// How many keys are followed at most. 8,192 unless set, from 64 to 1,048,576.
    pub keys_max: usize,
    /// The part of all keys that is followed while there are few, above 0 and up to 1. A sixteenth
    /// unless set: a service with fewer than 10,000 keys may want them all.
    pub rate_max: f64,
}

impl Default for LiveCurve {
    fn default() -> Self {
        Self { keys_max: 8_192, rate_max: 1.0 / 16.0 }
    }
}

impl LiveCurve {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for one that is out of its range.
    pub fn validate(self) -> Result<Self> {
        if !(64..=1 << 20).contains(&self.keys_max) {
            let message = format!("`keys_max` of the live curve is {}", self.keys_max);
            return Err(
                Error::new(ErrorKind::Config, message).hint("choose one from 64 to 1048576")
            );
        }
        if !(self.rate_max > 0.0 && self.rate_max <= 1.0) {
            let message = format!("`rate_max` of the live curve is {}", self.rate_max);
            return Err(Error::new(ErrorKind::Config, message)
                .hint("choose a part of the keys that is above 0 and at most 1"));
        }
        Ok(self)
    }
}

/// The estimate of a [`LiveCurve`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurveStats {
    /// How many keys are followed.
    pub keys: usize,
    /// The part of all keys that they are.
    pub rate: f64,
    /// LRU's hit ratio at a half of the near tier's size, at its size, at twice and at four times
    /// that; none before there were reads.
    pub points: Vec<CurvePoint>,
}

/// A size and what it would bring.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// So many bytes.
    pub bytes: u64,
    /// By which factor that is larger than the present size.
    pub factor: f64,
    /// The estimated hit ratio, 0 to 1.
    pub hit_ratio: f64,
}

/// The sizes that are told of, as factors of the present one.
const FACTORS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

/// Threads mostly do not share one of so many parts.
const SHARDS: usize = 16;

/// So many reads wait in a part before they are looked at together.
const WAITING: usize = 64;

/// Follows the reads of one cache.
pub(crate) struct CurveTracker {
    hasher: ahash::RandomState,
    /// Hashes up to here are in the sample. Falls only.
    threshold: AtomicU64,
    waiting: [Mutex<Vec<(u64, u32)>>; SHARDS],
    tracker: Mutex<Tracker>,
}

impl CurveTracker {
    pub(crate) fn new(settings: LiveCurve, seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(rand::random);
        let tracker = Tracker::new(settings.keys_max, settings.rate_max);
        Self {
            hasher: ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 1),
            threshold: AtomicU64::new(tracker.threshold()),
            waiting: Default::default(),
            tracker: Mutex::new(tracker),
        }
    }

    /// Notes a read. Asked only where the key is in the sample: `weight`, what the value takes, 0
    /// where that is not known; and now and then `reads`, how many reads there were so far.
    #[inline]
    pub(crate) fn note(
        &self,
        text: &str,
        weight: impl FnOnce() -> u32,
        reads: impl FnOnce() -> u64,
    ) {
        let hash = self.hasher.hash_one(text.as_bytes());
        if hash <= self.threshold.load(Ordering::Relaxed) {
            self.note_sampled(hash, weight(), reads);
        }
    }

    #[cold]
    fn note_sampled(&self, hash: u64, weight: u32, reads: impl FnOnce() -> u64) {
        let mut waiting = self.waiting[SHARD.with(|shard| *shard)].lock();
        waiting.push((hash, weight));
        if waiting.len() >= WAITING {
            let batch = std::mem::take(&mut *waiting);
            drop(waiting);
            self.look_at(&batch, reads);
        }
    }

    fn look_at(&self, batch: &[(u64, u32)], reads: impl FnOnce() -> u64) {
        let mut tracker = self.tracker.lock();
        for (hash, weight) in batch {
            tracker.read(*hash, *weight);
        }
        tracker.age(reads);
        self.threshold.store(tracker.threshold(), Ordering::Relaxed);
    }

    /// The estimate for a near tier of `bytes`, after `reads` reads in all.
    pub(crate) fn stats(&self, bytes: u64, reads: u64) -> CurveStats {
        for waiting in &self.waiting {
            let batch = std::mem::take(&mut *waiting.lock());
            self.look_at(&batch, || reads);
        }
        let tracker = self.tracker.lock();
        let point = |factor: f64| {
            let bytes = (bytes as f64 * factor) as u64;
            let hit_ratio = tracker.hit_ratio(bytes, reads)?;
            Some(CurvePoint { bytes, factor, hit_ratio })
        };
        CurveStats {
            keys: tracker.len(),
            rate: tracker.rate(),
            points: FACTORS.into_iter().filter_map(point).collect(),
        }
    }
}

thread_local! {
    static SHARD: usize = next_shard();
}

fn next_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
}

impl fmt::Debug for CurveTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurveTracker").finish_non_exhaustive()
    }
}

/// One line: `32MiB 61.2 %, 64MiB 70.9 % (now), 128MiB 78.0 %, 256MiB 80.1 %`.
impl fmt::Display for CurveStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, CurvePoint { bytes, factor, hit_ratio }) in self.points.iter().enumerate() {
            let gap = if i == 0 { "" } else { ", " };
            let now = if *factor == 1.0 { " (now)" } else { "" };
            let (bytes, percent) = (ByteSize::bytes(*bytes), hit_ratio * 100.0);
            write!(f, "{gap}{bytes} {percent:.1} %{now}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
