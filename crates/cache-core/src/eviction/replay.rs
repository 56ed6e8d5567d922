use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::numbers::{Mixing, mix};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};
use crate::clock::Timestamp;

/// A cache without values: it says of each request whether it would have been a hit.
///
/// For simulation, one thread: what a policy does with a trace at a capacity. A miss is followed by
/// an insert, as in a cache that loads what it lacks.
///
/// # Examples
///
/// ```
/// use cache_core::{Eviction, Replay, Timestamp};
///
/// let mut cache = Replay::new(Eviction::Lru.policy(0), 2);
/// let keys = [1, 2, 1, 3, 2];
/// let hits = keys.iter().filter(|key| cache.access(**key, 1, Timestamp::MAX)).count();
/// assert_eq!(hits, 1);
/// ```
#[derive(Debug)]
pub struct Replay {
    policy: Box<dyn EvictionPolicy>,
    reads: Reads,
    slots: HashMap<u64, Slot, BuildHasherDefault<Mixing>>,
    records: Vec<(u64, u32)>,
    counts: Counts,
    free: Vec<Slot>,
    weight: u64,
    capacity: u64,
}

impl Replay {
    /// An empty cache of `capacity`, in the unit of the weights that it will be given.
    #[must_use]
    pub fn new(mut policy: Box<dyn EvictionPolicy>, capacity: u64) -> Self {
        policy.set_capacity(capacity);
        Self {
            reads: policy.reads(),
            policy,
            slots: HashMap::default(),
            records: Vec::new(),
            counts: Counts::default(),
            free: Vec::new(),
            weight: 0,
            capacity,
        }
    }

    /// A request for the key, and whether it hits. After a miss, the record is there; one that is
    /// heavier than the whole cache is not kept. A weight of 0 counts as 1.
    ///
    /// A hit does not touch the record's deadline, and a deadline only matters to the policy: the
    /// caller [removes](Self::remove) what has expired. A hit with another weight writes the record
    /// anew.
    pub fn access(&mut self, key: u64, weight: u32, expires_at: Timestamp) -> bool {
        let weight = weight.max(1);
        let Some(slot) = self.slots.get(&key).copied() else {
            self.insert(key, weight, expires_at);
            return false;
        };
        match self.reads {
            Reads::Ignored => {}
            Reads::Counted { max } => self.counts.count(slot, max),
            Reads::Told => self.policy.read(slot),
        }
        if self.records[slot.0 as usize].1 != weight {
            self.rewrite(slot, weight, expires_at);
        }
        true
    }

    /// Whether the key is there. It is no read.
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.slots.contains_key(&key)
    }

    /// Removes the key, and says whether it was there.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(slot) = self.slots.get(&key).copied() else { return false };
        self.policy.remove(slot);
        self.forget(slot);
        true
    }

    /// How much is in it.
    #[must_use]
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    /// How many records are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn insert(&mut self, key: u64, weight: u32, expires_at: Timestamp) {
        if u64::from(weight) > self.capacity {
            return;
        }
        let record = Resident { hash: mix(key), weight, expires_at };
        self.make_room(u64::from(weight), Some(&record));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.records.push((0, 0));
            self.counts.0.push(Cell::new(0));
            Slot(self.records.len() as u32 - 1)
        });
        self.records[slot.0 as usize] = (key, weight);
        self.counts.set(slot, 0);
        self.slots.insert(key, slot);
        self.weight += u64::from(weight);
        self.policy.insert(slot, record);
    }

    fn rewrite(&mut self, slot: Slot, weight: u32, expires_at: Timestamp) {
        let (key, before) = &mut self.records[slot.0 as usize];
        self.weight = self.weight - u64::from(*before) + u64::from(weight);
        *before = weight;
        self.policy.update(slot, Resident { hash: mix(*key), weight, expires_at });
        self.make_room(0, None);
    }

    fn make_room(&mut self, room: u64, newcomer: Option<&Resident>) {
        while self.weight + room > self.capacity {
            let Some(victim) = self.policy.evict(newcomer, &self.counts) else { break };
            self.forget(victim);
        }
    }

    fn forget(&mut self, slot: Slot) {
        let (key, weight) = self.records[slot.0 as usize];
        self.slots.remove(&key);
        self.weight -= u64::from(weight);
        self.free.push(slot);
    }
}

/// The counts of reads, by slot.
#[derive(Debug, Default)]
struct Counts(Vec<Cell<u8>>);

impl Counts {
    fn count(&self, slot: Slot, max: u8) {
        let count = &self.0[slot.0 as usize];
        count.set((count.get() + 1).min(max));
    }
}

impl ReadCounts for Counts {
    fn get(&self, slot: Slot) -> u8 {
        self.0[slot.0 as usize].get()
    }

    fn set(&self, slot: Slot, count: u8) {
        self.0[slot.0 as usize].set(count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Eviction;
    use super::*;

    #[test]
    fn what_is_heavier_than_the_cache_is_not_kept_and_evicts_nothing() {
        let mut cache = Replay::new(Eviction::Lru.policy(0), 10);
        cache.access(1, 10, Timestamp::MAX);
        assert!(!cache.access(2, 11, Timestamp::MAX));
        assert!(!cache.access(2, 11, Timestamp::MAX));
        assert!(cache.access(1, 10, Timestamp::MAX));
    }

    #[test]
    fn a_hit_with_another_weight_makes_room_for_it() {
        let mut cache = Replay::new(Eviction::Lru.policy(0), 10);
        (0..5).for_each(|key| {
            cache.access(key, 2, Timestamp::MAX);
        });
        assert!(cache.access(4, 7, Timestamp::MAX));
        assert_eq!((cache.len(), cache.weight()), (2, 9));
        assert!(cache.access(3, 2, Timestamp::MAX) && cache.access(4, 7, Timestamp::MAX));
    }

    #[test]
    fn what_was_removed_is_a_miss_and_its_slot_is_used_again() {
        let mut cache = Replay::new(Eviction::Fifo.policy(0), 10);
        for key in 0..1_000 {
            cache.access(key, 1, Timestamp::MAX);
            assert!(cache.remove(key) && !cache.remove(key));
        }
        assert!(cache.is_empty());
        assert_eq!(cache.records.len(), 1);
    }
}
