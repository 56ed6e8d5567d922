//! How much the shards of an engine hold together, and who is to give way.

use std::sync::atomic::Ordering::Relaxed;

use super::EvictionCounts;
use crate::{eviction::Resident, sync::AtomicU64};

/// A value counts as large above this part of a shard's share.
const LARGE_PARTS: u64 = 8;

/// By which part of its share a shard may be below it and evict all the same. Else every other
/// insert would take its room from another shard.
const SLACK_PARTS: u64 = 16;

/// The room of one engine.
///
/// The bound is one for all shards: a shard takes what others leave free, and nothing is evicted
/// while there is room anywhere. Once there is none, shards above their share give way.
///
/// Values that are large beside a shard's share are counted apart, and all shards make room for
/// them in equal parts; else one of them would drive everything else out of its shard.
#[derive(Debug)]
pub(super) struct Room {
    capacity: AtomicU64,
    entries_max: u64,
    large_min: u64,
    /// What a policy is told that a record weighs at least, where entries are bounded: with that,
    /// as many entries as there may be fill its capacity.
    told_weight_min: u32,
    used: AtomicU64,
    /// Counted only where they are bounded: else the shards' own counts tell.
    entries: AtomicU64,
    large: AtomicU64,
    /// What of it is pinned.
    pinned: AtomicU64,
    /// Records that were to be pinned and found no room for that.
    unpinned: AtomicU64,
    /// A power of two.
    loads: Box<[Load]>,
    groups: Box<[Group]>,
}

/// What one shard holds, and what went from it. Written under its lock alone, so a count is read and
/// then written: that is many times cheaper than adding to it in one step.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load {
    small: AtomicU64,
    large: AtomicU64,
    entries: AtomicU64,
    evictions: [AtomicU64; Reason::ALL.len()],
}

/// Room that a newcomer brings with it: of the record in whose place it comes, and of those that were
/// evicted for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freed {
    weight: u64,
    entries: u64,
}

impl Freed {
    /// With that of one more record.
    pub(super) fn and(self, weight: u32) -> Self {
        Self { weight: self.weight + u64::from(weight), entries: self.entries + 1 }
    }
}

/// Records that have a guaranteed share together. Their weight is counted where there are several
/// groups.
#[derive(Debug)]
struct Group {
    weight: AtomicU64,
    quota: u64,
}

/// Why a record went that its owner did not remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Bytes,
    Entries,
    Quota,
    Pressure,
    Expired,
}

impl Reason {
    const ALL: [Self; 5] = [Self::Bytes, Self::Entries, Self::Quota, Self::Pressure, Self::Expired];
}

/// What a newcomer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Bytes,
    Entries,
}

impl From<Lack> for Reason {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Bytes => Self::Bytes,
            Lack::Entries => Self::Entries,
        }
    }
}

impl Room {
    /// Of `shards` shards. The first group has no quota, and the others have `quotas`.
    pub(super) fn new(capacity: u64, entries_max: u64, shards: usize, quotas: &[u64]) -> Self {
        let group = |quota| Group { weight: AtomicU64::new(0), quota };
        let large_min = if shards == 1 { u64::MAX } else { capacity / shards as u64 / LARGE_PARTS };
        Self {
            capacity: AtomicU64::new(capacity),
            entries_max,
            large_min,
            told_weight_min: u32::try_from(capacity / entries_max.max(1)).unwrap_or(u32::MAX),
            used: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            large: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            unpinned: AtomicU64::new(0),
            loads: (0..shards).map(|_| Load::default()).collect(),
            groups: std::iter::once(&0).chain(quotas).map(|quota| group(*quota)).collect(),
        }
    }

    /// Counts a record that went from a shard, whose lock is held.
    pub(super) fn count(&self, shard: usize, reason: Reason) {
        add(&self.loads[shard].evictions[reason as usize], 1);
    }

