//! Reads that a policy is still to be told of.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::eviction::Slot;

/// How many reads wait at most. Further ones are lost until the policy was told.
const NOTES_MAX: usize = 64;

/// The slots that were read since the policy was told last, in about their order.
///
/// Written under the shared lock of a shard and taken under its exclusive one: so a slot that is
/// noted still has the record that was read. A read by a thread that is alone is never lost: it
/// empties the notes itself when they are half full.
#[derive(Debug)]
pub(super) struct Notes {
    len: AtomicUsize,
    slots: [AtomicU32; NOTES_MAX],
}

impl Notes {
    pub(super) fn new() -> Self {
        Self { len: AtomicUsize::new(0), slots: [const { AtomicU32::new(0) }; NOTES_MAX] }
    }

    /// Notes a read; answers whether the policy should be told soon.
    pub(super) fn add(&self, slot: Slot) -> bool {
        // Looked at first: once the notes are full, readers no longer write to one line together.
        if self.len.load(Ordering::Relaxed) >= NOTES_MAX {
            return true;
        }
        let place = self.len.fetch_add(1, Ordering::Relaxed);
        if let Some(note) = self.slots.get(place) {
            note.store(slot.0, Ordering::Relaxed);
        }
        place >= NOTES_MAX / 2
    }

    /// Tells of every note and forgets it.
    pub(super) fn take(&mut self, mut tell: impl FnMut(Slot)) {
        let len = std::mem::take(self.len.get_mut()).min(NOTES_MAX);
        for note in &mut self.slots[..len] {
            tell(Slot(*note.get_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_in_their_order_and_what_is_too_much_is_lost() {
        let mut notes = Notes::new();
        let wanted: Vec<bool> = (0..70).map(|slot| notes.add(Slot(slot))).collect();
        assert_eq!(wanted.iter().position(|wanted| *wanted), Some(32));
        let mut told = Vec::new();
        notes.take(|slot| told.push(slot.0));
        assert_eq!(told, (0..64).collect::<Vec<_>>());
        notes.take(|_| panic!("they were told already"));
        assert!(!notes.add(Slot(1)));
    }
}
