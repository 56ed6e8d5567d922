//! Doubly linked queues over slots: each slot's links lie in one flat vector, by its number.

use super::Slot;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// What a policy keeps for each slot, with the slot's links.
///
/// It grows to the highest slot that was ever used and is never smaller again: slots are used again.
#[derive(Debug)]
pub(super) struct Slots<T> {
    nodes: Vec<Node<T>>,
}

/// The links of a slot and what the policy keeps for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node<T> {
    before: u32,
    after: u32,
    data: T,
}

impl<T: Copy + Default> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Keeps `data` for the slot, in place of what the last record there left.
    #[inline]
    pub(super) fn put(&mut self, slot: Slot, data: T) {
        let index = slot.0 as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, Node::default());
        }
        self.nodes[index].data = data;
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> &T {
        &self.nodes[slot.0 as usize].data
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.nodes[slot.0 as usize].data
    }

    /// How many slots were ever used.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// A queue of slots. Front: who leaves first.
///
/// A slot is in one queue at most: its links are all there is. Which queue that is, its policy
/// knows.
#[derive(Debug)]
pub(super) struct Queue {
    front: u32,
    back: u32,
    len: u32,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { front: NONE, back: NONE, len: 0 }
    }

    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Slot> {
        some(self.front)
    }

    /// Who stands behind `slot` in its queue.
    #[inline]
    pub(super) fn behind<T>(slots: &Slots<T>, slot: Slot) -> Option<Slot> {
        some(slots.nodes[slot.0 as usize].after)
    }

    #[inline]
    pub(super) fn push_back<T>(&mut self, slots: &mut Slots<T>, slot: Slot) {
        let node = &mut slots.nodes[slot.0 as usize];
        node.before = self.back;
        node.after = NONE;
        match self.back {
            NONE => self.front = slot.0,
            back => slots.nodes[back as usize].after = slot.0,
        }
        self.back = slot.0;
        self.len += 1;
    }

    #[inline]
    pub(super) fn pop_front<T>(&mut self, slots: &mut Slots<T>) -> Option<Slot> {
        let slot = self.front()?;
        self.unlink(slots, slot);
        Some(slot)
    }

    /// Takes `slot` out, which is in this queue.
    #[inline]
    pub(super) fn unlink<T>(&mut self, slots: &mut Slots<T>, slot: Slot) {
        let Node { before, after, .. } = slots.nodes[slot.0 as usize];
        match before {
            NONE => self.front = after,
            before => slots.nodes[before as usize].after = after,
        }
        match after {
            NONE => self.back = before,
            after => slots.nodes[after as usize].before = before,
        }
        self.len -= 1;
    }

    #[inline]
    pub(super) fn move_to_back<T>(&mut self, slots: &mut Slots<T>, slot: Slot) {
        if self.back != slot.0 {
            self.unlink(slots, slot);
            self.push_back(slots, slot);
        }
    }
}

const fn some(slot: u32) -> Option<Slot> {
    if slot == NONE { None } else { Some(Slot(slot)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_8_bytes_and_what_is_kept_for_it() {
        assert_eq!(size_of::<Node<()>>(), 8);
        assert_eq!(size_of::<Node<u32>>(), 12);
    }

    #[test]
    fn a_slot_leaves_from_wherever_it_stands() {
        let (mut slots, mut queue) = (Slots::<()>::new(), Queue::new());
        for slot in 0..5 {
            slots.put(Slot(slot), ());
            queue.push_back(&mut slots, Slot(slot));
        }
        for slot in [2, 0, 4] {
            queue.unlink(&mut slots, Slot(slot));
        }
        queue.move_to_back(&mut slots, Slot(1));

        assert_eq!(queue.front(), Some(Slot(3)));
        assert_eq!(Queue::behind(&slots, Slot(3)), Some(Slot(1)));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop_front(&mut slots)).collect();
        assert_eq!(rest, [Slot(3), Slot(1)]);
        assert_eq!(queue.len(), 0);
    }
}
