use super::queue::{Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// The least recently read goes first.
///
/// Good: what is in use now is in the cache. Bad: one scan of keys that never come back pushes out
/// everything, and each read is told, which takes a lock.
///
/// Each call is O(1). 8 bytes a slot.
///
/// Source: the oldest there is; its analysis: R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger,
/// *Evaluation techniques for storage hierarchies*, IBM Systems Journal 9(2), 1970.
#[derive(Debug)]
pub(super) struct Lru {
    slots: Slots<()>,
    queue: Queue,
}

impl Lru {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), queue: Queue::new() }
    }
}

impl EvictionPolicy for Lru {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.slots.put(slot, ());
        self.queue.push_back(&mut self.slots, slot);
    }

    fn read(&mut self, slot: Slot) {
        self.queue.move_to_back(&mut self.slots, slot);
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.queue.unlink(&mut self.slots, slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        self.queue.pop_front(&mut self.slots)
    }
}
