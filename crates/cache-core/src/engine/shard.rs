//! A part of an engine, under one lock.

use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashTable;

use super::{
    Dropped,
    notes::Notes,
    room::{Freed, Reason, Room},
    slab::{Cold, Record, Slab, count_read},
    wheel::Wheel,
};
use crate::{
    clock::Timestamp,
    eviction::{Eviction, EvictionPolicy, Reads, Resident, Slot},
    priority::EvictionPriority,
};

/// How many ranks a group of records has: one for each priority. Pinned records are in no policy.
const RANKS: usize = EvictionPriority::ALL.len();
const PINNED: usize = EvictionPriority::Pinned as usize;

/// Which records may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victims {
    /// Those of groups that are above their quotas.
    AboveQuota,
    /// All that are not pinned.
    All,
}

/// What a shard is told of a record beside key and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) resident: Resident,
    pub(super) reclaim_at: Timestamp,
    pub(super) group: usize,
    pub(super) priority: EvictionPriority,
}

/// The records whose hashes fall into one shard.
///
/// Every method is one step that leaves the whole consistent.
#[derive(Debug)]
pub(super) struct Shard<T> {
    index: usize,
    table: HashTable<u32>,
    slab: Slab<T>,
    wheel: Wheel,
    eviction: Eviction,
    seed: u64,
    /// One policy for each group and each rank in it, made when its first record comes.
    ranks: Vec<Option<Box<dyn EvictionPolicy>>>,
    reads: Reads,
    notes: Option<Box<Notes>>,
}

impl<T: Record> Shard<T> {
    pub(super) fn new(index: usize, eviction: Eviction, reads: Reads, seed: u64) -> Self {
        Self {
            index,
            table: HashTable::new(),
            slab: Slab::new(),
            wheel: Wheel::new(),
            eviction,
            seed,
            ranks: Vec::new(),
            reads,
            notes: (reads == Reads::Told).then(|| Box::new(Notes::new())),
        }
    }

