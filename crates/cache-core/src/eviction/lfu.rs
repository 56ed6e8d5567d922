use super::queue::{NONE, Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// The least frequently read goes first, and among those the least recently read.
///
/// Room is made before a record comes, so a newcomer is safe until the next one needs room. What was
/// hot once stays for ever: counts never fall.
///
/// Good: popularity that does not change. Bad: popularity that does; on the traces that this project
/// is measured with it is below FIFO. [`AgingLfu`](super::aging_lfu::AgingLfu) forgets.
///
/// Each call is O(1). 12 bytes a slot, and 32 for each different count that some record has.
///
/// Source: K. Shah, A. Mitra, D. Matani, *An O(1) algorithm for implementing the LFU cache eviction
/// scheme*, 2010: a list of counts, each with its queue of records.
#[derive(Debug)]
pub(super) struct Lfu {
    /// The class of each slot.
    slots: Slots<u32>,
    classes: Vec<Class>,
    /// The class of the lowest count.
    lowest: u32,
    /// The first of the classes that are not in use; they are linked by `above`.
    free: u32,
}

/// The records that were read equally often, the least recently read in front.
#[derive(Debug)]
struct Class {
    count: u64,
    queue: Queue,
    /// The class of the next lower count.
    below: u32,
    /// The class of the next higher count.
    above: u32,
}

impl Lfu {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), classes: Vec::new(), lowest: NONE, free: NONE }
    }

    /// The class of `count`, which is made if it is not there. It stands right above `below`, or
    /// lowest of all.
    fn class_above(&mut self, below: u32, count: u64) -> u32 {
        let above = match below {
            NONE => self.lowest,
            below => self.classes[below as usize].above,
        };
        if above != NONE && self.classes[above as usize].count == count {
            return above;
        }
        let class = Class { count, queue: Queue::new(), below, above };
        let index = match self.free {
            NONE => {
                self.classes.push(class);
                self.classes.len() as u32 - 1
            }
            free => {
                self.free = self.classes[free as usize].above;
                self.classes[free as usize] = class;
                free
            }
        };
        match below {
            NONE => self.lowest = index,
            below => self.classes[below as usize].above = index,
        }
        if above != NONE {
            self.classes[above as usize].below = index;
        }
        index
    }

    fn enter(&mut self, class: u32, slot: Slot) {
        *self.slots.get_mut(slot) = class;
        self.classes[class as usize].queue.push_back(&mut self.slots, slot);
    }

    /// Takes the slot out of its class. The class stays, if it is empty now.
    fn leave(&mut self, slot: Slot) -> u32 {
        let class = *self.slots.get(slot);
        self.classes[class as usize].queue.unlink(&mut self.slots, slot);
        class
    }

    /// Drops the class, if nobody is in it.
    fn tidy(&mut self, class: u32) {
        let Class { ref queue, below, above, .. } = self.classes[class as usize];
        if queue.len() > 0 {
            return;
        }
        match below {
            NONE => self.lowest = above,
            below => self.classes[below as usize].above = above,
        }
        if above != NONE {
            self.classes[above as usize].below = below;
        }
        self.classes[class as usize].above = self.free;
        self.free = class;
    }
}

impl EvictionPolicy for Lfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.slots.put(slot, NONE);
        let class = self.class_above(NONE, 1);
        self.enter(class, slot);
    }

    fn read(&mut self, slot: Slot) {
        let class = self.leave(slot);
        let above = self.class_above(class, self.classes[class as usize].count + 1);
        self.enter(above, slot);
        self.tidy(class);
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        let class = self.leave(slot);
        self.tidy(class);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let lowest = self.classes.get(self.lowest as usize)?;
        let slot = lowest.queue.front()?;
        self.remove(slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Node;
    use super::*;

    #[test]
    fn a_slot_takes_12_bytes_and_a_count_32_and_counts_are_used_again() {
        assert_eq!((size_of::<Node<u32>>(), size_of::<Class>()), (12, 32));

        let mut policy = Lfu::new();
        let record = Resident { hash: 0, weight: 1, expires_at: Default::default() };
        (0..4).for_each(|slot| policy.insert(Slot(slot), record));
        (0..10_000).for_each(|step| policy.read(Slot(step % 4)));
        // One for each record, and one that is made before the one it takes the place of is dropped.
        assert!(policy.classes.len() <= 5, "{} classes", policy.classes.len());
    }
}
