use super::queue::{Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// How many classes there are, as many as a word has bits.
const CLASSES: u64 = 64;

/// A count stops here, so that nothing is more than so far above the age of the cache.
const COUNT_MAX: u8 = CLASSES as u8 - 1;

/// The least frequently read goes first, but the cache ages: what was hot once goes when it is not
/// read any more.
///
/// A record's rank is the age of the cache when it was last read, and how often it was read until
/// then (63 at most). The lowest rank goes, the least recently read among equals, and its rank is
/// the age of the cache from then on.
///
/// Good: popularity that changes slowly, scans. Bad: newcomers that are read a few times in a row
/// and no more.
///
/// Each call is O(1): ranks span 64 classes from the age on, and one word says which of them are in
/// use. 12 bytes a slot.
///
/// Source: M. Arlitt, L. Cherkasova, J. Dilley, R. Friedrich, T. Jin, *Evaluating content management
/// techniques for Web proxy caches*, 1999 (LFU with dynamic aging, without sizes). That counts stop
/// at 63 is ours.
#[derive(Debug)]
pub(super) struct AgingLfu {
    slots: Slots<Record>,
    /// The records of each rank, by the rank's remainder: all ranks lie within one turn from the age
    /// on.
    classes: [Queue; CLASSES as usize],
    /// A bit for each class with anybody in it.
    occupied: u64,
    age: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// How often it was read.
    count: u8,
    /// Which class it is in.
    class: u8,
}

impl AgingLfu {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
            classes: [const { Queue::new() }; CLASSES as usize],
            occupied: 0,
            age: 0,
        }
    }

    fn enter(&mut self, slot: Slot, count: u8) {
        let class = ((self.age + u64::from(count)) % CLASSES) as u8;
        *self.slots.get_mut(slot) = Record { count, class };
        self.classes[usize::from(class)].push_back(&mut self.slots, slot);
        self.occupied |= 1 << class;
    }

    fn leave(&mut self, slot: Slot) {
        let class = self.slots.get(slot).class;
        let queue = &mut self.classes[usize::from(class)];
        queue.unlink(&mut self.slots, slot);
        if queue.len() == 0 {
            self.occupied &= !(1 << class);
        }
    }
}

impl EvictionPolicy for AgingLfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.slots.put(slot, Record::default());
        self.enter(slot, 1);
    }

    fn read(&mut self, slot: Slot) {
        let count = self.slots.get(slot).count;
        self.leave(slot);
        self.enter(slot, (count + 1).min(COUNT_MAX));
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.leave(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        // With the class of the age's own rank in the lowest bit, the lowest bit set is the lowest
        // rank.
        let ranks = self.occupied.rotate_right((self.age % CLASSES) as u32);
        let rank = self.age + u64::from(ranks.trailing_zeros());
        let slot = self.classes[(rank % CLASSES) as usize].front()?;
        self.leave(slot);
        self.age = rank;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Node;
    use super::*;

    #[test]
    fn a_slot_takes_12_bytes() {
        assert_eq!(size_of::<Node<Record>>(), 12);
    }
}
