//! A queue that knows what its records weigh.

use super::Slot;
use super::queue::{Queue, Slots};

/// What a policy of several queues keeps for each record: the key's hash for its history, what it
/// weighs, and in which queue it is. With its links, 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record<H> {
    pub(super) hash: u64,
    pub(super) weight: u32,
    pub(super) home: H,
}

/// One of the queues of a policy, with the weight of those in it.
#[derive(Debug)]
pub(super) struct Part {
    queue: Queue,
    weight: u64,
}

impl Part {
    pub(super) const fn new() -> Self {
        Self { queue: Queue::new(), weight: 0 }
    }

    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.queue.len()
    }

    #[inline]
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Slot> {
        self.queue.front()
    }

    #[inline]
    pub(super) fn push_back<H: Copy + Default>(
        &mut self,
        slots: &mut Slots<Record<H>>,
        slot: Slot,
    ) {
        self.weight += u64::from(slots.get(slot).weight);
        self.queue.push_back(slots, slot);
    }

    #[inline]
    pub(super) fn unlink<H: Copy + Default>(&mut self, slots: &mut Slots<Record<H>>, slot: Slot) {
        self.weight -= u64::from(slots.get(slot).weight);
        self.queue.unlink(slots, slot);
    }

    #[inline]
    pub(super) fn move_to_back<H>(&mut self, slots: &mut Slots<Record<H>>, slot: Slot) {
        self.queue.move_to_back(slots, slot);
    }

    /// Makes `weight` what the slot weighs, which is in this queue.
    pub(super) fn weigh<H: Copy + Default>(
        &mut self,
        slots: &mut Slots<Record<H>>,
        slot: Slot,
        weight: u32,
    ) {
        let known = &mut slots.get_mut(slot).weight;
        self.weight = self.weight - u64::from(*known) + u64::from(weight);
        *known = weight;
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Node;
    use super::*;

    #[test]
    fn a_record_takes_24_bytes_with_its_links() {
        assert_eq!(size_of::<Node<Record<bool>>>(), 24);
    }

    #[test]
    fn a_part_knows_what_is_in_it() {
        let (mut slots, mut part) = (Slots::new(), Part::new());
        for (slot, weight) in [(0, 5), (1, 7)] {
            slots.put(Slot(slot), Record { hash: 0, weight, home: () });
            part.push_back(&mut slots, Slot(slot));
        }
        part.weigh(&mut slots, Slot(0), 2);
        assert_eq!((part.len(), part.weight(), part.front()), (2, 9, Some(Slot(0))));
        part.unlink(&mut slots, Slot(0));
        assert_eq!((part.len(), part.weight(), part.front()), (1, 7, Some(Slot(1))));
    }
}
