//! Models of the policies that count.

use crate::eviction::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Slots with how often they were read, the least recently read first.
#[derive(Debug, Default)]
pub(super) struct Lfu(Vec<(Slot, u64)>);

impl EvictionPolicy for Lfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.0.push((slot, 1));
    }

    fn read(&mut self, slot: Slot) {
        let place = self.0.iter().position(|(held, _)| *held == slot).expect("it is here");
        let (slot, count) = self.0.remove(place);
        self.0.push((slot, count + 1));
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|(held, _)| *held != slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let (slot, _) = *self.0.iter().min_by_key(|(_, count)| *count)?;
        self.remove(slot);
        Some(slot)
    }
}

/// Slots with how often they were read and their rank, the least recently read first; and the age.
#[derive(Debug, Default)]
pub(super) struct AgingLfu(Vec<(Slot, u64, u64)>, u64);

impl EvictionPolicy for AgingLfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.0.push((slot, 1, self.1 + 1));
    }

    fn read(&mut self, slot: Slot) {
        let place = self.0.iter().position(|(held, ..)| *held == slot).expect("it is here");
        let (slot, count, _) = self.0.remove(place);
        let count = 63.min(count + 1);
        self.0.push((slot, count, self.1 + count));
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|(held, ..)| *held != slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let (slot, _, rank) = *self.0.iter().min_by_key(|(_, _, rank)| *rank)?;
        self.remove(slot);
        self.1 = rank;
        Some(slot)
    }
}
