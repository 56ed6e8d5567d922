//! Which records of a shard have expired, without looking at all of them.

use crate::clock::Timestamp;

/// Records of about a second expire together: 2^10 milliseconds.
const TICK_BITS: u32 = 10;
const LEVELS: usize = 4;
const BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 1 << BUCKET_BITS;

/// No slot.
const NONE: u32 = u32::MAX;
/// The tick of no deadline: each has passed at a later one.
const NEVER: u32 = 0;
/// In no list.
const UNLINKED: u16 = u16::MAX;

/// A hierarchical timing wheel over slots: 64 buckets of 1 s, 64 of 1 min, 64 of 70 min, 64 of 3
/// days. (Varghese and Lauck, Hashed and Hierarchical Timing Wheels, SOSP 1987.)
///
/// Scheduling and forgetting take constant time, and mostly touch nothing but what is kept of the
/// slot itself: a slot that is forgotten, or is to be told of later than before, stays in its list
/// until the turn of that comes. A record is told of at most 1.024 s after its deadline, never before
/// (until the year 2109), and is moved at most three times until then, and once for each time that
/// it was scheduled anew. 20 bytes a slot.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The next tick whose bucket is looked at; all before are empty.
    tick: u64,
    heads: Box<[[u32; BUCKETS]; LEVELS]>,
    lens: [u32; LEVELS],
    links: Vec<Link>,
}

/// A place in the doubly linked list of a bucket.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
    /// The first tick at which the deadline has passed; [`NEVER`] for a slot that was forgotten.
    due: u32,
    /// By which tick it was put into its list: no later than `due`.
    listed_for: u32,
    /// Level and bucket.
    list: u16,
}

