use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};
use crate::clock::Timestamp;

/// The record with the nearest deadline goes first, and among equals the first in. A record that is
/// written anew keeps its turn among equals.
///
/// Good: what goes would soon have gone anyhow. Bad: it ignores who is read; where all live equally
/// long it is FIFO.
///
/// `insert`, `update`, `remove` and `evict` are O(log n): a binary heap in which each slot knows its
/// place, so that nothing void is left in it. A read costs nothing. 28 bytes a slot.
///
/// Source: Redis's `volatile-ttl`, here exact where Redis samples; the heap: J. W. J. Williams,
/// *Algorithm 232: Heapsort*, CACM 7(6), 1964.
#[derive(Debug)]
pub(super) struct Ttl {
    /// A heap of slots: each goes before those at its place times two and one or two more.
    heap: Vec<Slot>,
    records: Vec<Record>,
    /// How many records have come.
    come: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    expires_at: Timestamp,
    /// How many came before it.
    number: u64,
    /// Where it stands in the heap.
    place: u32,
}

impl Ttl {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), records: Vec::new(), come: 0 }
    }

    fn goes_before(&self, a: Slot, b: Slot) -> bool {
        let key = |slot: Slot| {
            let record = &self.records[slot.0 as usize];
            (record.expires_at, record.number)
        };
        key(a) < key(b)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.records[self.heap[place].0 as usize].place = place as u32;
        }
    }

    /// Moves who stands at `place` to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.goes_before(self.heap[place], self.heap[(place - 1) / 2]) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let mut first = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && self.goes_before(self.heap[child], self.heap[first]) {
                    first = child;
                }
            }
            if first == place {
                return;
            }
            self.swap(place, first);
            place = first;
        }
    }

    fn take(&mut self, place: usize) -> Slot {
        let last = self.heap.len() - 1;
        self.swap(place, last);
        let slot = self.heap.pop().expect("there is one at `place`");
        if place < last {
            self.settle(place);
        }
        slot
    }
}

impl EvictionPolicy for Ttl {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, record: Resident) {
        let index = slot.0 as usize;
        if index >= self.records.len() {
            self.records.resize(index + 1, Record::default());
        }
        let place = self.heap.len() as u32;
        self.records[index] = Record { expires_at: record.expires_at, number: self.come, place };
        self.come += 1;
        self.heap.push(slot);
        self.settle(place as usize);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        let known = &mut self.records[slot.0 as usize];
        known.expires_at = record.expires_at;
        let place = known.place as usize;
        self.settle(place);
    }

    fn remove(&mut self, slot: Slot) {
        let place = self.records[slot.0 as usize].place as usize;
        self.take(place);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        if self.heap.is_empty() { None } else { Some(self.take(0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_28_bytes_and_the_heap_holds_nothing_void() {
        assert_eq!(size_of::<Record>() + size_of::<Slot>(), 28);

        let mut policy = Ttl::new();
        let record =
            |ends| Resident { hash: 0, weight: 1, expires_at: Timestamp::from_millis(ends) };
        (0..10).for_each(|slot| policy.insert(Slot(slot), record(5)));
        (0..10_000).for_each(|step| policy.update(Slot(step % 10), record(u64::from(step % 97))));
        (0..9).for_each(|slot| policy.remove(Slot(slot)));
        assert_eq!((policy.heap.len(), policy.records.len()), (1, 10));
    }
}
