//! Which keys have gone not long ago.

use super::numbers::mix;

/// Places of a bucket: with 8 bytes each, a bucket is one cache line.
const BUCKET_LEN: usize = 8;

/// Buckets that there are at least, so that a small cache's notes do not crowd.
const BUCKETS_MIN: usize = 8;

/// The keys that were evicted last, as 32 bits of their hashes, first in, first out.
///
/// A flat table of buckets: a look and a note touch one cache line each and allocate nothing. A note
/// carries the number of its eviction, and is void once `limit` more have been made: nothing has to
/// be taken out. A full bucket loses its oldest note too early, which is rare: there are twice as
/// many places as notes that count.
///
/// 16 bytes for each key that is remembered; the table has twice `limit` places, rounded up to a
/// power of two, and grows with the limit.
#[derive(Debug)]
pub(super) struct Ghost {
    buckets: Vec<Bucket>,
    /// How many notes count.
    limit: u32,
    /// The number of the next note.
    next: u32,
}

/// Notes, the print and the number of each at the same place, the newest first. They lie apart so
/// that all prints are compared at once.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// Of the keys' hashes; 0 where there is no note.
    prints: [u32; BUCKET_LEN],
    numbers: [u32; BUCKET_LEN],
}

impl Ghost {
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), limit: 0, next: 0 }
    }

    /// Makes it remember the last `limit` keys. What it knows, it keeps, as far as that reaches.
    #[inline]
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        if limit as usize * 2 > self.buckets.len() * BUCKET_LEN {
            self.grow(limit);
        }
    }

    #[cold]
    fn grow(&mut self, limit: u32) {
        let wanted = (limit as usize * 2).div_ceil(BUCKET_LEN).next_power_of_two().max(BUCKETS_MIN);
        // The bits that choose among more buckets are in no note: each note goes to all of the
        // buckets that its key may be looked for in.
        let old = std::mem::take(&mut self.buckets);
        self.buckets = match old.len() {
            0 => vec![Bucket::default(); wanted],
            len => (0..wanted).map(|index| old[index & (len - 1)]).collect(),
        };
    }

    /// Notes that the key has gone. It was taken out when it last came, so it has no other note.
    #[inline]
    pub(super) fn note(&mut self, hash: u64) {
        if self.limit == 0 {
            return;
        }
        let (bucket, print) = self.place(hash);
        let bucket = &mut self.buckets[bucket];
        bucket.prints.copy_within(..BUCKET_LEN - 1, 1);
        bucket.numbers.copy_within(..BUCKET_LEN - 1, 1);
        bucket.prints[0] = print;
        bucket.numbers[0] = self.next;
        self.next = self.next.wrapping_add(1);
    }

    /// How many keys it remembers.
    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// If the key is among the last that went: how many have gone since, itself counted. The note of
    /// it is taken out.
    #[inline]
    pub(super) fn take(&mut self, hash: u64) -> Option<u32> {
        if self.limit == 0 {
            return None;
        }
        let (bucket, print) = self.place(hash);
        let bucket = &mut self.buckets[bucket];
        // All are compared at once, without a branch for each: nearly always none is it.
        if bucket.prints.iter().fold(0, |found, held| found | u32::from(*held == print)) == 0 {
            return None;
        }
        let place = bucket.prints.iter().position(|held| *held == print)?;
        let age = self.next.wrapping_sub(bucket.numbers[place]);
        bucket.prints.copy_within(place + 1.., place);
        bucket.numbers.copy_within(place + 1.., place);
        bucket.prints[BUCKET_LEN - 1] = 0;
        (age <= self.limit).then_some(age)
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, u32) {
        let mixed = mix(hash);
        (mixed as usize & (self.buckets.len() - 1), ((mixed >> 32) as u32).max(1))
    }

    /// How many bytes it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.buckets.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_went_are_remembered_once_and_the_others_are_not() {
        let mut ghost = Ghost::new();
        ghost.set_limit(1_000);
        (0..10_000).for_each(|key| ghost.note(key));

        assert!((0..9_000).all(|key| ghost.take(key).is_none()));
        // A few are lost to full buckets.
        assert!((9_000..10_000).filter(|key| ghost.take(*key).is_some()).count() > 970);
        assert!((0..10_000).all(|key| ghost.take(key).is_none()));
    }

    #[test]
    fn what_was_noted_is_kept_when_there_is_room_for_more() {
        let mut ghost = Ghost::new();
        ghost.set_limit(10);
        (0..10).for_each(|key| ghost.note(key));
        ghost.set_limit(1_000);
        assert!((0..10).all(|key| ghost.take(key).is_some()));
    }

    #[test]
    fn it_takes_16_bytes_for_each_key_that_it_remembers() {
        let mut ghost = Ghost::new();
        ghost.set_limit(1 << 16);
        (0..1_000_000).for_each(|key| ghost.note(key));
        assert_eq!(ghost.bytes(), 16 << 16);
    }
}
