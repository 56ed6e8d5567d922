use super::queue::{Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// First in, first out, but a hand goes round and spares who was read since it last came by. Whom it
/// spares keeps its place, so newcomers meet the hand soon and the old do not.
///
/// Good: no lock and one bit for a read; strong on the skewed traffic of the web. Bad: a scan passes
/// right through, and in a long loop it is as bad as FIFO.
///
/// A read costs nothing here; `evict` is O(1) amortised (it clears at most one bit for each read);
/// all else is O(1). 8 bytes a slot.
///
/// Source: Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi, *SIEVE is simpler than LRU*,
/// NSDI 2024.
#[derive(Debug)]
pub(super) struct Sieve {
    slots: Slots<()>,
    queue: Queue,
    /// Who is looked at next; the front where there is nobody.
    hand: Option<Slot>,
}

impl Sieve {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), queue: Queue::new(), hand: None }
    }
}

impl EvictionPolicy for Sieve {
    fn reads(&self) -> Reads {
        Reads::Counted { max: 1 }
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        self.slots.put(slot, ());
        self.queue.push_back(&mut self.slots, slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        if self.hand == Some(slot) {
            self.hand = Queue::behind(&self.slots, slot);
        }
        self.queue.unlink(&mut self.slots, slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        let mut slot = self.hand.or_else(|| self.queue.front())?;
        // Readers count on while the hand goes round: it gives up after one whole round.
        for _ in 0..self.queue.len() {
            if reads.get(slot) == 0 {
                break;
            }
            reads.set(slot, 0);
            slot = Queue::behind(&self.slots, slot).or_else(|| self.queue.front())?;
        }
        self.hand = Queue::behind(&self.slots, slot);
        self.queue.unlink(&mut self.slots, slot);
        Some(slot)
    }
}
