//! Notes on reads, which a policy may go by: gathered in memory, and written down once in a while.
//!
//! No read writes. A process that reads more than [`RATE`] values between two writes notes one of
//! [`SAMPLE`] from there on, which counts for all of them.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use cache_core::Timestamp;

/// The most values whose reads wait to be written down. Reads of others are not noted meanwhile.
const LEN_MAX: usize = 8_192;

/// Reads after which only some are noted.
const RATE: u64 = 16_384;

/// One of so many is noted then.
const SAMPLE: u64 = 8;

/// Reads that wait to be written down.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reads: HashMap<i64, Note>,
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
    /// Notes that the values in `rows` were read.
    pub(crate) fn add(&self, rows: &[i64], now: Timestamp) {
        if rows.is_empty() {
            return;
        }
        // Nothing panics while it is held, and notes are nobody's truth.
        let waiting = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            waiting.seen += 1;
            let reads = match waiting.seen {
                ..=RATE => 1,
                seen if seen.is_multiple_of(SAMPLE) => SAMPLE as u32,
                _ => continue,
            };
            let is_full = waiting.reads.len() >= LEN_MAX;
            if let Some(note) = waiting.reads.get_mut(row) {
                *note = Note { reads: note.reads.saturating_add(reads), last: now };
            } else if !is_full {
                waiting.reads.insert(*row, Note { reads, last: now });
            }
        }
    }

    /// All that wait, which do so no more.
    pub(crate) fn take(&self) -> HashMap<i64, Note> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *waiting).reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn each_read_counts_until_there_are_many() {
        let notes = Notes::default();
        notes.add(&[1, 2, 1], NOW);
        let taken = notes.take();
        assert_eq!((taken[&1].reads, taken[&2].reads), (2, 1));
        assert!(notes.take().is_empty());
    }

    #[test]
    fn many_reads_are_sampled_and_count_for_about_all() {
        let notes = Notes::default();
        for _ in 0..100_000 {
            notes.add(&[7], NOW);
        }
        let reads = u64::from(notes.take()[&7].reads);
        assert!(reads.abs_diff(100_000) < 2 * SAMPLE, "{reads}");
    }

    #[test]
    fn no_more_values_wait_than_may() {
        let notes = Notes::default();
        let rows: Vec<i64> = (0..20_000).collect();
        notes.add(&rows, NOW);
        notes.add(&[1], NOW);
        let taken = notes.take();
        assert_eq!(taken.len(), LEN_MAX);
        assert!(taken[&1].reads >= 1);
    }
}
