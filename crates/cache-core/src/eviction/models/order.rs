//! Models of the policies that are an order.

use crate::eviction::numbers::SplitMix;
use crate::eviction::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

#[derive(Debug, Default)]
pub(super) struct Lru(Vec<Slot>);

impl EvictionPolicy for Lru {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.0.push(slot);
    }

    fn read(&mut self, slot: Slot) {
        self.remove(slot);
        self.0.push(slot);
    }

    fn update(&mut self, slot: Slot, _: Resident) {
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|held| *held != slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

#[derive(Debug, Default)]
pub(super) struct Fifo(Vec<Slot>);

impl EvictionPolicy for Fifo {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.0.push(slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|held| *held != slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

/// In the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ttl(Vec<(Slot, Resident)>);

impl EvictionPolicy for Ttl {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, record: Resident) {
        self.0.push((slot, record));
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        self.0.iter_mut().filter(|(held, _)| *held == slot).for_each(|(_, known)| *known = record);
    }

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|(held, _)| *held != slot);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        // The first of the least.
        let (slot, _) = *self.0.iter().min_by_key(|(_, record)| record.expires_at)?;
        self.remove(slot);
        Some(slot)
    }
}

/// The oldest first, and the place of the hand.
#[derive(Debug, Default)]
pub(super) struct Sieve(Vec<Slot>, usize);

impl EvictionPolicy for Sieve {
    fn reads(&self) -> Reads {
        Reads::Counted { max: 1 }
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        // A hand that has passed the last stands before the first, not before the newcomer.
        if self.1 == self.0.len() {
            self.1 = 0;
        }
        self.0.push(slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        let place = self.0.iter().position(|held| *held == slot).expect("it is here");
        self.0.remove(place);
        if self.1 == self.0.len() + 1 {
            // It stood behind the last, and does so still.
            self.1 -= 1;
        } else if place < self.1 {
            self.1 -= 1;
        }
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        if self.0.is_empty() {
            return None;
        }
        loop {
            if self.1 >= self.0.len() {
                self.1 = 0;
            }
            let slot = self.0[self.1];
            if reads.get(slot) == 0 {
                return Some(self.0.remove(self.1));
            }
            reads.set(slot, 0);
            self.1 += 1;
        }
    }
}

/// The last one takes the place of who leaves, so that the same draw means the same slot.
#[derive(Debug)]
pub(super) struct Random(Vec<Slot>, SplitMix);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Vec::new(), SplitMix(seed))
    }
}

impl EvictionPolicy for Random {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.0.push(slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        let place = self.0.iter().position(|held| *held == slot).expect("it is here");
        self.0.swap_remove(place);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        if self.0.is_empty() {
            return None;
        }
        let place = self.1.below(self.0.len() as u64);
        Some(self.0.swap_remove(place as usize))
    }
}
