//! Where the records of a shard lie.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::eviction::{ReadCounts, Slot};

/// What an engine holds: key, value, and whatever else a hit looks at, best in one cache line.
pub(crate) trait Record {
    /// How often it was read, where the policy has reads counted.
    fn reads(&self) -> &AtomicU8;
}

/// What only writes look at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cold {
    pub(super) hash: u64,
    pub(super) weight: u32,
    /// Which of the shard's policies has it.
    pub(super) rank: u8,
    /// Whether it is counted apart: see [`Room`](super::room::Room).
    pub(super) is_large: bool,
}

/// Records in slots, which are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    records: Vec<Option<T>>,
    cold: Vec<Cold>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { records: Vec::new(), cold: Vec::new(), free: Vec::new() }
    }

    /// The slots that have a record.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.records).filter(|(_, record)| record.is_some()).map(|(slot, _)| slot)
    }

    pub(super) fn insert(&mut self, record: T, cold: Cold) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            self.cold[slot as usize] = cold;
            return slot;
        }
        let slot = u32::try_from(self.records.len()).expect("a shard has fewer than 2^32 records");
        grow_to(&mut self.records, slot as usize + 1);
        grow_to(&mut self.cold, slot as usize + 1);
        self.records.push(Some(record));
        self.cold.push(cold);
        slot
    }

    pub(super) fn replace(&mut self, slot: u32, record: T, cold: Cold) -> T {
        self.cold[slot as usize] = cold;
        self.records[slot as usize].replace(record).expect("only slots with a record are named")
    }

    /// The record in `slot`, which has one.
    pub(super) fn at(&self, slot: u32) -> &T {
        self.records[slot as usize].as_ref().expect("only slots with a record are named")
    }

    pub(super) fn cold(&self, slot: u32) -> &Cold {
        &self.cold[slot as usize]
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        self.records[slot as usize].take().expect("only slots with a record are named")
    }
}

impl<T: Record> ReadCounts for Slab<T> {
    fn get(&self, slot: Slot) -> u8 {
        self.at(slot.0).reads().load(Relaxed)
    }

    fn set(&self, slot: Slot, count: u8) {
        self.at(slot.0).reads().store(count, Relaxed);
    }
}

/// Counts a read, up to `max`. A count that another thread writes at the same time may be lost; once
/// there is nothing to count, nothing is written.
pub(super) fn count_read(reads: &AtomicU8, max: u8) {
    let count = reads.load(Relaxed);
    if count < max {
        reads.store(count + 1, Relaxed);
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
