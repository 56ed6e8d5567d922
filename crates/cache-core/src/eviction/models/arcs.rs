//! A model of ARC, by the words of the paper.

use crate::eviction::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// The four lists of the paper, the least recent first; `p`; and what is beside the paper: how many
/// slots were in use, and for whom room was made.
#[derive(Debug, Default)]
pub(super) struct Arc {
    t1: Vec<(Slot, Resident)>,
    t2: Vec<(Slot, Resident)>,
    b1: Vec<Resident>,
    b2: Vec<Resident>,
    p: f64,
    c: u64,
    slots: usize,
    room_made_for: Option<(u64, Case)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    InB1,
    InB2,
    InNeither,
}

fn weight_of<'a>(records: impl Iterator<Item = &'a Resident>) -> u64 {
    records.map(|record| u64::from(record.weight)).sum()
}

fn resident(list: &[(Slot, Resident)]) -> u64 {
    weight_of(list.iter().map(|(_, record)| record))
}

impl Arc {
    /// Cases II to IV: moves `p`, and takes the ghost out.
    fn adapt(&mut self, x: &Resident) -> Case {
        if let Some((hash, case)) = self.room_made_for
            && hash == x.hash
        {
            return case;
        }
        let (b1, b2) = (weight_of(self.b1.iter()) as f64, weight_of(self.b2.iter()) as f64);
        let case = if self.b1.iter().any(|ghost| ghost.hash == x.hash) {
            self.p = (self.p + f64::from(x.weight) * (b2 / b1).max(1.0)).min(self.c as f64);
            Case::InB1
        } else if self.b2.iter().any(|ghost| ghost.hash == x.hash) {
            self.p = (self.p - f64::from(x.weight) * (b1 / b2).max(1.0)).max(0.0);
            Case::InB2
        } else {
            Case::InNeither
        };
        self.b1.retain(|ghost| ghost.hash != x.hash);
        self.b2.retain(|ghost| ghost.hash != x.hash);
        self.room_made_for = Some((x.hash, case));
        case
    }

    /// L1 is at most c, both are at most 2 c, and there are no more ghosts than slots.
    fn trim(&mut self) {
        while resident(&self.t1) + weight_of(self.b1.iter()) > self.c && !self.b1.is_empty() {
            self.b1.remove(0);
        }
        while resident(&self.t1)
            + resident(&self.t2)
            + weight_of(self.b1.iter())
            + weight_of(self.b2.iter())
            > 2 * self.c
        {
            let oldest = if self.b2.is_empty() { &mut self.b1 } else { &mut self.b2 };
            if oldest.is_empty() {
                break;
            }
            oldest.remove(0);
        }
        while self.b1.len() + self.b2.len() > self.slots {
            let longer = if self.b1.len() > self.b2.len() { &mut self.b1 } else { &mut self.b2 };
            longer.remove(0);
        }
    }
}

impl EvictionPolicy for Arc {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.c = capacity;
        self.p = self.p.min(capacity as f64);
        self.trim();
    }

    fn insert(&mut self, slot: Slot, x: Resident) {
        self.slots = self.slots.max(slot.0 as usize + 1);
        match self.adapt(&x) {
            Case::InNeither => self.t1.push((slot, x)),
            Case::InB1 | Case::InB2 => self.t2.push((slot, x)),
        }
        self.room_made_for = None;
        self.trim();
    }

    fn read(&mut self, slot: Slot) {
        let found = self.t1.iter().chain(&self.t2).find(|(held, _)| *held == slot);
        let found = *found.expect("it is here");
        self.remove(slot);
        self.t2.push(found);
    }

    fn update(&mut self, slot: Slot, record: Resident) {
        self.remove(slot);
        self.t2.push((slot, record));
    }

    fn remove(&mut self, slot: Slot) {
        self.t1.retain(|(held, _)| *held != slot);
        self.t2.retain(|(held, _)| *held != slot);
    }

    /// REPLACE(x, p).
    fn evict(&mut self, newcomer: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let case = newcomer.map_or(Case::InNeither, |x| self.adapt(x));
        let t1 = resident(&self.t1) as f64;
        let from_t1 = t1 > self.p || (case == Case::InB2 && t1 == self.p);
        let slot = if !self.t1.is_empty() && (from_t1 || self.t2.is_empty()) {
            let (slot, record) = self.t1.remove(0);
            self.b1.push(record);
            slot
        } else if !self.t2.is_empty() {
            let (slot, record) = self.t2.remove(0);
            self.b2.push(record);
            slot
        } else {
            return None;
        };
        self.trim();
        Some(slot)
    }
}
