//! The keys that may be looked at next: a bounded memory of what was read and invalidated.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use super::compare::Sample;
use crate::{clock::Timestamp, key::Key};

#[derive(Debug)]
pub(super) struct Notes {
    keys_max: usize,
    reads: VecDeque<Key>,
    invalidated: VecDeque<(Key, Timestamp)>,
    random: RandomState,
    drawn: u64,
}

impl Notes {
    pub(super) fn new(keys_max: usize) -> Self {
        let (reads, invalidated) = (VecDeque::new(), VecDeque::new());
        Self { keys_max, reads, invalidated, random: RandomState::new(), drawn: 0 }
    }

    pub(super) fn read(&mut self, key: &Key) {
        push(&mut self.reads, key.clone(), self.keys_max);
    }

    pub(super) fn invalidated(&mut self, key: &Key, at: Timestamp) {
        push(&mut self.invalidated, (key.clone(), at), self.keys_max);
    }

    /// Takes at most `samples_max` random keys, each once: half of them invalidated ones, or more
    /// where the others do not suffice.
    pub(super) fn take(&mut self, samples_max: usize) -> Vec<Sample> {
        let of_reads = self.reads.len().min(samples_max.div_ceil(2));
        let of_invalidated = self.invalidated.len().min(samples_max - of_reads);
        let of_reads = self.reads.len().min(samples_max - of_invalidated);
        let mut samples: Vec<Sample> = Vec::new();
        for _ in 0..of_invalidated {
            let at = self.draw(self.invalidated.len());
            let (key, at) = self.invalidated.swap_remove_back(at).expect("drawn below its length");
            // Of several removals of a key the last one counts.
            match samples.iter_mut().find(|sample| sample.key == key) {
                Some(known) => known.invalidated_at = known.invalidated_at.max(Some(at)),
                None => samples.push(Sample::new(key, Some(at))),
            }
        }
        for _ in 0..of_reads {
            let at = self.draw(self.reads.len());
            let key = self.reads.swap_remove_back(at).expect("drawn below its length");
            if samples.iter().all(|sample| sample.key != key) {
                samples.push(Sample::new(key, None));
            }
        }
        samples
    }

    fn draw(&mut self, below: usize) -> usize {
        self.drawn += 1;
        usize::try_from(self.random.hash_one(self.drawn) % below as u64).expect("below a length")
    }
}

fn push<T>(notes: &mut VecDeque<T>, note: T, len_max: usize) {
    if len_max == 0 {
        return;
    }
    if notes.len() >= len_max {
        notes.pop_front();
    }
    notes.push_back(note);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Namespace;

    fn key(number: usize) -> Key {
        Namespace::new("n").unwrap().key(&number.to_string()).unwrap()
    }

    #[test]
    fn notes_are_bounded_and_taken_once() {
        let mut notes = Notes::new(100);
        for number in 0..1_000 {
            notes.read(&key(number));
            notes.invalidated(&key(10_000 + number), Timestamp::default());
        }
        let samples = notes.take(20);
        let of_reads = samples.iter().filter(|sample| sample.invalidated_at.is_none()).count();
        assert_eq!((samples.len(), of_reads), (20, 10));
        let rest = notes.take(1_000);
        assert_eq!(rest.len(), 180);
        assert!(rest.iter().all(|sample| samples.iter().all(|taken| taken.key != sample.key)));
        assert!(notes.take(20).is_empty());
    }

    #[test]
    fn of_several_removals_of_a_key_the_last_counts() {
        let mut notes = Notes::new(100);
        for at in [1, 3, 2] {
            notes.invalidated(&key(1), Timestamp::from_millis(at));
        }
        notes.read(&key(1));
        let samples = notes.take(20);
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].invalidated_at, Some(Timestamp::from_millis(3)));
    }
}
