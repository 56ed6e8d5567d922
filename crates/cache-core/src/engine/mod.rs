//! A bounded map in this process, of which many threads read at the same time.

mod counts;
mod notes;
mod room;
#[cfg(all(test, shuttle))]
mod schedules;
mod shard;
mod slab;
#[cfg(all(test, not(shuttle)))]
mod tests;
#[cfg(all(test, not(shuttle)))]
mod traces;
mod wheel;

use std::fmt;

pub use self::counts::EvictionCounts;
pub(crate) use self::slab::Record;
use self::{
    room::{Freed, Lack, Reason, Room},
    shard::{Place, Shard, Victims},
    slab::count_read,
};
use crate::{
    clock::Timestamp,
    eviction::{Eviction, Reads, Resident},
    priority::EvictionPriority,
    sync::{RwLock, RwLockWriteGuard},
};

/// The most shards, beside which no two of a few dozen threads meet often.
const SHARDS_MAX: usize = 64;

/// A shard has at least this share of the bytes, and of the entries. With less its policy has too
/// few records to choose from.
const SHARD_BYTES_MIN: u64 = 256 * 1024;
const SHARD_ENTRIES_MIN: u64 = 512;

/// How many expired records a write gives back on its way, and how many before it evicts one.
const SWEEP_STEPS: u32 = 8;
const SWEEP_STEPS_FULL: u32 = 64;

/// How many records are swept, and how many evicted under pressure, while a lock is held.
const SWEEP_STEPS_LONG: u32 = 256;
const RELIEF: usize = 16;

/// What bounds an engine, and how.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// The weight of all records together.
    pub(crate) capacity: u64,
    /// How many records there may be.
    pub(crate) entries_max: Option<u64>,
    /// Which of them goes when room is needed.
    pub(crate) eviction: Eviction,
    /// The guaranteed shares of groups of records, from group 1 on. Group 0 has none.
    pub(crate) quotas: Vec<u64>,
    /// For the same answers in every run; else hashes are seeded at random, so that nobody can
    /// choose keys that meet in one place.
    pub(crate) seed: Option<u64>,
}

/// What is told of a record when it is inserted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) weight: u32,
    pub(crate) expires_at: Timestamp,
    /// When its room may be given back unasked: at its end, or later.
    pub(crate) reclaim_at: Timestamp,
    pub(crate) priority: EvictionPriority,
    pub(crate) group: usize,
}

/// A bounded concurrent map, split into shards with a policy each.
///
/// A hit takes the shared lock of one shard, writes a count of the record or, where the policy is
/// told of reads, a note, and nothing else. Policies that promise an order of all records, FIFO and
/// TTL, have one shard: their inserts wait for each other, and their hits share one lock's counter.
///
/// The caller hashes a key once with [`hash`](Self::hash), and tells the time.
pub(crate) struct Engine<T> {
    shards: Box<[Cell<T>]>,
    reads: Reads,
    room: Room,
    hasher: ahash::RandomState,
    eviction: Eviction,
}

/// A shard alone on its cache lines.
#[repr(align(128))]
struct Cell<T>(RwLock<Shard<T>>);

