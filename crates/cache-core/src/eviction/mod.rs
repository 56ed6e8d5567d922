//! Which record goes when room is needed.

mod adaptive_s3_fifo;
mod aging_lfu;
mod arc;
mod fifo;
mod ghost;
mod kind;
mod lfu;
mod lru;
#[cfg(test)]
mod models;
mod numbers;
mod part;
mod queue;
mod random;
mod ranking;
mod replay;
mod s3_fifo;
mod s3_queues;
mod sieve;
mod sketch;
mod ttl;
mod w_tiny_lfu;

use std::fmt;

pub use self::kind::Eviction;
pub use self::ranking::Ranking;
pub use self::replay::Replay;
use crate::clock::Timestamp;

/// Where a record lies in the cache that the policy serves: a small number, used again after the
/// record has gone. Policies keep flat tables by it, so the cache gives out the lowest that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What a policy is told of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// A hash of the key, the same each time the key comes back: histories and sketches know keys
    /// by it.
    pub hash: u64,
    /// What the record takes of the capacity, in its unit: bytes, or 1 for each record. At least 1.
    pub weight: u32,
    /// When the record ends by itself.
    pub expires_at: Timestamp,
}

/// What a policy wants to know of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing.
    Ignored,
    /// How many there were, up to `max`. The cache counts them in the record itself and takes no
    /// lock; the policy looks at the [`ReadCounts`] when it needs a victim.
    Counted {
        /// Where the count stops.
        max: u8,
    },
    /// Each, by [`EvictionPolicy::read`]. A concurrent cache may tell of them later, in batches, and
    /// not of all.
    Told,
}

/// The counts of reads that a cache keeps for a policy, one for each slot.
pub trait ReadCounts {
    /// How often the record was read since it was inserted, or since [`set`](ReadCounts::set).
    fn get(&self, slot: Slot) -> u8;

    /// Makes `count` of it.
    fn set(&self, slot: Slot, count: u8);
}

/// Decides which record goes when room is needed.
///
/// A policy keeps no values and no keys, reads no clock, and draws random numbers from its seed
/// only: the same calls have the same answers. The cache that it serves calls it under a lock of its
/// own, and makes room *before* it inserts: while `weight() + new > capacity`, it asks for a victim.
///
/// Each slot is told in this order: [`insert`](Self::insert), then any number of
/// [`read`](Self::read) and [`update`](Self::update), then [`remove`](Self::remove) or being the
/// answer of [`evict`](Self::evict).
pub trait EvictionPolicy: Send + Sync + fmt::Debug {
    /// What it wants to know of reads.
    fn reads(&self) -> Reads;

    /// How much there may be, in the unit of the weights. Called once before anything else, and when
    /// the cache is made larger or smaller; the cache then asks for victims until it fits.
    fn set_capacity(&mut self, capacity: u64);

    /// A record has come.
    fn insert(&mut self, slot: Slot, record: Resident);

    /// A record was read. Only called where [`reads`](Self::reads) says [`Reads::Told`].
    fn read(&mut self, slot: Slot);

    /// A record was written anew in its place. That counts as a read as well; where reads are
    /// [counted](Reads::Counted), the cache counts it.
    fn update(&mut self, slot: Slot, record: Resident);

    /// A record was removed by its owner, or has expired: it leaves no trace in the history.
    fn remove(&mut self, slot: Slot);

    /// The record that goes next, which is forgotten here; nothing if there is none. `newcomer` is
    /// for whom room is made: some policies ask their history about it. Nothing where the cache has
    /// been made smaller.
    fn evict(&mut self, newcomer: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot>;
}
