//! Fences of a tier in this process's memory: a fixed table, whatever the number of keys.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicU64, Mutex};

#[cfg(all(test, shuttle))]
mod schedules;

/// Stripes in a table. A power of two; a stripe takes 16 bytes.
const STRIPES: usize = if cfg!(all(test, shuttle)) { 2 } else { 4096 };

/// The fences of one namespace whose values are in this process's memory: each value is kept with
/// the mark under which it was written.
#[derive(Debug)]
pub(crate) struct Fences {
    table: FenceTable,
    /// The mark of the last clear. Values below are dead.
    floor: AtomicU64,
}

impl Fences {
    pub(crate) fn new() -> Self {
        Self { table: FenceTable::new(), floor: AtomicU64::new(0) }
    }

    /// Whether a value that was written under `mark` has been cleared since. To be asked after the
    /// value was read.
    pub(crate) fn is_cleared(&self, mark: u64) -> bool {
        mark < self.floor.load(Ordering::Acquire)
    }

    /// Where `key` stands. To be read before what a fill of the key shall write.
    pub(crate) fn read(&self, key: &str) -> u64 {
        let floor = self.floor.load(Ordering::Acquire);
        self.table.read(key).max(floor)
    }

    /// Carries out `write` under the mark `seen`, unless `key` has moved since that was read.
    pub(crate) fn fill<R>(&self, key: &str, seen: u64, write: impl FnOnce() -> R) -> Option<R> {
        if self.is_cleared(seen) {
            return None;
        }
        // A clear between the check above and the write raises the floor above `seen`, the value's
        // mark: it is dead on arrival.
        self.table.unmoved(key, seen, write)
    }

    /// Moves `key` and carries out `change` under the new mark. Fills that began before are refused
    /// from now on.
    pub(crate) fn advance<R>(&self, key: &str, change: impl FnOnce(u64) -> R) -> R {
        self.table.advance(key, change)
    }

    /// As [`advance`](Self::advance), for a value that was written elsewhere since `seen` was read:
    /// `change` is given no mark when the key has moved meanwhile, for then the value may be older
    /// than what moved it.
    pub(crate) fn advance_since<R>(
        &self,
        key: &str,
        seen: u64,
        change: impl FnOnce(Option<u64>) -> R,
    ) -> R {
        self.table.advance_from(key, |was, mark| {
            let is_unmoved = was <= seen && !self.is_cleared(seen);
            change(is_unmoved.then_some(mark))
        })
    }

    /// Moves all keys: what was written before is dead.
    pub(crate) fn clear(&self) {
        self.floor.fetch_max(self.table.next(), Ordering::AcqRel);
    }
}

/// Remembers when keys last moved, for ever and in 64 KiB.
///
/// Many keys share a stripe, so a fill is now and then refused because of a neighbour: at 1,000
/// inserts a second and lookups of 1 ms, once in 4,000 times. In exchange nothing is ever
/// forgotten, and no tombstone takes room from an entry.
#[derive(Debug)]
pub(crate) struct FenceTable {
    last: AtomicU64,
    stripes: Box<[Mutex<u64>]>,
    /// The same in every run, so that a simulation can be run again. Whoever picks keys that share a
    /// stripe with another one gains that some of its fills are refused, and no more.
    hasher: ahash::RandomState,
}

impl FenceTable {
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        }
    }

    /// Where `key` stands.
    pub(crate) fn read(&self, key: &str) -> u64 {
        *self.stripe(key).lock()
    }

    /// Moves `key` and carries out `change`, which is given the new mark, before any fill of the
    /// key can be checked.
    pub(crate) fn advance<R>(&self, key: &str, change: impl FnOnce(u64) -> R) -> R {
        self.advance_from(key, |_, mark| change(mark))
    }

    /// The same; `change` is told as well where the key stood before.
    fn advance_from<R>(&self, key: &str, change: impl FnOnce(u64, u64) -> R) -> R {
        let mut stripe = self.stripe(key).lock();
        let was = std::mem::replace(&mut *stripe, self.next());
        change(was, *stripe)
    }

    /// Carries out `change` unless `key` has moved beyond `seen`. No move can come in between.
    pub(crate) fn unmoved<R>(&self, key: &str, seen: u64, change: impl FnOnce() -> R) -> Option<R> {
        let stripe = self.stripe(key).lock();
        (*stripe <= seen).then(change)
    }

    /// Returns when every change that was under way has been carried out.
    pub(crate) fn settle(&self) {
        for stripe in &self.stripes {
            drop(stripe.lock());
        }
    }

    /// A mark above all marks so far: the floor of a namespace that is cleared now.
    pub(crate) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn stripe(&self, key: &str) -> &Mutex<u64> {
        let hash = self.hasher.hash_one(key.as_bytes());
        &self.stripes[hash as usize & (STRIPES - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_moved_refuses_what_was_seen_before() {
        let table = FenceTable::new();
        let seen = table.read("k");
        assert_eq!(table.unmoved("k", seen, || "done"), Some("done"));
        let mark = table.advance("k", |mark| mark);
        assert_eq!(table.unmoved("k", seen, || "done"), None);
        assert_eq!(table.read("k"), mark);
        assert_eq!(table.unmoved("k", mark, || "done"), Some("done"));
    }
}
