//! Where the records of a shard lie.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::{
    clock::Timestamp,
    eviction::{ReadCounts, Resident, Slot},
};

/// One record, with all that a hit looks at side by side.
#[derive(Debug)]
pub(super) struct Record<K, V> {
    pub(super) hash: u64,
    pub(super) expires_at: Timestamp,
    pub(super) weight: u32,
    /// How often it was read, where the policy has reads counted.
    pub(super) reads: AtomicU8,
    /// Which of the shard's policies has it.
    pub(super) rank: u8,
    /// Whether it is counted apart: see [`Room`](super::room::Room).
    pub(super) is_large: bool,
    pub(super) key: K,
    pub(super) value: V,
}

impl<K, V> Record<K, V> {
    /// Counts a read, up to `max`. A count that another thread writes at the same time may be lost;
    /// once there is nothing to count, nothing is written.
    pub(super) fn count_read(&self, max: u8) {
        let count = self.reads.load(Ordering::Relaxed);
        if count < max {
            self.reads.store(count + 1, Ordering::Relaxed);
        }
    }

    pub(super) const fn resident(&self) -> Resident {
        Resident { hash: self.hash, weight: self.weight, expires_at: self.expires_at }
    }
}

/// Records in slots, which are used again.
#[derive(Debug)]
pub(super) struct Slab<K, V> {
    records: Vec<Option<Record<K, V>>>,
    free: Vec<u32>,
}

impl<K, V> Slab<K, V> {
    pub(super) const fn new() -> Self {
        Self { records: Vec::new(), free: Vec::new() }
    }

    /// The slots that have a record.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.records).filter(|(_, record)| record.is_some()).map(|(slot, _)| slot)
    }

    pub(super) fn insert(&mut self, record: Record<K, V>) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            return slot;
        }
        let slot = u32::try_from(self.records.len()).expect("a shard has fewer than 2^32 records");
        grow_to(&mut self.records, slot as usize + 1);
        self.records.push(Some(record));
        slot
    }

    /// The record in `slot`, which has one.
    pub(super) fn at(&self, slot: u32) -> &Record<K, V> {
        self.records[slot as usize].as_ref().expect("only slots with a record are named")
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> &mut Record<K, V> {
        self.records[slot as usize].as_mut().expect("only slots with a record are named")
    }

    pub(super) fn remove(&mut self, slot: u32) -> Record<K, V> {
        self.free.push(slot);
        self.records[slot as usize].take().expect("only slots with a record are named")
    }
}

impl<K, V> ReadCounts for Slab<K, V> {
    fn get(&self, slot: Slot) -> u8 {
        self.at(slot.0).reads.load(Ordering::Relaxed)
    }

    fn set(&self, slot: Slot, count: u8) {
        self.at(slot.0).reads.store(count, Ordering::Relaxed);
    }
}

/// Makes room for `len` elements by a quarter more at a time, where doubling would leave up to half
/// of the room unused: that is memory that no weight accounts for.
pub(super) fn grow_to<T>(elements: &mut Vec<T>, len: usize) {
    if len > elements.capacity() {
        let room = len.max(elements.capacity() / 4 * 5).max(8);
        elements.reserve_exact(room - elements.len());
    }
}
