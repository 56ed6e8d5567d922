//! The engine of the near tier alone, for measurements beside other caches.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU8},
};

use crate::{
    clock::Timestamp,
    engine::{Engine, EngineConfig, Record, Terms},
    eviction::Eviction,
    priority::EvictionPriority,
    units::ByteSize,
};

/// Values by text, bounded by their weights: the engine without what the near tier adds to it.
pub struct BoundedMap<V>(Engine<Kept<V>>);

struct Kept<V> {
    key: Box<str>,
    value: Arc<V>,
    reads: AtomicU8,
}

impl<V> Record for Kept<V> {
    fn reads(&self) -> &AtomicU8 {
        &self.reads
    }
}

impl<V> BoundedMap<V> {
    /// An empty one of this capacity.
    #[must_use]
    pub fn new(capacity: ByteSize, eviction: Eviction) -> Self {
        Self(Engine::new(&EngineConfig {
            capacity: capacity.as_u64(),
            entries_max: None,
            eviction,
            quotas: Vec::new(),
            seed: None,
        }))
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        let value = |kept: &Kept<V>| Some(Arc::clone(&kept.value));
        self.0.get(self.0.hash(key.as_bytes()), |kept| *kept.key == *key, value)
    }

    /// Keeps a value of this weight.
    pub fn insert(&self, key: &str, value: Arc<V>, weight: u32) {
        let (never, priority) = (Timestamp::MAX, EvictionPriority::Normal);
        let terms = Terms { weight, expires_at: never, reclaim_at: never, priority, group: 0 };
        let kept = Kept { key: key.into(), value, reads: AtomicU8::new(0) };
        let hash = self.0.hash(key.as_bytes());
        self.0.insert(hash, |kept| *kept.key == *key, kept, terms, Timestamp::default());
    }
}

impl<V> fmt::Debug for BoundedMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundedMap").field(&self.0).finish()
    }
}
