//! A sample of a cache's reads, for who learns from them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    access_log::{AccessOutcome, AccessRead},
    error::{Error, ErrorKind, Result},
};

/// Threads mostly do not share one of so many parts.
const SHARDS: usize = 16;

/// So many reads of a thread are heard one after the other, so that it is known what follows what.
const BURST: u32 = 64;

/// So many bursts wait in a part at most; further ones are dropped and counted. Of all parts
/// together 16,384 reads: 1 MiB and their keys.
const BURSTS_MAX: usize = 16;

/// Hears a sample of a cache's reads with their keys.
///
/// Reads are heard in bursts of 64 of one thread, and between bursts none. A read that is not heard
/// pays for two relaxed accesses of a number that its thread mostly has to itself; one that is, for
/// a copy of its key. What is not [taken](Self::take) in time is dropped and counted: the tap is
/// bounded, and never holds a read up.
///
/// Clones are the same tap.
///
/// # Examples
///
/// ```
/// use cache_core::{Cache, ReadTap};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// let tap = ReadTap::new(1.0)?;
/// let cache: Cache<u64> = Cache::builder("answers").read_tap(tap.clone()).build()?;
/// cache.get("life").await?;
/// assert_eq!(&*tap.take()[0][0].key, "life");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReadTap(Arc<Inner>);

/// A read that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TappedRead {
    /// The text of its key.
    pub key: Box<str>,
    /// What answered it.
    pub outcome: AccessOutcome,
    /// What the value takes in a near tier, in bytes; 0 where that is not known.
    pub size: u32,
    /// How long the value counts as fresh from when it was made, in milliseconds; 0: not known.
    pub ttl_ms: u32,
    /// What its load took, in microseconds; 0: not known.
    pub load_cost_us: u32,
}

struct Inner {
    rate: f64,
    /// How many reads are passed over between two bursts, on average.
    pause: u32,
    shards: [Shard; SHARDS],
    dropped: AtomicU64,
}

/// On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    /// How many reads there are still to pass over.
    pause: AtomicU32,
    bursts: Mutex<Bursts>,
}

#[derive(Default)]
struct Bursts {
    whole: Vec<Vec<TappedRead>>,
    /// The one that is being heard.
    open: Vec<TappedRead>,
    /// How many there were, for the length of the pauses.
    count: u64,
}

impl ReadTap {
    /// A tap that hears the part `rate` of all reads, above 0 and up to 1.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other rate.
    pub fn new(rate: f64) -> Result<Self> {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(Error::new(ErrorKind::Config, format!("a read tap of rate {rate}"))
                .hint("choose a part of the reads that is above 0 and at most 1"));
        }
        // A cast of a number that is too large gives the largest.
        let pause = (f64::from(BURST) * (1.0 / rate - 1.0)) as u32;
        Ok(Self(Arc::new(Inner {
            rate,
            pause,
            shards: Default::default(),
            dropped: AtomicU64::new(0),
        })))
    }

    /// The part of all reads that it hears.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.0.rate
    }

    /// What was heard since this was called last: each burst in the order of its reads.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<TappedRead>> {
        let mut all = Vec::new();
        for shard in &self.0.shards {
            let mut bursts = shard.bursts.lock();
            all.append(&mut bursts.whole);
            if !bursts.open.is_empty() {
                let cut = std::mem::take(&mut bursts.open);
                all.push(cut);
            }
        }
        all
    }

    /// How many reads were dropped, as nobody took what had been heard before them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Notes a read. `about` is asked only where it is heard.
    #[inline]
    pub(crate) fn note(&self, text: &str, about: impl FnOnce() -> AccessRead) {
        let shard = &self.0.shards[SHARD.with(|shard| *shard)];
        let pause = shard.pause.load(Ordering::Relaxed);
        if pause > 0 {
            // Threads that share a part may both take the same one away: the pause is a little
            // longer then.
            shard.pause.store(pause - 1, Ordering::Relaxed);
        } else {
            self.hear(shard, text, about());
        }
    }

    #[cold]
    fn hear(&self, shard: &Shard, text: &str, about: AccessRead) {
        let AccessRead { outcome, size, ttl_ms, load_cost_us } = about;
        let mut bursts = shard.bursts.lock();
        bursts.open.push(TappedRead { key: text.into(), outcome, size, ttl_ms, load_cost_us });
        if bursts.open.len() < BURST as usize {
            return;
        }
        bursts.count += 1;
        // From a half to one and a half: a pause that were always the same could keep step with a
        // pattern of the reads.
        let part = (mix(bursts.count) >> 32) as f64 / f64::from(u32::MAX);
        shard.pause.store((f64::from(self.0.pause) * (0.5 + part)) as u32, Ordering::Relaxed);
        let burst = std::mem::take(&mut bursts.open);
        if bursts.whole.len() < BURSTS_MAX {
            bursts.whole.push(burst);
        } else {
            drop(bursts);
            self.0.dropped.fetch_add(u64::from(BURST), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for ReadTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTap").field("rate", &self.0.rate).finish_non_exhaustive()
    }
}

/// The finisher of SplitMix64: neighbouring numbers become unrelated ones.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

thread_local! {
    static SHARD: usize = next_shard();
}

fn next_shard() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(tap: &ReadTap, text: &str) {
        let about =
            || AccessRead { outcome: AccessOutcome::Near, size: 1, ttl_ms: 2, load_cost_us: 3 };
        tap.note(text, about);
    }

    #[test]
    fn reads_are_heard_in_bursts_that_keep_their_order() {
        let tap = ReadTap::new(0.25).unwrap();
        let mut heard = 0;
        for round in 0..100 {
            for i in 0..256 {
                note(&tap, &(round * 256 + i).to_string());
            }
            for burst in tap.take() {
                let numbers: Vec<u64> =
                    burst.iter().map(|read| read.key.parse().unwrap()).collect();
                assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
                heard += burst.len();
            }
        }
        // A quarter of 25,600.
        assert!((5_800..7_000).contains(&heard), "{heard}");
        assert_eq!(tap.dropped(), 0);
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let tap = ReadTap::new(1.0).unwrap();
        let reads = 10_000_usize;
        for i in 0..reads {
            note(&tap, &i.to_string());
        }
        let kept: usize = tap.take().iter().map(Vec::len).sum();
        assert_eq!(kept, BURSTS_MAX * BURST as usize + reads % BURST as usize);
        assert_eq!(tap.dropped(), (reads - kept) as u64);
        assert!(tap.take().is_empty());
        assert!(ReadTap::new(0.0).is_err() && ReadTap::new(f64::NAN).is_err());
    }
}