    pub(super) const fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        self.table.find(hash, |slot| is_it(self.slab.at(*slot))).copied()
    }

    pub(super) fn at(&self, slot: u32) -> &T {
        self.slab.at(slot)
    }

    pub(super) fn weight_at(&self, slot: u32) -> u32 {
        self.slab.cold(slot).weight
    }

    /// Notes a read for the policy; answers whether it should be told soon.
    pub(super) fn note(&self, slot: u32) -> bool {
        self.notes.as_ref().is_some_and(|notes| notes.add(Slot(slot)))
    }

    /// Tells the policies of the reads since they were last told.
    pub(super) fn tell(&mut self) {
        let Some(notes) = &mut self.notes else { return };
        notes.take(|slot| {
            let rank = usize::from(self.slab.cold(slot.0).rank);
            if let Some(Some(policy)) = self.ranks.get_mut(rank) {
                policy.read(slot);
            }
        });
    }

    /// Takes out records that have expired, in at most `steps`. Answers whether there were any.
    pub(super) fn sweep(
        &mut self,
        room: &Room,
        now: Timestamp,
        steps: &mut u32,
        dropped: &mut Dropped<T>,
    ) -> bool {
        let mut any = false;
        while let Some(slot) = self.wheel.expired(now, steps) {
            room.count(self.index, Reason::Expired);
            dropped.add(self.take(room, slot));
            any = true;
        }
        any
    }

    /// Whether a sweep may find anything: mostly not, as time goes by in ticks.
    #[inline]
    pub(super) const fn is_due(&self, now: Timestamp) -> bool {
        self.wheel.is_due(now)
    }

    /// A record that is to go, taken out, and what it weighed: its room is still to be released, or
    /// to be brought to a newcomer.
    pub(super) fn evict(
        &mut self,
        room: &Room,
        victims: Victims,
        newcomer: Option<&Resident>,
        reason: Reason,
    ) -> Option<(T, u32)> {
        let (slot, is_above) = if room.groups() == 1 {
            (self.victim(0, newcomer)?, false)
        } else {
            self.victim_among_groups(room, victims, newcomer)?
        };
        room.count(self.index, if is_above { Reason::Quota } else { reason });
        Some(self.take_out(room, slot.0))
    }

    /// The next to go of the group that is the farthest above its quota.
    fn victim_among_groups(
        &mut self,
        room: &Room,
        victims: Victims,
        newcomer: Option<&Resident>,
    ) -> Option<(Slot, bool)> {
        let mut groups: Vec<(u64, usize)> = (0..room.groups())
            .map(|group| (room.excess(group), group))
            .filter(|(excess, _)| *excess > 0 || victims == Victims::All)
            .collect();
        groups.sort_unstable_by(|a, b| b.cmp(a));
        groups.into_iter().find_map(|(excess, group)| {
            Some((self.victim(group, newcomer)?, excess > 0 && group > 0))
        })
    }

    fn victim(&mut self, group: usize, newcomer: Option<&Resident>) -> Option<Slot> {
        let ranks = self.ranks.iter_mut().skip(group * RANKS).take(RANKS);
        ranks.flatten().find_map(|policy| policy.evict(newcomer, &self.slab))
    }

    /// Puts a record in, for which there is room.
    pub(super) fn insert(&mut self, room: &Room, place: Place, record: T) {
        let cold = self.enter(room, place);
        let slot = self.slab.insert(record, cold);
        let slab = &self.slab;
        self.table.insert_unique(cold.hash, slot, |slot| slab.cold(*slot).hash);
        self.wheel.schedule(slot, place.reclaim_at);
        if let Some(policy) = self.policy(room, cold.rank) {
            policy.insert(Slot(slot), room.told(place.resident));
        }
    }

    /// Puts a record in the place of the one in `slot`, which is answered. There is room.
    pub(super) fn replace(&mut self, room: &Room, slot: u32, place: Place, record: T) -> T {
        let old_rank = self.leave(room, slot);
        let cold = self.enter(room, place);
        if let Reads::Counted { max } = self.reads {
            // That it was written counts as a read; the policy's history of it goes on.
            record.reads().store(self.slab.at(slot).reads().load(Relaxed), Relaxed);
            count_read(record.reads(), max);
        }
        let old = self.slab.replace(slot, record, cold);
        self.wheel.schedule(slot, place.reclaim_at);
        if cold.rank == old_rank {
            if let Some(policy) = self.policy(room, cold.rank) {
                policy.update(Slot(slot), room.told(place.resident));
            }
            return old;
        }
        if let Some(policy) = self.policy(room, old_rank) {
            policy.remove(Slot(slot));
        }
        if let Some(policy) = self.policy(room, cold.rank) {
            policy.insert(Slot(slot), room.told(place.resident));
        }
        old
    }

    /// Takes a record out that its owner does not want any more.
    pub(super) fn take(&mut self, room: &Room, slot: u32) -> T {
        let rank = self.slab.cold(slot).rank;
        if let Some(policy) = self.policy(room, rank) {
            policy.remove(Slot(slot));
        }
        let (record, weight) = self.take_out(room, slot);
        room.release(Freed::default().and(weight));
        record
    }

    /// Takes a record out that its policy has forgotten, all but for its room.
    fn take_out(&mut self, room: &Room, slot: u32) -> (T, u32) {
        self.leave(room, slot);
        self.wheel.forget(slot);
        let Cold { hash, weight, .. } = *self.slab.cold(slot);
        let entry = self.table.find_entry(hash, |other| *other == slot);
        entry.expect("every record is in the table").remove();
        (self.slab.remove(slot), weight)
    }

    /// Gives everything up, and counts it out.
    pub(super) fn clear(&mut self, room: &Room) -> Self {
        for slot in self.slab.slots() {
            self.leave(room, slot);
            room.release(Freed::default().and(self.slab.cold(slot).weight));
        }
        let empty = Self::new(self.index, self.eviction, self.reads, self.seed);
        std::mem::replace(self, empty)
    }

    /// Tells the policies of a new capacity.
    pub(super) fn resize(&mut self, room: &Room) {
        for (rank, policy) in self.ranks.iter_mut().enumerate() {
            if let Some(policy) = policy {
                policy.set_capacity(room.share_of_group(rank / RANKS));
            }
        }
    }

    /// Counts a record in.
    fn enter(&self, room: &Room, place: Place) -> Cold {
        let Place { resident: Resident { hash, weight, .. }, group, priority, .. } = place;
        let is_large = room.is_large(weight);
        room.enter(self.index, group, weight, is_large);
        let priority = match priority {
            EvictionPriority::Pinned if !room.pin(weight) => EvictionPriority::High,
            priority => priority,
        };
        let rank = u8::try_from(group * RANKS + priority as usize).expect("there are few groups");
        Cold { hash, weight, rank, is_large }
    }

    /// Counts a record out, but for the room that it takes. Answers its rank.
    fn leave(&self, room: &Room, slot: u32) -> u8 {
        let Cold { weight, rank, is_large, .. } = *self.slab.cold(slot);
        if usize::from(rank) % RANKS == PINNED {
            room.unpin(weight);
        }
        room.leave(self.index, usize::from(rank) / RANKS, weight, is_large);
        rank
    }

    /// The policy of a rank; nothing for pinned records.
    fn policy(&mut self, room: &Room, rank: u8) -> Option<&mut Box<dyn EvictionPolicy>> {
        let rank = usize::from(rank);
        if rank % RANKS == PINNED {
            return None;
        }
        if rank >= self.ranks.len() {
            self.ranks.resize_with(rank + 1, || None);
        }
        Some(self.ranks[rank].get_or_insert_with(|| {
            let mut policy = self.eviction.policy(self.seed.wrapping_add(rank as u64));
            policy.set_capacity(room.share_of_group(rank / RANKS));
            policy
        }))
    }
}
