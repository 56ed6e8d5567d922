use super::numbers::SplitMix;
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Any record goes, each as likely as another: the baseline that a policy has to beat.
///
/// Good: in a loop longer than the cache it keeps what LRU and FIFO lose. Bad: it learns nothing.
///
/// Each call is O(1). 8 bytes a slot.
///
/// Source: L. A. Belady, *A study of replacement algorithms for a virtual-storage computer*, IBM
/// Systems Journal 5(2), 1966.
#[derive(Debug)]
pub(super) struct Random {
    /// The slots in use, in no order.
    slots: Vec<Slot>,
    /// Where each slot lies in `slots`.
    places: Vec<u32>,
    random: SplitMix,
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { slots: Vec::new(), places: Vec::new(), random: SplitMix(seed) }
    }

    /// Takes out the slot at `place`; the last one fills its place.
    fn take(&mut self, place: usize) -> Slot {
        let slot = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places[moved.0 as usize] = place as u32;
        }
        slot
    }
}

impl EvictionPolicy for Random {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        let index = slot.0 as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.places[index] = self.slots.len() as u32;
        self.slots.push(slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        self.take(self.places[slot.0 as usize] as usize);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let place = self.random.below(self.slots.len() as u64);
        Some(self.take(place as usize))
    }
}
