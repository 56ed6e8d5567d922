//! Between readers of the cache and the writer of the log.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::AccessRecord;

/// Threads mostly do not share one of so many parts.
const SHARDS: usize = 16;

/// Reads that wait in a part to be written; more are dropped. Of all parts together 32,768, which
/// take about 2 MiB.
const WAITING_MAX: usize = 2_048;

/// Reads that wait to be written. Bounded: who finds it full goes on, and the read is counted as
/// dropped.
#[derive(Debug, Default)]
pub(super) struct Queue {
    shards: [Mutex<Vec<AccessRecord>>; SHARDS],
    dropped: AtomicU64,
}

impl Queue {
    pub(super) fn push(&self, record: AccessRecord) {
        let shard = SHARD.with(|shard| *shard);
        let mut waiting = self.shards[shard].lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(record);
        } else {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what waits, in the order of time.
    pub(super) fn drain(&self) -> Vec<AccessRecord> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.append(&mut shard.lock());
        }
        all.sort_by_key(|record| record.time);
        all
    }

    /// How many were dropped since this was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

thread_local! {
    static SHARD: usize = next_shard();
}

fn next_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
}
