//! How often certain keys are read.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use super::Cache;

/// Counts the reads of some keys of one cache, until it is dropped.
///
/// What warms a cache learns by it which of its keys are still wanted, and what they were good for.
/// A read of a cache with a watch looks the key up in it, under a shared lock.
#[derive(Debug)]
pub struct ReadWatch(Arc<Counts>);

/// How often a watched key was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchedReads {
    /// Reads that a tier answered, the near one included.
    pub hits: u64,
    /// Reads that had to be loaded, or were not answered.
    pub misses: u64,
}

impl WatchedReads {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.hits + self.misses
    }
}

#[derive(Debug)]
struct Counts {
    places: HashMap<Box<str>, usize>,
    /// Hits and misses, by place.
    reads: Vec<[AtomicU64; 2]>,
}

impl ReadWatch {
    /// The reads so far of the key at `place` among those that were named.
    ///
    /// # Panics
    ///
    /// When fewer were named.
    #[must_use]
    pub fn of(&self, place: usize) -> WatchedReads {
        let [hits, misses] =
            [0, 1].map(|kind: usize| self.0.reads[place][kind].load(Ordering::Relaxed));
        WatchedReads { hits, misses }
    }

    /// The reads so far of all keys.
    #[must_use]
    pub fn total(&self) -> WatchedReads {
        (0..self.0.reads.len()).fold(WatchedReads::default(), |sum, place| {
            let WatchedReads { hits, misses } = self.of(place);
            WatchedReads { hits: sum.hits + hits, misses: sum.misses + misses }
        })
    }
}

/// The watches of one cache.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Whether there are any, so that a read of a cache without them takes no lock.
    any: AtomicBool,
    all: RwLock<Vec<Weak<Counts>>>,
}

impl Watches {
    fn add(&self, counts: &Arc<Counts>) {
        let mut all = self.all.write();
        all.retain(|watch| watch.strong_count() > 0);
        all.push(Arc::downgrade(counts));
        self.any.store(true, Ordering::Relaxed);
    }

    /// Counts a read.
    #[inline]
    pub(super) fn note(&self, text: &str, is_hit: bool) {
        if self.any.load(Ordering::Relaxed) {
            self.count(text, is_hit);
        }
    }

    fn count(&self, text: &str, is_hit: bool) {
        let mut is_watched = false;
        for counts in self.all.read().iter().filter_map(Weak::upgrade) {
            is_watched = true;
            if let Some(place) = counts.places.get(text) {
                let kind = usize::from(!is_hit);
                counts.reads[*place][kind].fetch_add(1, Ordering::Relaxed);
            }
        }
        if !is_watched {
            let all = self.all.write();
            let any = all.iter().any(|watch| watch.strong_count() > 0);
            self.any.store(any, Ordering::Relaxed);
        }
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Counts the reads of `keys` from now on. A key that is named twice is counted at its first
    /// place.
    #[must_use]
    pub fn watch_reads<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> ReadWatch {
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        let mut named = 0;
        for key in keys {
            places.entry(key.as_ref().into()).or_insert(named);
            named += 1;
        }
        let reads = (0..named).map(|_| Default::default()).collect();
        let counts = Arc::new(Counts { places, reads });
        self.0.studies.watches.add(&counts);
        ReadWatch(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_counts_reads_of_its_keys_by_what_became_of_them() {
        let cache: Cache<u64> = Cache::builder("watch").build().unwrap();
        let watch = cache.watch_reads(["a", "b", "a"]);
        cache.get("a").await.unwrap();
        cache.insert("a", 1).await.unwrap();
        cache.get("a").await.unwrap();
        cache.get("c").await.unwrap();
        cache.get_many(["a", "b"]).await.unwrap();
        assert_eq!(watch.of(0), WatchedReads { hits: 2, misses: 1 });
        assert_eq!(watch.of(1), WatchedReads { hits: 0, misses: 1 });
        assert_eq!((watch.of(2).total(), watch.total().total()), (0, 4));
    }

    #[tokio::test]
    async fn a_dropped_watch_costs_nothing_after_the_next_read() {
        let cache: Cache<u64> = Cache::builder("watch").build().unwrap();
        drop(cache.watch_reads(["a"]));
        cache.get("a").await.unwrap();
        assert!(!cache.0.studies.watches.any.load(Ordering::Relaxed));
        let watch = cache.watch_reads(["a"]);
        cache.get("a").await.unwrap();
        assert_eq!(watch.total(), WatchedReads { hits: 0, misses: 1 });
    }
}
