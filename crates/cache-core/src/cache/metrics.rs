//! What the front counts itself.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::hit::{Hit, Origin};
use crate::stats::{CacheStats, Operation, Outcome, Recorder, TierStats, ratio};
use crate::tier::Usage;

/// Of so many near hits of a thread the time of one is taken: reading the clock twice costs as much
/// as the hit.
const NEAR_SAMPLING: u32 = 64;

/// Counters that threads mostly do not share.
const SHARDS: usize = 16;

/// The counters of one cache.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    near_hits: Sharded,
    near_misses: Counter,
    near: Recorder,
    /// Keys answered from below the near tier.
    lower_hits: Counter,
    misses: Counter,
    pub(super) loads: Recorder,
    pub(super) started_loads: Counter,
    pub(super) shared_flights: Counter,
    pub(super) stale_served: Counter,
    pub(super) superseded_fills: Counter,
    pub(super) undecodable: Counter,
    pub(super) uncacheable: Counter,
    pub(super) early_refreshes: Counter,
    pub(super) background_loads: Counter,
    pub(super) soft_timeouts: Counter,
    pub(super) stale_at_once: Counter,
    pub(super) negatives: Counter,
    pub(super) not_modified: Counter,
    pub(super) loads_shed: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// The start of a near lookup, if its time is to be taken.
    #[inline]
    pub(crate) fn near_started() -> Option<Instant> {
        let tick = TICKS.get().wrapping_add(1);
        TICKS.set(tick);
        tick.is_multiple_of(NEAR_SAMPLING).then(Instant::now)
    }

    #[inline]
    pub(crate) fn near_hit(&self, started: Option<Instant>) {
        self.near_hits.add();
        if let Some(started) = started {
            self.near_took(started);
        }
    }

    #[cold]
    fn near_took(&self, started: Instant) {
        self.near.record(Operation::Get, Outcome::Hit, started.elapsed(), 1);
    }

    pub(super) fn near_miss(&self) {
        self.near_misses.add(1);
    }

    /// Counts an answer that did not come from the near tier's fast path.
    pub(super) fn answered<V>(&self, hit: Option<&Hit<V>>) {
        match hit.map(Hit::origin) {
            Some(Origin::Near) => self.near_hits.add(),
            Some(Origin::Tier { .. }) => self.lower_hits.add(1),
            Some(Origin::Load) | None => self.misses.add(1),
        }
    }

    /// How many keys were answered, from wherever, or were not.
    pub(super) fn reads(&self) -> u64 {
        self.near_hits.sum() + self.lower_hits.get() + self.misses.get()
    }

    /// The near tier's part of a snapshot.
    pub(super) fn near_stats(&self, usage: Usage) -> TierStats {
        let (hits, misses) = (self.near_hits.sum(), self.near_misses.get());
        TierStats {
            hits,
            misses,
            hit_ratio: ratio(hits, misses),
            ..TierStats::new("near", &self.near, Some(usage))
        }
    }

    /// A snapshot over `tiers`.
    pub(super) fn snapshot(&self, namespace: String, tiers: Vec<TierStats>) -> CacheStats {
        let hits = self.near_hits.sum() + self.lower_hits.get();
        let misses = self.misses.get();
        let load_latency = self.loads.snapshot(Operation::Load);
        CacheStats {
            namespace,
            tiers,
            hits,
            misses,
            hit_ratio: ratio(hits, misses),
            loads: self.started_loads.get(),
            load_errors: load_latency.error.map_or(0, |summary| summary.count),
            shared_flights: self.shared_flights.get(),
            stale_served: self.stale_served.get(),
            superseded_fills: self.superseded_fills.get(),
            undecodable: self.undecodable.get(),
            uncacheable: self.uncacheable.get(),
            early_refreshes: self.early_refreshes.get(),
            background_loads: self.background_loads.get(),
            stale_at_once: self.stale_at_once.get(),
            soft_timeouts: self.soft_timeouts.get(),
            negatives: self.negatives.get(),
            loads_shed: self.loads_shed.get(),
            not_modified: self.not_modified.get(),
            load_latency,
            ..CacheStats::default()
        }
    }
}

thread_local! {
    static TICKS: Cell<u32> = const { Cell::new(0) };
    /// Which of the lines of a counter is this thread's; none yet, if it is beyond all of them.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[cold]
fn next_shard() -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let shard = (NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS as u64) as usize;
    SHARD.set(shard);
    shard
}

/// A counter in several cache lines, one a thread.
#[derive(Debug, Default)]
struct Sharded([Line; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Sharded {
    #[inline]
    fn add(&self) {
        let line = self.0.get(SHARD.get()).unwrap_or_else(|| &self.0[next_shard()]);
        line.0.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}
