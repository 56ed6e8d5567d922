//! Notes on reads, which a policy may go by: gathered in memory, and written down once in a while.
//!
//! No read writes. A process that reads more than [`RATE`] values between two writes notes one of
//! [`SAMPLE`] from there on, which counts for all of them.

use std::{collections::HashMap, mem};

use cache_core::Timestamp;
use parking_lot::Mutex;

/// The most values whose reads wait to be written down. Reads of others are not noted meanwhile.
const LEN_MAX: usize = 2_048;

/// Reads after which only some are noted.
const RATE: u64 = 16_384;

/// One of so many is noted then.
const SAMPLE: u64 = 8;

/// Reads that wait to be written down.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reads: HashMap<Vec<u8>, Note>,
    /// Reads since they were written down, noted or not.
    seen: u64,
}

/// What is known of the reads of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) reads: u32,
    pub(crate) last: Timestamp,
}

impl Notes {
    /// Notes that the values of `keys` were read.
    pub(crate) fn add<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, now: Timestamp) {
        let waiting = &mut *self.0.lock();
        for key in keys {
            waiting.seen += 1;
            let reads = match waiting.seen {
                ..=RATE => 1,
                seen if seen.is_multiple_of(SAMPLE) => SAMPLE as u32,
                _ => continue,
            };
            let is_full = waiting.reads.len() >= LEN_MAX;
            if let Some(note) = waiting.reads.get_mut(key) {
                *note = Note { reads: note.reads.saturating_add(reads), last: now };
            } else if !is_full {
                waiting.reads.insert(key.to_vec(), Note { reads, last: now });
            }
        }
    }

    /// All that wait, which do so no more.
    pub(crate) fn take(&self) -> HashMap<Vec<u8>, Note> {
        mem::take(&mut *self.0.lock()).reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn add(notes: &Notes, keys: &[&str]) {
        notes.add(keys.iter().map(|key| key.as_bytes()), NOW);
    }

    #[test]
    fn each_read_counts_until_there_are_many() {
        let notes = Notes::default();
        add(&notes, &["a", "b", "a"]);
        let taken = notes.take();
        assert_eq!((taken[&b"a"[..]].reads, taken[&b"b"[..]].reads), (2, 1));
        assert!(notes.take().is_empty());
    }

    #[test]
    fn many_reads_are_sampled_and_count_for_about_all() {
        let notes = Notes::default();
        for _ in 0..100_000 {
            add(&notes, &["hot"]);
        }
        let reads = u64::from(notes.take()[&b"hot"[..]].reads);
        assert!(reads.abs_diff(100_000) < 2 * SAMPLE, "{reads}");
    }

    #[test]
    fn no_more_values_wait_than_may() {
        let notes = Notes::default();
        for i in 0..RATE {
            add(&notes, &[&i.to_string()]);
        }
        assert_eq!(notes.take().len(), LEN_MAX);
    }
}
