//! A bounded map in this process, of which many threads read at the same time.

mod counts;
mod notes;
mod room;
mod shard;
mod slab;
#[cfg(all(test, not(shuttle)))]
mod tests;
mod wheel;

use std::fmt;

pub use self::counts::EvictionCounts;
use self::{
    room::{Lack, Reason, Room},
    shard::{Place, Shard, Victims},
    slab::Record,
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
pub(crate) struct Engine<K, V> {
    shards: Box<[Cell<K, V>]>,
    reads: Reads,
    room: Room,
    hasher: ahash::RandomState,
    eviction: Eviction,
}

/// A shard alone on its cache lines.
#[repr(align(128))]
struct Cell<K, V>(RwLock<Shard<K, V>>);

impl<K, V> Engine<K, V> {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let entries_max = config.entries_max.unwrap_or(u64::MAX);
        let shards = shards(config.eviction, config.capacity, entries_max);
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
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    /// What `read` makes of the value under the key, unless it has expired by `now`. That it was
    /// read is noted where `read` has an answer.
    ///
    /// `read` runs under the shard's lock: it is short, and calls nothing of this engine.
    pub(crate) fn get<R>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Timestamp,
        read: impl FnOnce(&V) -> Option<R>,
    ) -> Option<R> {
        let cell = &self.shards[self.index(hash)].0;
        let shard = cell.read();
        let slot = shard.find(hash, is_key)?;
        let record = shard.at(slot);
        if now >= record.expires_at {
            return None;
        }
        let answer = read(&record.value)?;
        match self.reads {
            Reads::Counted { max } => record.count_read(max),
            Reads::Told if shard.note(slot) => {
                drop(shard);
                // Whoever holds the lock tells the policy as well.
                if let Some(mut shard) = cell.try_write() {
                    shard.tell();
                }
            }
            Reads::Told | Reads::Ignored => {}
        }
        Some(answer)
    }

    /// What `read` makes of the value under the key, expired or not. That is no read.
    pub(crate) fn peek<R>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        read: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let shard = self.shards[self.index(hash)].0.read();
        let slot = shard.find(hash, is_key)?;
        Some(read(&shard.at(slot).value))
    }

    /// Keeps a value, for which room is made first. Where it is above what the engine can hold, the
    /// key is forgotten, and the answer is `false`.
    pub(crate) fn insert(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        (key, value): (K, V),
        terms: Terms,
        now: Timestamp,
    ) -> bool {
        let Terms { weight, expires_at, priority, group } = terms;
        let resident = Resident { hash, weight: weight.max(1), expires_at };
        let place = Place { resident, group, priority };
        let index = self.index(hash);
        // Declared before the lock, and so dropped after it.
        let mut dropped = Dropped::default();
        let mut shard = self.lock(index, now, &mut dropped);
        loop {
            let old = shard.find(hash, &is_key);
            let freed = old.map(|slot| shard.at(slot).weight);
            let Err(lack) = self.room.reserve(resident.weight, freed) else {
                if let Some(slot) = old {
                    dropped.add(shard.replace(&self.room, slot, place, key, value));
                } else {
                    shard.insert(&self.room, place, key, value);
                }
                return true;
            };
            let fits = u64::from(resident.weight) <= self.room.capacity();
            if fits && self.make_room(&mut shard, lack, &resident, now, &mut dropped) {
                continue;
            }
            drop(shard);
            let is_made = fits && self.make_room_elsewhere(index, lack, now, &mut dropped);
            shard = self.lock(index, now, &mut dropped);
            if !is_made {
                // The newcomer itself is what is too much.
                if let Some(slot) = shard.find(hash, &is_key) {
                    dropped.add(shard.take(&self.room, slot));
                }
                return false;
            }
        }
    }

    /// Forgets a key.
    pub(crate) fn remove(&self, hash: u64, is_key: impl Fn(&K) -> bool) {
        let mut shard = self.shards[self.index(hash)].0.write();
        shard.tell();
        let removed = shard.find(hash, is_key).map(|slot| shard.take(&self.room, slot));
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
        while self.room.used() > capacity {
            let turns = self.room.turns(Lack::Bytes);
            if !turns.into_iter().any(|index| self.relieve(index, now)) {
                break;
            }
        }
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
        dropped: &mut Dropped<K, V>,
    ) -> RwLockWriteGuard<'_, Shard<K, V>> {
        let mut shard = self.shards[index].0.write();
        shard.tell();
        shard.sweep(&self.room, now, &mut { SWEEP_STEPS }, dropped);
        shard
    }

    /// Makes some room in the newcomer's own shard, if that has its share.
    fn make_room(
        &self,
        shard: &mut Shard<K, V>,
        lack: Lack,
        newcomer: &Resident,
        now: Timestamp,
        dropped: &mut Dropped<K, V>,
    ) -> bool {
        let mut steps = SWEEP_STEPS_FULL;
        if shard.sweep(&self.room, now, &mut steps, dropped) {
            return true;
        }
        self.room.is_turn_of(shard.index(), lack, newcomer)
            && self.evict(shard, Victims::AboveQuota, Some(newcomer), dropped)
    }

    /// Makes some room wherever there is any, with no lock held: in the shard that has most, of
    /// what is not within a quota.
    fn make_room_elsewhere(
        &self,
        own: usize,
        lack: Lack,
        now: Timestamp,
        dropped: &mut Dropped<K, V>,
    ) -> bool {
        let turns = self.room.turns(lack);
        [Victims::AboveQuota, Victims::All].into_iter().any(|victims| {
            // The newcomer's own shard comes last: it has less than its share.
            let others = turns.iter().filter(|index| **index != own);
            others.chain([&own]).any(|index| {
                let mut shard = self.lock(*index, now, dropped);
                self.evict(&mut shard, victims, None, dropped)
            })
        })
    }

    fn evict(
        &self,
        shard: &mut Shard<K, V>,
        victims: Victims,
        newcomer: Option<&Resident>,
        dropped: &mut Dropped<K, V>,
    ) -> bool {
        let evicted = shard.evict(&self.room, victims, newcomer, Reason::Size);
        evicted.map(|record| dropped.add(record)).is_some()
    }

    /// Evicts some records of a shard while the engine holds too much. Answers whether any went.
    fn relieve(&self, index: usize, now: Timestamp) -> bool {
        let mut dropped = Dropped::default();
        let mut shard = self.lock(index, now, &mut dropped);
        for _ in 0..RELIEF {
            if self.room.used() <= self.room.capacity() {
                break;
            }
            match shard.evict(&self.room, Victims::All, None, Reason::Pressure) {
                Some(record) => dropped.add(record),
                None => break,
            }
        }
        !dropped.is_empty()
    }
}

/// Records that are dropped when no lock is held: a value's own drop may take long.
struct Dropped<K, V> {
    first: Option<Record<K, V>>,
    others: Vec<Record<K, V>>,
}

impl<K, V> Dropped<K, V> {
    fn add(&mut self, record: Record<K, V>) {
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

impl<K, V> Default for Dropped<K, V> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<K, V> fmt::Debug for Engine<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("eviction", &self.eviction)
            .field("shards", &self.shards.len())
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// Into how many shards an engine is split.
fn shards(eviction: Eviction, capacity: u64, entries_max: u64) -> usize {
    if matches!(eviction, Eviction::Fifo | Eviction::Ttl) {
        return 1;
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = (4 * threads).next_power_of_two().min(SHARDS_MAX) as u64;
    let enough = (capacity / SHARD_BYTES_MIN).min(entries_max / SHARD_ENTRIES_MIN).max(1);
    // The power of two that is not above it.
    let most = 1 << enough.ilog2();
    usize::try_from(wanted.min(most)).unwrap_or(SHARDS_MAX)
}
