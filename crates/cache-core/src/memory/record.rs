//! What the memory tier keeps under a key.

use std::{sync::atomic::AtomicU8, time::Duration};

use crate::{
    clock::Timestamp,
    engine::Record,
    entry::{Entry, Version},
    key::Key,
    priority::EvictionPriority,
};

/// How long a version is remembered after its entry was removed.
const TOMBSTONE_RETENTION: Duration = Duration::from_secs(600);

/// How long the version of an entry is remembered after its deadline. Until then its room is given
/// back to others only.
const VERSION_RETENTION: Duration = Duration::from_secs(60);

/// What a record takes beside its key, payload and tags: its own fields, its places in the engine's
/// tables and in the policy's, and what the allocator adds. Measured by `tests/room.rs`.
pub(super) const OVERHEAD_BYTES: usize = 448;

/// What one tag of an entry takes beside its text.
const TAG_BYTES: usize = 64;

/// An entry, or the version of one that was removed.
pub(super) struct MemoryRecord {
    pub(super) key: Key,
    pub(super) mark: u64,
    pub(super) version: Option<Version>,
    /// Nothing: removed, and kept for its version only; the fence table remembers the removal.
    pub(super) entry: Option<Entry>,
    expires_at: Timestamp,
    reads: AtomicU8,
}

impl MemoryRecord {
    pub(super) fn value(key: &Key, mark: u64, entry: &Entry) -> Self {
        Self {
            key: key.clone(),
            mark,
            version: entry.version,
            entry: Some(entry.clone()),
            expires_at: entry.expires_at,
            reads: AtomicU8::new(0),
        }
    }

    pub(super) fn tombstone(key: &Key, mark: u64, version: Version, now: Timestamp) -> Self {
        Self {
            key: key.clone(),
            mark,
            version: Some(version),
            entry: None,
            expires_at: now.after(TOMBSTONE_RETENTION),
            reads: AtomicU8::new(0),
        }
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// From when on nothing of it counts any more.
    pub(super) fn reclaim_at(&self) -> Timestamp {
        let has_version = self.version.is_some() && self.entry.is_some();
        self.expires_at.after(if has_version { VERSION_RETENTION } else { Duration::ZERO })
    }

    pub(super) fn priority(&self) -> EvictionPriority {
        self.entry.as_ref().map_or(EvictionPriority::Normal, |entry| entry.priority)
    }

    pub(super) fn weight(&self) -> u32 {
        let entry = self.entry.as_ref().map_or(0, weight_of);
        u32::try_from(self.key.encoded().len() + entry + OVERHEAD_BYTES).unwrap_or(u32::MAX)
    }
}

impl Record for MemoryRecord {
    fn reads(&self) -> &AtomicU8 {
        &self.reads
    }
}

fn weight_of(entry: &Entry) -> usize {
    let tags = entry.tags.marks().iter().map(|mark| mark.tag.len() + TAG_BYTES);
    entry.payload.len() + tags.sum::<usize>()
}
