//! Which keys are read most: a sketch of fixed size in which old reads count less and less.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cache_core::Timestamp;

/// When weights have grown by this power of two they are scaled down, long before a float ends.
const SCALE_AT: f64 = 64.0;

/// The heaviest keys of a stream (Space-Saving, A. Metwally et al., ICDT 2005), with decay.
///
/// It follows `keys_max` keys. A key that is not among them takes the place of the lightest one, with
/// its weight as a possible error. So with `W` the weight of all reads:
///
/// - the count of a followed key is at least its true one, and at most that and its error;
/// - no error is above `W / keys_max`;
/// - every key whose true count is above `W / keys_max` is followed.
///
/// A read of `half_life` ago counts half: later reads are given more weight instead, which leaves
/// these bounds as they are. The same reads give the same state. It takes about 150 bytes a key and
/// the key once: with the longest keys 700 bytes, so 2.8 MB for 4,096 keys.
#[derive(Debug)]
pub struct HotKeys {
    keys_max: usize,
    half_life_s: f64,
    /// Weights are those of this moment.
    epoch: Timestamp,
    slots: Vec<Slot>,
    /// Places of slots, the lightest first.
    heap: Vec<usize>,
    places: HashMap<Arc<str>, usize>,
    total: f64,
}

/// How often a key was read, by the reckoning of a [`HotKeys`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HotKey {
    /// The text of the key.
    pub key: Arc<str>,
    /// Its reads, where one of a half-life ago counts half: at least the true number.
    pub count: f64,
    /// By how much that may be too high.
    pub error: f64,
    /// What is known of its value.
    pub about: About,
}

impl HotKey {
    /// Its reads, at most the true number.
    #[must_use]
    pub fn at_least(&self) -> f64 {
        (self.count - self.error).max(0.0)
    }
}

/// What is known of a value; 0 where nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    /// Microseconds of its load.
    #[serde(default)]
    pub load_cost_us: u32,
    /// Bytes.
    #[serde(default)]
    pub size: u32,
    /// Milliseconds for which it is fresh.
    #[serde(default)]
    pub ttl_ms: u32,
}

impl About {
    /// What is known by now: the newer, where it tells.
    fn updated(self, newer: Self) -> Self {
        let or = |newer: u32, older: u32| if newer > 0 { newer } else { older };
        Self {
            load_cost_us: or(newer.load_cost_us, self.load_cost_us),
            size: or(newer.size, self.size),
            ttl_ms: or(newer.ttl_ms, self.ttl_ms),
        }
    }
}

#[derive(Debug)]
struct Slot {
    key: Arc<str>,
    weight: f64,
    error: f64,
    about: About,
    /// Its place in the heap.
    at: usize,
}

impl HotKeys {
    /// Follows `keys_max` keys (at least one), whose reads count half after `half_life` (at least a
    /// second).
    #[must_use]
    pub fn new(keys_max: usize, half_life: Duration) -> Self {
        Self {
            keys_max: keys_max.max(1),
            half_life_s: half_life.as_secs_f64().max(1.0),
            epoch: Timestamp::default(),
            slots: Vec::new(),
            heap: Vec::new(),
            places: HashMap::new(),
            total: 0.0,
        }
    }

    /// Notes `reads` reads of `key` at `now`.
    pub fn note(&mut self, key: &str, reads: f64, about: About, now: Timestamp) {
        let weight = reads * self.growth(now);
        self.total += weight;
        let slot = match self.places.get(key) {
            Some(slot) => *slot,
            None if self.slots.len() < self.keys_max => self.follow(key),
            None => self.replace_lightest(key),
        };
        self.slots[slot].weight += weight;
        self.slots[slot].about = self.slots[slot].about.updated(about);
        self.sink(self.slots[slot].at);
    }

    /// What is known of a key at `now`; nothing where it is not followed.
    #[must_use]
    pub fn get(&self, key: &str, now: Timestamp) -> Option<HotKey> {
        let scale = self.scale(now);
        self.places.get(key).map(|slot| self.slots[*slot].told(scale))
    }

    /// The `len` keys that were certainly read most, those first; equals by their texts.
    #[must_use]
    pub fn top(&self, len: usize, now: Timestamp) -> Vec<HotKey> {
        let scale = self.scale(now);
        let mut all: Vec<HotKey> = self.slots.iter().map(|slot| slot.told(scale)).collect();
        all.sort_unstable_by(|a, b| {
            b.at_least().total_cmp(&a.at_least()).then_with(|| a.key.cmp(&b.key))
        });
        all.truncate(len);
        all
    }

    /// The weight of all reads at `now`.
    #[must_use]
    pub fn total(&self, now: Timestamp) -> f64 {
        self.total * self.scale(now)
    }

