//! Notes on reads, which an eviction policy may go by.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, mem};

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Reads after which only some are noted.
const RATE: u64 = 16_384;

/// One of so many is noted then.
const SAMPLE: u64 = 8;

/// Reads of a tier that keeps its values elsewhere: gathered in memory, and written down once in a
/// while by the tier. No read writes.
///
/// `K` is by what the tier finds a value again: its key, or the number of its row. Of
/// more than 16,384 reads between two [`take`](Self::take)s one of eight is noted from there on,
/// which counts for all of them. What waits is bounded by the number given to [`new`](Self::new):
/// reads of further values are not noted until it was taken.
///
/// # Examples
///
/// ```
/// use cache_core::{ReadNotes, Timestamp};
///
/// let notes: ReadNotes<Vec<u8>> = ReadNotes::new(1_000);
/// notes.add([b"AAPL", b"MSFT", b"AAPL"].map(|key| key.as_slice()), Timestamp::from_millis(5));
/// // Once in a while, by a task of the tier:
/// let taken = notes.take();
/// assert_eq!((taken[&b"AAPL"[..]].reads, taken[&b"MSFT"[..]].reads), (2, 1));
/// ```
#[derive(Debug)]
pub struct ReadNotes<K> {
    len_max: usize,
    waiting: Mutex<Waiting<K>>,
}

#[derive(Debug)]
struct Waiting<K> {
    reads: HashMap<K, ReadNote>,
    /// Reads since they were taken, noted or not.
    seen: u64,
}

/// What is known of the reads of a value since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadNote {
    /// How many there were, about.
    pub reads: u32,
    /// When the last of them was that was noted.
    pub last: Timestamp,
}

impl<K: Eq + Hash> ReadNotes<K> {
    /// Notes on the reads of `len_max` values at most.
    #[must_use]
    pub fn new(len_max: usize) -> Self {
        Self { len_max, waiting: Mutex::default() }
    }

    /// Notes that the values of `keys` were read, at `now`. A key is copied where it is new.
    pub fn add<'k, Q>(&self, keys: impl IntoIterator<Item = &'k Q>, now: Timestamp)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized + 'k,
    {
        let waiting = &mut *self.waiting.lock();
        for key in keys {
            waiting.seen += 1;
            let reads = match waiting.seen {
                ..=RATE => 1,
                seen if seen.is_multiple_of(SAMPLE) => SAMPLE as u32,
                _ => continue,
            };
            let is_full = waiting.reads.len() >= self.len_max;
            if let Some(note) = waiting.reads.get_mut(key) {
                *note = ReadNote { reads: note.reads.saturating_add(reads), last: now };
            } else if !is_full {
                waiting.reads.insert(key.to_owned(), ReadNote { reads, last: now });
            }
        }
    }

    /// All that wait, which do so no more.
    #[must_use = "what is taken is not noted any more"]
    pub fn take(&self) -> HashMap<K, ReadNote> {
        mem::take(&mut *self.waiting.lock()).reads
    }
}

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self { reads: HashMap::new(), seen: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn each_read_counts_until_there_are_many() {
        let notes: ReadNotes<i64> = ReadNotes::new(10);
        notes.add(&[1, 2, 1], NOW);
        let taken = notes.take();
        assert_eq!((taken[&1].reads, taken[&2].reads), (2, 1));
        assert!(notes.take().is_empty());
    }

    #[test]
    fn many_reads_are_sampled_and_count_for_about_all() {
        let notes: ReadNotes<String> = ReadNotes::new(10);
        for _ in 0..100_000 {
            notes.add(["hot"], NOW);
        }
        let reads = u64::from(notes.take()["hot"].reads);
        assert!(reads.abs_diff(100_000) < 2 * SAMPLE, "{reads}");
    }

    #[test]
    fn no_more_values_wait_than_may_and_those_that_do_go_on_counting() {
        let notes: ReadNotes<i64> = ReadNotes::new(100);
        notes.add(&(0..1_000).collect::<Vec<_>>(), NOW);
        notes.add(&[1], Timestamp::from_millis(2_000));
        let taken = notes.take();
        assert_eq!(taken.len(), 100);
        assert_eq!(taken[&1], ReadNote { reads: 2, last: Timestamp::from_millis(2_000) });
    }
}
