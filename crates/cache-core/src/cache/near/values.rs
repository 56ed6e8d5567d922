//! The engines that can hold the near tier's values.

use std::sync::Arc;

use super::{NearConfig, NearEngine, moka::Moka, value::NearValue};
use crate::{
    clock::{Clock, Timestamp},
    engine::{Engine, EngineConfig, Terms},
    eviction::Eviction,
    priority::EvictionPriority,
    tier::Usage,
};

/// Moka for LRU and W-TinyLFU, which are its own policies, unless it is to be ours; our engine for
/// all others.
pub(super) enum Values<V> {
    Own(Engine<NearValue<V>>),
    Moka(Moka<V>),
}

impl<V: Send + Sync + 'static> Values<V> {
    pub(super) fn new(config: &NearConfig, clock: &Arc<dyn Clock>) -> Self {
        let NearConfig { bytes_max: capacity, entries_max, eviction, seed, .. } = *config;
        match (config.engine, eviction) {
            (NearEngine::ByPolicy, Eviction::Lru | Eviction::WTinyLfu) => {
                Self::Moka(Moka::new(config, Arc::clone(clock)))
            }
            _ => {
                let quotas = Vec::new();
                let config = EngineConfig { capacity, entries_max, eviction, quotas, seed };
                Self::Own(Engine::new(&config))
            }
        }
    }

    /// Whether values go by their priorities.
    pub(super) const fn knows_priorities(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// What `read` makes of the value under `text`: a read, if it has an answer. Expired values are
    /// its own to tell. It runs under a lock, and may not touch these values.
    #[inline]
    pub(super) fn get<R>(
        &self,
        text: &str,
        read: impl FnOnce(&NearValue<V>) -> Option<R>,
    ) -> Option<R> {
        let key = text.as_bytes();
        match self {
            Self::Own(engine) => engine.get(engine.hash(key), |value| value.is_under(key), read),
            Self::Moka(moka) => moka.read(text, read),
        }
    }

    /// As [`get`](Self::get), but that is no read.
    pub(super) fn peek<R>(&self, text: &str, read: impl FnOnce(&NearValue<V>) -> R) -> Option<R> {
        let key = text.as_bytes();
        match self {
            Self::Own(engine) => engine.peek(engine.hash(key), |value| value.is_under(key), read),
            Self::Moka(moka) => moka.get(text).map(|value| read(&value)),
        }
    }

    /// What the value under `text` weighs.
    pub(super) fn weight_of(&self, text: &str) -> Option<u32> {
        let key = text.as_bytes();
        match self {
            Self::Own(engine) => engine.weight_of(engine.hash(key), |value| value.is_under(key)),
            Self::Moka(moka) => moka.weight_of(text),
        }
    }

    /// Keeps a value; answers whether it can be held at all.
    pub(super) fn insert(
        &self,
        text: &str,
        value: NearValue<V>,
        weight: u32,
        priority: EvictionPriority,
        now: Timestamp,
    ) -> bool {
        let key = text.as_bytes();
        match self {
            Self::Own(engine) => {
                let expires_at = value.times().expires_at;
                let reclaim_at = expires_at;
                let terms = Terms { weight, expires_at, reclaim_at, priority, group: 0 };
                engine.insert(engine.hash(key), |value| value.is_under(key), value, terms, now)
            }
            Self::Moka(moka) => moka.insert(text, value, weight),
        }
    }

    pub(super) fn remove(&self, text: &str) {
        let key = text.as_bytes();
        match self {
            Self::Own(engine) => {
                engine.remove(engine.hash(key), |value| value.is_under(key));
            }
            Self::Moka(moka) => moka.remove(text),
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Self::Own(engine) => engine.clear(),
            Self::Moka(moka) => moka.clear(),
        }
    }

    /// Holds at most `bytes_max` from now on. Answers how many values went for that.
    pub(super) fn resize(&self, bytes_max: u64, now: Timestamp) -> u64 {
        match self {
            Self::Own(engine) => engine.resize(bytes_max, now),
            Self::Moka(moka) => moka.resize(bytes_max),
        }
    }

    pub(super) fn usage(&self, bytes_max: u64, now: Timestamp) -> Usage {
        let (entries, bytes, evictions, evicted) = match self {
            Self::Own(engine) => {
                engine.sweep(now);
                let counts = engine.counts();
                (engine.len(), engine.weight(), counts.evicted(), counts.by_bound())
            }
            Self::Moka(moka) => {
                let (entries, bytes, evicted) = moka.usage();
                (entries, bytes, evicted.total(), evicted)
            }
        };
        Usage {
            entries: Some(entries),
            bytes: Some(bytes),
            bytes_max: Some(bytes_max),
            evictions: Some(evictions),
            evicted: Some(evicted),
        }
    }
}