impl<T: Record> Engine<T> {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self::with_shards(config, shards(config))
    }

    fn with_shards(config: &EngineConfig, shards: usize) -> Self {
        let entries_max = config.entries_max.unwrap_or(u64::MAX);
        let seed = config.seed.unwrap_or_else(rand::random);
        let reads = config.eviction.policy(seed).reads();
        let shard = |index: usize| {
            Cell(RwLock::new(Shard::new(index, config.eviction, reads, seed ^ index as u64)))
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            reads,
            room: Room::new(config.capacity, entries_max, shards, &config.quotas),
            hasher: ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0),
            eviction: config.eviction,
        }
    }

    /// The hash of a key, of which `text` is what tells it from others.
    #[inline]
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    /// What `read` makes of the record of this hash that `is_it`. That it was read is noted where
    /// `read` has an answer: whether a record has expired, its reader sees.
    ///
    /// Both run under the shard's lock: they are short, and call nothing of this engine.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        read: impl FnOnce(&T) -> Option<R>,
    ) -> Option<R> {
        let cell = &self.shards[self.index(hash)].0;
        let shard = cell.read();
        let mut is_to_tell = false;
        // Made once, where it is answered: moving it would cost as much as the rest.
        let answer = shard.find(hash, is_it).and_then(|slot| {
            let record = shard.at(slot);
            let answer = read(record);
            if answer.is_some() {
                match self.reads {
                    Reads::Counted { max } => count_read(record.reads(), max),
                    Reads::Told => is_to_tell = shard.note(slot),
                    Reads::Ignored => {}
                }
            }
            answer
        });
        drop(shard);
        if is_to_tell {
            tell(cell);
        }
        answer
    }

    /// As [`get`](Self::get), but that is no read.
    pub(crate) fn peek<R>(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        read: impl FnOnce(&T) -> R,
    ) -> Option<R> {
        let shard = self.shards[self.index(hash)].0.read();
        let slot = shard.find(hash, is_it)?;
        Some(read(shard.at(slot)))
    }

    /// What the record that `is_it` was said to weigh. No read.
    pub(crate) fn weight_of(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        let shard = self.shards[self.index(hash)].0.read();
        shard.find(hash, is_it).map(|slot| shard.weight_at(slot))
    }

    /// Keeps a record in place of the one that `is_it`. Room is made first. Where it is above what
    /// the engine can hold, the old one is forgotten, and the answer is `false`.
    pub(crate) fn insert(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        record: T,
        terms: Terms,
        now: Timestamp,
    ) -> bool {
        let Terms { weight, expires_at, reclaim_at, priority, group } = terms;
        let resident = Resident { hash, weight: weight.max(1), expires_at };
        let place = Place { resident, reclaim_at, group, priority };
        let index = self.index(hash);
        // Declared before the lock, and so dropped after it.
        let mut dropped = Dropped::default();
        let mut shard = self.lock(index, now, &mut dropped);
        let mut old = shard.find(hash, &is_it);
        // What was evicted from this shard, whose room the newcomer takes at once.
        let mut evicted = Freed::default();
        loop {
            let freed = old.map_or(evicted, |slot| evicted.and(shard.weight_at(slot)));
            let Err(lack) = self.room.reserve(resident.weight, freed) else {
                if let Some(slot) = old {
                    dropped.add(shard.replace(&self.room, slot, place, record));
                } else {
                    shard.insert(&self.room, place, record);
                }
                drop(shard);
                // The capacity may have shrunk since the room was taken.
                self.relieve(now);
                return true;
            };
            let fits = u64::from(resident.weight) <= self.room.capacity();
            let made = if fits {
                self.make_room(&mut shard, lack, &resident, now, &mut dropped)
            } else {
                Made::Nothing
            };
            match made {
                // The old one may be what has gone.
                Made::Swept => old = old.and_then(|_| shard.find(hash, &is_it)),
                Made::Evicted(weight) => {
                    evicted = evicted.and(weight);
                    old = old.and_then(|_| shard.find(hash, &is_it));
                }
                Made::Nothing => {
                    drop(shard);
                    self.room.release(std::mem::take(&mut evicted));
                    let is_made = fits && self.make_room_elsewhere(index, lack, now, &mut dropped);
                    shard = self.lock(index, now, &mut dropped);
                    old = shard.find(hash, &is_it);
                    if !is_made {
                        // The newcomer itself is what is too much.
                        if let Some(slot) = old {
                            dropped.add(shard.take(&self.room, slot));
                        }
                        return false;
                    }
                }
            }
        }
    }

    /// Forgets the record that `is_it`.
    pub(crate) fn remove(&self, hash: u64, is_it: impl Fn(&T) -> bool) {
        let mut shard = self.shards[self.index(hash)].0.write();
        shard.tell();
        let removed = shard.find(hash, is_it).map(|slot| shard.take(&self.room, slot));
        drop(shard);
        drop(removed);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for cell in &self.shards {
            let cleared = cell.0.write().clear(&self.room);
            drop(cleared);
        }
    }

    /// Makes the engine smaller or larger, and evicts by policy what is too much. Answers how many
    /// records went.
    pub(crate) fn resize(&self, capacity: u64, now: Timestamp) -> u64 {
        self.room.set_capacity(capacity);
        let before = self.room.counts().pressure;
        for index in 0..self.shards.len() {
            self.shards[index].0.write().resize(&self.room);
        }
        self.relieve(now);
        self.room.counts().pressure - before
    }

    /// Gives the room of expired records back.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for cell in &self.shards {
            loop {
                let mut dropped = Dropped::default();
                let mut steps = SWEEP_STEPS_LONG;
                cell.0.write().sweep(&self.room, now, &mut steps, &mut dropped);
                if steps > 0 {
                    break;
                }
            }
        }
    }

    /// What all records weigh together.
    pub(crate) fn weight(&self) -> u64 {
        self.room.used()
    }

    /// How many records there are, expired ones included that are still to be swept.
    pub(crate) fn len(&self) -> u64 {
        self.room.entries()
    }

    pub(crate) fn counts(&self) -> EvictionCounts {
        self.room.counts()
    }

    const fn index(&self, hash: u64) -> usize {
        // Bits that the table does not look at: it takes the lowest ones, and the highest seven.
        (hash >> 40) as usize & (self.shards.len() - 1)
    }

    /// The exclusive lock of a shard, whose policies are told of reads first.
    fn lock(
        &self,
        index: usize,
        now: Timestamp,
        dropped: &mut Dropped<T>,
    ) -> RwLockWriteGuard<'_, Shard<T>> {
        let mut shard = self.shards[index].0.write();
        shard.tell();
        if shard.is_due(now) {
            shard.sweep(&self.room, now, &mut { SWEEP_STEPS }, dropped);
        }
        shard
    }

    /// Makes some room in the newcomer's own shard, if that has its share.
    fn make_room(
        &self,
        shard: &mut Shard<T>,
        lack: Lack,
        newcomer: &Resident,
        now: Timestamp,
        dropped: &mut Dropped<T>,
    ) -> Made {
        if shard.is_due(now) && shard.sweep(&self.room, now, &mut { SWEEP_STEPS_FULL }, dropped) {
            return Made::Swept;
        }
        if !self.room.is_turn_of(shard.index(), lack, newcomer) {
            return Made::Nothing;
        }
        match shard.evict(&self.room, Victims::AboveQuota, Some(newcomer), lack.into()) {
            Some((record, weight)) => {
                dropped.add(record);
                Made::Evicted(weight)
            }
            None => Made::Nothing,
        }
    }

    /// Makes some room wherever there is any, with no lock held: in the shard that has most, of
    /// what is not within a quota.
    fn make_room_elsewhere(
        &self,
        own: usize,
        lack: Lack,
        now: Timestamp,
        dropped: &mut Dropped<T>,
    ) -> bool {
        let turns = self.room.turns(lack);
        [Victims::AboveQuota, Victims::All].into_iter().any(|victims| {
            // The newcomer's own shard comes last: it has less than its share.
            let others = turns.iter().filter(|index| **index != own);
            others.chain([&own]).any(|index| {
                let mut shard = self.lock(*index, now, dropped);
                self.evict(&mut shard, victims, lack.into(), dropped)
            })
        })
    }

    /// Evicts a record, and gives its room to whoever needs it.
    fn evict(
        &self,
        shard: &mut Shard<T>,
        victims: Victims,
        reason: Reason,
        dropped: &mut Dropped<T>,
    ) -> bool {
        let Some((record, weight)) = shard.evict(&self.room, victims, None, reason) else {
            return false;
        };
        self.room.release(Freed::default().and(weight));
        dropped.add(record);
        true
    }

    /// Evicts by policy while the engine holds more than it may.
    fn relieve(&self, now: Timestamp) {
        while self.room.is_over() {
            let turns = self.room.turns(Lack::Bytes);
            if !turns.into_iter().any(|index| self.relieve_shard(index, now)) {
                break;
            }
        }
    }

    /// Evicts some records of a shard. Answers whether any went.
    fn relieve_shard(&self, index: usize, now: Timestamp) -> bool {
        let mut dropped = Dropped::default();
        let mut shard = self.lock(index, now, &mut dropped);
        for _ in 0..RELIEF {
            let is_over = self.room.is_over();
            if !is_over || !self.evict(&mut shard, Victims::All, Reason::Pressure, &mut dropped) {
                break;
            }
        }
        !dropped.is_empty()
    }
}