    /// How many keys it follows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it follows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The weight of a read at `now`.
    fn growth(&mut self, now: Timestamp) -> f64 {
        if self.slots.is_empty() {
            self.epoch = now;
        }
        let doublings = now.since(self.epoch).as_secs_f64() / self.half_life_s;
        if doublings < SCALE_AT {
            return doublings.exp2();
        }
        let scale = (-doublings).exp2();
        for slot in &mut self.slots {
            slot.weight *= scale;
            slot.error *= scale;
        }
        self.total *= scale;
        self.epoch = now;
        1.0
    }

    /// What a weight of the epoch is worth at `now`.
    fn scale(&self, now: Timestamp) -> f64 {
        (-now.since(self.epoch).as_secs_f64() / self.half_life_s).exp2()
    }

    fn follow(&mut self, key: &str) -> usize {
        let key: Arc<str> = key.into();
        let slot = self.slots.len();
        self.places.insert(Arc::clone(&key), slot);
        let at = self.heap.len();
        self.slots.push(Slot { key, weight: 0.0, error: 0.0, about: About::default(), at });
        self.heap.push(slot);
        // A new one weighs nothing: it rises to the top.
        let mut at = at;
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.weight_at(parent) <= self.weight_at(at) {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
        slot
    }

    fn replace_lightest(&mut self, key: &str) -> usize {
        let place = self.heap[0];
        let slot = &mut self.slots[place];
        self.places.remove(&slot.key);
        slot.key = key.into();
        slot.error = slot.weight;
        slot.about = About::default();
        self.places.insert(Arc::clone(&slot.key), place);
        place
    }

    /// Restores the order below a place whose weight has grown.
    fn sink(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter();
            let lightest = children
                .filter(|child| *child < self.heap.len())
                .min_by(|a, b| self.weight_at(*a).total_cmp(&self.weight_at(*b)));
            let Some(child) = lightest else { break };
            if self.weight_at(at) <= self.weight_at(child) {
                break;
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn weight_at(&self, at: usize) -> f64 {
        self.slots[self.heap[at]].weight
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for at in [a, b] {
            self.slots[self.heap[at]].at = at;
        }
    }
}

impl Slot {
    fn told(&self, scale: f64) -> HotKey {
        HotKey {
            key: Arc::clone(&self.key),
            count: self.weight * scale,
            error: self.error * scale,
            about: self.about,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(60);

    /// Every read with its age: what the sketch must come close to.
    fn exact(reads: &[(u8, Timestamp)], now: Timestamp) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        for (key, at) in reads {
            let age = now.since(*at).as_secs_f64() / HALF_LIFE.as_secs_f64();
            *counts.entry(key.to_string()).or_insert(0.0) += (-age).exp2();
        }
        counts
    }

    proptest! {
        #[test]
        fn every_count_is_within_its_stated_error_of_the_exact_one(
            keys_max in 1_usize..12,
            // Now and then hours pass, so that weights are scaled.
            reads in prop::collection::vec(
                (0_u8..24, prop_oneof![9 => 0_u64..20_000, 1 => 0_u64..9_000_000]),
                1..300,
            ),
        ) {
            let mut sketch = HotKeys::new(keys_max, HALF_LIFE);
            let mut now = Timestamp::from_millis(1_700_000_000_000);
            let mut all = Vec::new();
            for (key, pause_ms) in reads {
                now = now.after(Duration::from_millis(pause_ms));
                sketch.note(&key.to_string(), 1.0, About::default(), now);
                all.push((key, now));
            }
            let exact = exact(&all, now);
            let total: f64 = exact.values().sum();
            let tiny = 1e-9 * total;
            prop_assert!((sketch.total(now) - total).abs() < tiny);
            prop_assert!(sketch.len() <= keys_max);
            for hot in sketch.top(usize::MAX, now) {
                let exact = exact[&*hot.key];
                prop_assert!(hot.count >= exact - tiny, "{hot:?}, {exact}");
                prop_assert!(hot.at_least() <= exact + tiny, "{hot:?}, {exact}");
                prop_assert!(hot.error <= total / keys_max as f64 + tiny, "{hot:?} of {total}");
            }
            for (key, count) in &exact {
                if *count > total / keys_max as f64 + tiny {
                    prop_assert!(sketch.get(key, now).is_some(), "{key} of {count} is not followed");
                }
            }
        }
    }

    #[test]
    fn what_was_hot_long_ago_gives_way_to_what_is_hot_now() {
        let mut sketch = HotKeys::new(4, HALF_LIFE);
        let start = Timestamp::from_millis(0);
        for _ in 0..1_000 {
            sketch.note("old", 1.0, About::default(), start);
        }
        let later = start.after(HALF_LIFE * 10);
        for _ in 0..3 {
            sketch.note("new", 1.0, About { size: 9, ..About::default() }, later);
        }
        let top = sketch.top(2, later);
        assert_eq!((&*top[0].key, &*top[1].key), ("new", "old"));
        assert_eq!((top[0].count, top[0].about.size), (3.0, 9));
        assert!((top[1].count - 1_000.0 / 1_024.0).abs() < 1e-9);
    }
}