    pub(super) fn counts(&self) -> EvictionCounts {
        let [bytes, entries, quota, pressure, expired] = Reason::ALL.map(|reason| {
            self.loads.iter().map(|load| load.evictions[reason as usize].load(Relaxed)).sum()
        });
        let unpinned = self.unpinned.load(Relaxed);
        EvictionCounts { bytes, entries, quota, pressure, expired, unpinned }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Relaxed)
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Relaxed);
    }

    /// Whether there is more than there may be: the capacity was made smaller.
    pub(super) fn is_over(&self) -> bool {
        self.used() > self.capacity()
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(super) fn entries(&self) -> u64 {
        if self.bounds_entries() {
            return self.entries.load(Relaxed);
        }
        self.loads.iter().map(|load| load.entries.load(Relaxed)).sum()
    }

    const fn bounds_entries(&self) -> bool {
        self.entries_max != u64::MAX
    }

    pub(super) fn is_large(&self, weight: u32) -> bool {
        u64::from(weight) > self.large_min
    }

    /// A record as a policy is told of it.
    pub(super) fn told(&self, resident: Resident) -> Resident {
        Resident { weight: resident.weight.max(self.told_weight_min), ..resident }
    }

    /// Takes room for a record of `weight`, which brings `freed` with it. Where as much comes as goes,
    /// nothing is written that shards share.
    pub(super) fn reserve(&self, weight: u32, freed: Freed) -> Result<(), Lack> {
        let weight = u64::from(weight);
        if weight > freed.weight {
            if !grow(&self.used, weight - freed.weight, self.capacity()) {
                return Err(Lack::Bytes);
            }
        } else if weight < freed.weight {
            self.used.fetch_sub(freed.weight - weight, Relaxed);
        }
        if !self.bounds_entries() {
            return Ok(());
        }
        match freed.entries {
            // Nothing was freed, so all of the weight was taken from what is shared.
            0 if !grow(&self.entries, 1, self.entries_max) => {
                self.used.fetch_sub(weight, Relaxed);
                return Err(Lack::Entries);
            }
            0 | 1 => {}
            more => {
                self.entries.fetch_sub(more - 1, Relaxed);
            }
        }
        Ok(())
    }

    /// Gives back what [`reserve`](Self::reserve) took, or was to be brought to it.
    pub(super) fn release(&self, Freed { weight, entries }: Freed) {
        self.used.fetch_sub(weight, Relaxed);
        if self.bounds_entries() {
            self.entries.fetch_sub(entries, Relaxed);
        }
    }

    /// Counts a record of a shard in, whose lock is held.
    pub(super) fn enter(&self, shard: usize, group: usize, weight: u32, is_large: bool) {
        let (load, weight) = (&self.loads[shard], u64::from(weight));
        add(&load.entries, 1);
        if is_large {
            add(&load.large, weight);
            self.large.fetch_add(weight, Relaxed);
        } else {
            add(&load.small, weight);
        }
        if self.groups.len() > 1 {
            self.groups[group].weight.fetch_add(weight, Relaxed);
        }
    }

    /// Counts a record of a shard out, whose lock is held.
    pub(super) fn leave(&self, shard: usize, group: usize, weight: u32, is_large: bool) {
        let (load, weight) = (&self.loads[shard], u64::from(weight));
        take(&load.entries, 1);
        if is_large {
            take(&load.large, weight);
            self.large.fetch_sub(weight, Relaxed);
        } else {
            take(&load.small, weight);
        }
        if self.groups.len() > 1 {
            self.groups[group].weight.fetch_sub(weight, Relaxed);
        }
    }

    /// Pins `weight`, if that leaves at least half of the capacity to others.
    pub(super) fn pin(&self, weight: u32) -> bool {
        let is_pinned = grow(&self.pinned, u64::from(weight), self.capacity() / 2);
        if !is_pinned {
            self.unpinned.fetch_add(1, Relaxed);
        }
        is_pinned
    }

    pub(super) fn unpin(&self, weight: u32) {
        self.pinned.fetch_sub(u64::from(weight), Relaxed);
    }

    /// Whether `shard` itself is to give way to its newcomer.
    pub(super) fn is_turn_of(&self, shard: usize, lack: Lack, newcomer: &Resident) -> bool {
        if self.loads.len() == 1 {
            return true;
        }
        let load = &self.loads[shard];
        let (has, share) = match lack {
            Lack::Entries => (load.entries.load(Relaxed) + 1, self.share_of(self.entries_max)),
            Lack::Bytes if self.is_large(newcomer.weight) => {
                (load.small.load(Relaxed), self.small_share(newcomer.weight))
            }
            Lack::Bytes => {
                let has = load.small.load(Relaxed) + u64::from(newcomer.weight);
                (has, self.small_share(0))
            }
        };
        has > share - share / SLACK_PARTS
    }

    /// The shards in the order in which they are to give way to a newcomer elsewhere: that which
    /// has the most first.
    pub(super) fn turns(&self, lack: Lack) -> Vec<usize> {
        let share = self.small_share(0);
        let load = |shard: &usize| {
            let load = &self.loads[*shard];
            match lack {
                Lack::Entries => (0, load.entries.load(Relaxed)),
                Lack::Bytes => {
                    let small = load.small.load(Relaxed);
                    // Where no shard has too much of small values, large ones give way.
                    (u64::from(small > share) * small, load.large.load(Relaxed))
                }
            }
        };
        let mut shards: Vec<usize> = (0..self.loads.len()).collect();
        shards.sort_unstable_by_key(|shard| std::cmp::Reverse(load(shard)));
        shards
    }

    /// By how much a group is above its quota.
    pub(super) fn excess(&self, group: usize) -> u64 {
        let Group { weight, quota } = &self.groups[group];
        weight.load(Relaxed).saturating_sub(*quota)
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// What a policy of a shard is to expect of a group: its quota's part, or the shard's share.
    pub(super) fn share_of_group(&self, group: usize) -> u64 {
        let quota = self.groups[group].quota;
        self.share_of(if quota == 0 { self.capacity() } else { quota.min(self.capacity()) })
    }

    /// What a shard may hold of small values once a large one of `newcomer` has come.
    fn small_share(&self, newcomer: u32) -> u64 {
        let large = self.large.load(Relaxed) + u64::from(newcomer);
        self.share_of(self.capacity().saturating_sub(large))
    }

    const fn share_of(&self, whole: u64) -> u64 {
        // A division, without its cost.
        whole >> self.loads.len().trailing_zeros()
    }
}

/// Adds to a number that nobody else writes meanwhile.
fn add(number: &AtomicU64, by: u64) {
    number.store(number.load(Relaxed) + by, Relaxed);
}

/// Takes from a number that nobody else writes meanwhile.
fn take(number: &AtomicU64, by: u64) {
    number.store(number.load(Relaxed) - by, Relaxed);
}

/// Adds to a number that stays within `max`.
fn grow(number: &AtomicU64, by: u64, max: u64) -> bool {
    let within = |now: u64| now.checked_add(by).filter(|sum| *sum <= max);
    number.fetch_update(Relaxed, Relaxed, within).is_ok()
}
