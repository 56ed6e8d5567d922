//! Models of S3-FIFO and its adaptive kin.

use crate::eviction::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// A queue, the first in first.
#[derive(Debug, Default)]
struct Queue(Vec<(Slot, Resident)>);

impl Queue {
    fn weight(&self) -> u64 {
        self.0.iter().map(|(_, record)| u64::from(record.weight)).sum()
    }

    fn find(&mut self, slot: Slot) -> Option<&mut (Slot, Resident)> {
        self.0.iter_mut().find(|(held, _)| *held == slot)
    }

    fn remove(&mut self, slot: Slot) {
        self.0.retain(|(held, _)| *held != slot);
    }

    fn pop(&mut self) -> Option<(Slot, Resident)> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

/// All that was ever noted, with its number, and how many of the last count.
#[derive(Debug, Default)]
struct Ghost(Vec<(usize, u64)>, usize, usize);

impl Ghost {
    fn note(&mut self, hash: u64) {
        self.0.retain(|(_, noted)| *noted != hash);
        self.0.push((self.1, hash));
        self.1 += 1;
    }

    fn take(&mut self, hash: u64) -> Option<usize> {
        let place = self.0.iter().position(|(_, noted)| *noted == hash)?;
        let (number, _) = self.0.remove(place);
        Some(self.1 - number).filter(|age| *age <= self.2)
    }
}

#[derive(Debug, Default)]
pub(super) struct S3Fifo {
    small: Queue,
    main: Queue,
    ghost: Ghost,
    capacity: u64,
    full: bool,
}

/// Who was read twice moves from `small` to `main`; the first other one is taken.
fn take_small(small: &mut Queue, main: &mut Queue, reads: &dyn ReadCounts) -> Option<(Slot, u64)> {
    while let Some((slot, record)) = small.pop() {
        if reads.get(slot) < 2 {
            return Some((slot, record.hash));
        }
        reads.set(slot, 0);
        main.0.push((slot, record));
    }
    None
}

impl EvictionPolicy for S3Fifo {
    fn reads(&self) -> Reads {
        Reads::Counted { max: 3 }
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let known = self.ghost.take(record.hash).is_some();
        let filling = !self.full && self.small.weight() >= self.capacity / 10;
        let queue = if known || filling { &mut self.main } else { &mut self.small };
        queue.0.push((slot, record));
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        let held = self.small.find(slot).or_else(|| self.main.find(slot)).expect("it is here");
        held.1 = record;
    }

    fn remove(&mut self, slot: Slot) {
        self.small.remove(slot);
        self.main.remove(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        self.full = true;
        let records = self.small.0.len() + self.main.0.len();
        self.ghost.2 = (records - records / 10).max(1);
        if self.main.weight() <= self.capacity - self.capacity / 10
            && let Some((slot, hash)) = take_small(&mut self.small, &mut self.main, reads)
        {
            self.ghost.note(hash);
            return Some(slot);
        }
        loop {
            let (slot, record) = self.main.pop()?;
            let count = reads.get(slot);
            if count == 0 {
                return Some(slot);
            }
            reads.set(slot, count - 1);
            self.main.0.push((slot, record));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct AdaptiveS3Fifo {
    small: Queue,
    main: Queue,
    small_ghost: Ghost,
    main_ghost: Ghost,
    capacity: u64,
    small_capacity: u64,
    full: bool,
}

impl AdaptiveS3Fifo {
    fn set_small(&mut self, small_capacity: u64) {
        let (least, most) = (self.capacity / 100, self.capacity * 9 / 10);
        self.small_capacity = small_capacity.max(least).min(most).max(1);
    }
}

impl EvictionPolicy for AdaptiveS3Fifo {
    fn reads(&self) -> Reads {
        Reads::Counted { max: 2 }
    }

    fn set_capacity(&mut self, capacity: u64) {
        let before = std::mem::replace(&mut self.capacity, capacity);
        let kept = (self.small_capacity * capacity).checked_div(before);
        self.set_small(kept.unwrap_or(capacity / 10));
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let filling = !self.full && self.small.weight() >= self.small_capacity;
        let step = 3 * u64::from(record.weight);
        let from_small = self.small_ghost.take(record.hash);
        let from_main = match from_small {
            Some(_) => None,
            None => self.main_ghost.take(record.hash),
        };
        if from_small.is_some_and(|age| age <= self.main_ghost.2) {
            self.set_small(self.small_capacity + step);
        }
        if from_main.is_some() {
            self.set_small(self.small_capacity.saturating_sub(step));
        }
        let known = from_small.is_some() || from_main.is_some();
        let queue = if known || filling { &mut self.main } else { &mut self.small };
        queue.0.push((slot, record));
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        let held = self.small.find(slot).or_else(|| self.main.find(slot)).expect("it is here");
        held.1 = record;
    }

    fn remove(&mut self, slot: Slot) {
        self.small.remove(slot);
        self.main.remove(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        self.full = true;
        let records = self.small.0.len() + self.main.0.len();
        self.small_ghost.2 = (records - records / 10).max(1);
        self.main_ghost.2 = (records * 3 / 10).max(1);
        if (self.small.weight() >= self.small_capacity || self.main.0.is_empty())
            && let Some((slot, hash)) = take_small(&mut self.small, &mut self.main, reads)
        {
            self.small_ghost.note(hash);
            return Some(slot);
        }
        loop {
            let (slot, record) = self.main.pop()?;
            if reads.get(slot) == 0 {
                self.main_ghost.note(record.hash);
                return Some(slot);
            }
            reads.set(slot, 0);
            self.main.0.push((slot, record));
        }
    }
}
