//! The two queues that S3-FIFO and its adaptive kin have in common.

use super::part::{self, Part};
use super::queue::Slots;
use super::{ReadCounts, Resident, Slot};

/// Who was read so often in the small queue goes on to the main one.
pub(super) const READS_TO_MAIN: u8 = 2;

/// A small queue for newcomers and a main one for those who were read.
#[derive(Debug)]
pub(super) struct Queues {
    slots: Slots<Record>,
    pub(super) small: Part,
    pub(super) main: Part,
}

type Record = part::Record<Home>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Home {
    #[default]
    Small,
    Main,
}

impl Queues {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), small: Part::new(), main: Part::new() }
    }

    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.small.len() + self.main.len()
    }

    #[inline]
    pub(super) fn hash(&self, slot: Slot) -> u64 {
        self.slots.get(slot).hash
    }

    #[inline]
    pub(super) fn insert(&mut self, slot: Slot, record: Resident, home: Home) {
        let Resident { hash, weight, .. } = record;
        self.slots.put(slot, Record { hash, weight, home });
        self.enter(home, slot);
    }

    pub(super) fn weigh(&mut self, slot: Slot, weight: u32) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.weigh(slots, slot, weight);
    }

    #[inline]
    pub(super) fn remove(&mut self, slot: Slot) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.unlink(slots, slot);
    }

    /// Takes the first of the small queue that was not read enough; on the way, the others move to
    /// the main queue.
    #[inline]
    pub(super) fn take_small(&mut self, reads: &dyn ReadCounts) -> Option<Slot> {
        while let Some(slot) = self.small.front() {
            self.remove(slot);
            if reads.get(slot) < READS_TO_MAIN {
                return Some(slot);
            }
            reads.set(slot, 0);
            self.enter(Home::Main, slot);
        }
        None
    }

    /// Takes the first of the main queue whose count is 0. The others go to the back of it, with the
    /// count that `spared` makes of theirs, which is at most `rounds - 1`.
    #[inline]
    pub(super) fn take_main(
        &mut self,
        reads: &dyn ReadCounts,
        rounds: u32,
        spared: impl Fn(u8) -> u8,
    ) -> Option<Slot> {
        // Readers count on while the queue turns, so it does not turn for ever.
        let turns = u64::from(self.main.len()) * u64::from(rounds);
        for _ in 0..turns {
            let slot = self.main.front()?;
            let count = reads.get(slot);
            if count == 0 {
                break;
            }
            reads.set(slot, spared(count));
            self.main.move_to_back(&mut self.slots, slot);
        }
        let slot = self.main.front()?;
        self.remove(slot);
        Some(slot)
    }

    #[inline]
    fn part(&mut self, home: Home) -> (&mut Part, &mut Slots<Record>) {
        let part = match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        };
        (part, &mut self.slots)
    }

    #[inline]
    fn enter(&mut self, home: Home, slot: Slot) {
        self.slots.get_mut(slot).home = home;
        let (part, slots) = self.part(home);
        part.push_back(slots, slot);
    }
}
