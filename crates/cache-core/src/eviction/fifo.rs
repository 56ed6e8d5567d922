use super::queue::{Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// The first in goes first, whatever is read of it. A record that is written anew keeps its place.
///
/// Good: nothing is cheaper, and nothing is easier to foresee. Bad: what is hot goes as often as
/// what nobody reads.
///
/// Each call is O(1). 8 bytes a slot.
///
/// Source: L. A. Belady, *A study of replacement algorithms for a virtual-storage computer*, IBM
/// Systems Journal 5(2), 1966.
#[derive(Debug)]
pub(super) struct Fifo {
    slots: Slots<()>,
    queue: Queue,
}

impl Fifo {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), queue: Queue::new() }
    }
}

impl EvictionPolicy for Fifo {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.slots.put(slot, ());
        self.queue.push_back(&mut self.slots, slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        self.queue.unlink(&mut self.slots, slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        self.queue.pop_front(&mut self.slots)
    }
}