/// Tells the policies of a shard of its reads, unless somebody has its lock: whoever has it does so as
/// well.
#[cold]
fn tell<T: Record>(cell: &RwLock<Shard<T>>) {
    if let Some(mut shard) = cell.try_write() {
        shard.tell();
    }
}

/// What was done for a newcomer in its own shard.
enum Made {
    /// Expired records gave their room back.
    Swept,
    /// A record of this weight went, whose room is the newcomer's.
    Evicted(u32),
    Nothing,
}

/// Records that are dropped when no lock is held: a value's own drop may take long.
struct Dropped<T> {
    first: Option<T>,
    others: Vec<T>,
}

impl<T> Dropped<T> {
    fn add(&mut self, record: T) {
        // Mostly it is one, for which nothing is allocated.
        if self.first.is_none() {
            self.first = Some(record);
        } else {
            self.others.push(record);
        }
    }

    const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<T> Default for Dropped<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<T> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("eviction", &self.eviction)
            .field("shards", &self.shards.len())
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// Into how many shards an engine is split.
fn shards(config: &EngineConfig) -> usize {
    if matches!(config.eviction, Eviction::Fifo | Eviction::Ttl) {
        return 1;
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = (4 * threads).next_power_of_two().min(SHARDS_MAX) as u64;
    let entries = config.entries_max.unwrap_or(u64::MAX) / SHARD_ENTRIES_MIN;
    let enough = (config.capacity / SHARD_BYTES_MIN).min(entries).max(1);
    // The power of two that is not above it.
    let most = 1 << enough.ilog2();
    usize::try_from(wanted.min(most)).unwrap_or(SHARDS_MAX)
}