impl Link {
    const NEW: Self = Self { prev: NONE, next: NONE, due: NEVER, listed_for: 0, list: UNLINKED };
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            tick: 0,
            heads: Box::new([[NONE; BUCKETS]; LEVELS]),
            lens: [0; LEVELS],
            links: Vec::new(),
        }
    }

    /// Tells of `slot` after `deadline`, in place of what was said of it before.
    pub(super) fn schedule(&mut self, slot: u32, deadline: Timestamp) {
        let index = slot as usize;
        if index >= self.links.len() {
            super::slab::grow_to(&mut self.links, index + 1);
            self.links.resize(index + 1, Link::NEW);
        }
        let due = (deadline.as_millis() >> TICK_BITS).saturating_add(1);
        let link = &mut self.links[index];
        link.due = u32::try_from(due).unwrap_or(u32::MAX);
        if link.list == UNLINKED {
            self.link(slot);
        } else if link.due < link.listed_for {
            self.unlink(slot);
            self.link(slot);
        }
    }

    /// Tells of `slot` no more.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(link) = self.links.get_mut(slot as usize) {
            link.due = NEVER;
        }
    }

    /// Whether there may be any to be told of: a tick has passed since that was last asked to the end.
    #[inline]
    pub(super) const fn is_due(&self, now: Timestamp) -> bool {
        self.tick <= now.as_millis() >> TICK_BITS
    }

    /// A record that has expired by `now`, which is forgotten here. Each slot that is looked at costs
    /// one of `steps`; without any left the answer is nothing.
    pub(super) fn expired(&mut self, now: Timestamp, steps: &mut u32) -> Option<u32> {
        let end = now.as_millis() >> TICK_BITS;
        while self.tick <= end {
            for level in (1..LEVELS).rev() {
                while let Some(slot) = self.first(level).filter(|_| self.begins(level)) {
                    *steps = steps.checked_sub(1)?;
                    self.move_on(slot);
                }
            }
            while let Some(slot) = self.first(0) {
                *steps = steps.checked_sub(1)?;
                let due = self.links[slot as usize].due;
                if due == NEVER || u64::from(due) > self.tick {
                    self.move_on(slot);
                    continue;
                }
                self.unlink(slot);
                self.forget(slot);
                return Some(slot);
            }
            let Some(lowest) = self.lens.iter().position(|len| *len > 0) else {
                self.tick = end + 1;
                return None;
            };
            // Buckets below the lowest level that has any are empty up to where its next begins.
            let span = 1 << (BUCKET_BITS * u32::try_from(lowest).unwrap_or(0));
            self.tick = (self.tick / span + 1).saturating_mul(span).min(end + 1);
        }
        None
    }

    /// Whether a bucket of `level` begins at the present tick.
    fn begins(&self, level: usize) -> bool {
        self.tick.trailing_zeros() as usize >= BUCKET_BITS as usize * level
    }

    /// The first record in the present bucket of `level`.
    fn first(&self, level: usize) -> Option<u32> {
        let bucket = (self.tick >> (BUCKET_BITS as usize * level)) as usize % BUCKETS;
        let slot = self.heads[level][bucket];
        (slot != NONE).then_some(slot)
    }

    /// Puts a slot where its tick belongs; out of all lists, if it was forgotten.
    fn move_on(&mut self, slot: u32) {
        self.unlink(slot);
        if self.links[slot as usize].due != NEVER {
            self.link(slot);
        }
    }

    /// Takes a slot out of its list.
    fn unlink(&mut self, slot: u32) {
        let Link { prev, next, list, .. } = self.links[slot as usize];
        let (level, bucket) = (usize::from(list) / BUCKETS, usize::from(list) % BUCKETS);
        match prev {
            NONE => self.heads[level][bucket] = next,
            prev => self.links[prev as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        self.links[slot as usize].list = UNLINKED;
        self.lens[level] -= 1;
    }

    /// Links a slot that is in no list where its tick belongs.
    fn link(&mut self, slot: u32) {
        let farthest = self.tick + (1 << (BUCKET_BITS as usize * LEVELS)) - 1;
        let due = u64::from(self.links[slot as usize].due).clamp(self.tick, farthest);
        let (ahead, mut level) = (due - self.tick, 0);
        while ahead >> (BUCKET_BITS as usize * (level + 1)) > 0 {
            level += 1;
        }
        let bucket = (due >> (BUCKET_BITS as usize * level)) as usize % BUCKETS;
        let next = std::mem::replace(&mut self.heads[level][bucket], slot);
        if next != NONE {
            self.links[next as usize].prev = slot;
        }
        let list = u16::try_from(level * BUCKETS + bucket).expect("there are 256 buckets");
        let link = &mut self.links[slot as usize];
        (link.prev, link.next, link.list, link.listed_for) = (NONE, next, list, link.due);
        self.lens[level] += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(wheel: &mut Wheel, now: Timestamp) -> Vec<u32> {
        let mut steps = u32::MAX;
        let mut slots: Vec<_> = std::iter::from_fn(|| wheel.expired(now, &mut steps)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_sweep_that_is_cut_short_goes_on_where_it_was() {
        let mut wheel = Wheel::new();
        let start = Timestamp::from_millis(1_700_000_000_000);
        assert!(all(&mut wheel, start).is_empty());
        for slot in 0..100 {
            wheel.schedule(slot, Timestamp::from_millis(start.as_millis() + 3_600_000));
        }
        let later = Timestamp::from_millis(start.as_millis() + 3_700_000);
        let mut slots = Vec::new();
        for _ in 0..1_000 {
            let mut steps = 7;
            slots.extend(std::iter::from_fn(|| wheel.expired(later, &mut steps)));
        }
        slots.sort_unstable();
        assert_eq!(slots, (0..100).collect::<Vec<_>>());
    }

    proptest! {
        /// Against a map that is looked through: nothing early, nothing later than a tick.
        #[test]
        fn what_has_expired_is_told_of_once_in_time(
            steps in proptest::collection::vec((0..32_u32, 0..4_u8, 0..33_u32), 1..200),
        ) {
            let mut now = 1_700_000_000_000_u64;
            let (mut wheel, mut model) = (Wheel::new(), BTreeMap::new());
            all(&mut wheel, Timestamp::from_millis(now));
            for (slot, what, scale) in steps {
                // Spans from milliseconds to months.
                let span = (1_u64 << (scale)) + u64::from(slot) * 37;
                match what {
                    0 | 1 => {
                        wheel.schedule(slot, Timestamp::from_millis(now + span));
                        model.insert(slot, now + span);
                    }
                    2 => {
                        wheel.forget(slot);
                        model.remove(&slot);
                    }
                    _ => {
                        now += span;
                        let told = all(&mut wheel, Timestamp::from_millis(now));
                        for slot in told {
                            let deadline = model.remove(&slot);
                            prop_assert!(deadline.is_some_and(|deadline| deadline <= now));
                        }
                        let late = model.values().find(|deadline| **deadline + 1_024 <= now);
                        prop_assert_eq!(late, None);
                    }
                }
            }
        }
    }
}
