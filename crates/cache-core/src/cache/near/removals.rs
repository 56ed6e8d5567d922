//! The versions of removed keys.

use std::{sync::atomic::AtomicU8, time::Duration};

use crate::{
    clock::Timestamp,
    engine::{Engine, EngineConfig, Record, Terms},
    entry::Version,
    eviction::Eviction,
    priority::EvictionPriority,
};

/// How many removals with a version are remembered at most, and for how long.
const REMOVALS_MAX: u64 = 10_000;
const RETENTION: Duration = Duration::from_secs(600);

/// The versions below which removed keys are not kept again, of the latest removals.
pub(super) struct Removals(Engine<Removed>);

struct Removed {
    key: Box<[u8]>,
    version: Version,
    expires_at: Timestamp,
    reads: AtomicU8,
}

impl Record for Removed {
    fn reads(&self) -> &AtomicU8 {
        &self.reads
    }
}

impl Removals {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self(Engine::new(&EngineConfig {
            capacity: REMOVALS_MAX,
            entries_max: None,
            eviction: Eviction::Fifo,
            quotas: Vec::new(),
            seed,
        }))
    }

    pub(super) fn note(&self, text: &str, version: Version, now: Timestamp) {
        let key = text.as_bytes();
        let expires_at = now.after(RETENTION);
        let removed = Removed { key: key.into(), version, expires_at, reads: AtomicU8::new(0) };
        let (reclaim_at, priority) = (expires_at, EvictionPriority::Normal);
        let terms = Terms { weight: 1, expires_at, reclaim_at, priority, group: 0 };
        self.0.insert(self.0.hash(key), |removed| *removed.key == *key, removed, terms, now);
    }

    pub(super) fn version(&self, text: &str, now: Timestamp) -> Option<Version> {
        let key = text.as_bytes();
        let live = |removed: &Removed| (now < removed.expires_at).then_some(removed.version);
        self.0.peek(self.0.hash(key), |removed| *removed.key == *key, live).flatten()
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
