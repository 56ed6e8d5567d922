//! Moka as an engine of the near tier.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause, policy::EvictionPolicy};

use super::{NearConfig, value::NearValue};
use crate::{
    clock::{Clock, Timestamp},
    eviction::Eviction,
    tier::Evictions,
};

/// Values in a moka cache, under one of its two policies.
///
/// Moka's clock is not ours: it reclaims, our clock judges expiry. It bounds bytes or entries, not
/// both: where entries are bounded, each weighs its part of the bytes at least.
pub(super) struct Moka<V> {
    values: moka::sync::Cache<Arc<[u8]>, Weighed<V>>,
    entry_weight_min: u32,
    /// Below moka's own capacity while memory is short: moka cannot be made smaller.
    limit: AtomicU64,
    evictions: Arc<AtomicU64>,
    /// Values that went because memory was short.
    pressed: AtomicU64,
}

struct Weighed<V> {
    weight: u32,
    value: NearValue<V>,
}

impl<V> Clone for Weighed<V> {
    fn clone(&self) -> Self {
        Self { weight: self.weight, value: self.value.clone() }
    }
}

impl<V: Send + Sync + 'static> Moka<V> {
    pub(super) fn new(config: &NearConfig, clock: Arc<dyn Clock>) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let evicted = Arc::clone(&evictions);
        let policy = match config.eviction {
            Eviction::Lru => EvictionPolicy::lru(),
            _ => EvictionPolicy::tiny_lfu(),
        };
        let values = moka::sync::Cache::builder()
            .max_capacity(config.bytes_max)
            .eviction_policy(policy)
            .weigher(|_: &Arc<[u8]>, value: &Weighed<V>| value.weight)
            .expire_after(Reclaim(clock))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let part = config.entries_max.map_or(0, |entries| config.bytes_max.div_ceil(entries));
        let entry_weight_min = u32::try_from(part).unwrap_or(u32::MAX);
        let limit = AtomicU64::new(u64::MAX);
        Self { values, entry_weight_min, limit, evictions, pressed: AtomicU64::new(0) }
    }

    pub(super) fn get(&self, text: &str) -> Option<NearValue<V>> {
        self.values.get(text.as_bytes()).map(|weighed| weighed.value)
    }

    /// What `read` makes of the value under `text`. Never inlined: it needs much of the stack, which
    /// a hit in our own engine would have to set up as well.
    #[inline(never)]
    pub(super) fn read<R>(
        &self,
        text: &str,
        read: impl FnOnce(&NearValue<V>) -> Option<R>,
    ) -> Option<R> {
        self.get(text).and_then(|value| read(&value))
    }

    pub(super) fn weight_of(&self, text: &str) -> Option<u32> {
        self.values.get(text.as_bytes()).map(|weighed| weighed.weight)
    }

    /// Keeps a value, unless memory is short and the limit is reached: then the key is forgotten,
    /// and the answer is `false`.
    pub(super) fn insert(&self, text: &str, value: NearValue<V>, weight: u32) -> bool {
        if self.values.weighted_size() > self.limit.load(Ordering::Relaxed) {
            self.values.invalidate(text.as_bytes());
            return false;
        }
        let weight = weight.max(self.entry_weight_min);
        self.values.insert(text.as_bytes().into(), Weighed { weight, value });
        true
    }

    pub(super) fn remove(&self, text: &str) {
        self.values.invalidate(text.as_bytes());
    }

    /// Drops values, of any kind, until they weigh at most `limit`. Answers how many went.
    pub(super) fn resize(&self, limit: u64) -> u64 {
        self.limit.store(limit, Ordering::Relaxed);
        self.values.run_pending_tasks();
        let (mut weight, mut count) = (self.values.weighted_size(), 0);
        for (key, weighed) in &self.values {
            if weight <= limit {
                break;
            }
            self.values.invalidate(&**key);
            weight = weight.saturating_sub(weighed.weight.into());
            count += 1;
        }
        self.pressed.fetch_add(count, Ordering::Relaxed);
        count
    }

    pub(super) fn clear(&self) {
        self.values.invalidate_all();
    }

    /// Entries and what they weigh, and how many were evicted for which reason. Where entries are
    /// bounded as well, each weighs its part of the bytes, and goes for these.
    pub(super) fn usage(&self) -> (u64, u64, Evictions) {
        self.values.run_pending_tasks();
        let evicted = Evictions {
            bytes: self.evictions.load(Ordering::Relaxed),
            entries: 0,
            pressure: self.pressed.load(Ordering::Relaxed),
        };
        (self.values.entry_count(), self.values.weighted_size(), evicted)
    }
}

/// How long moka goes on counting an expired value before it gives its room back. Its clock is not
/// ours: it must never be the first to say that something has expired.
const RECLAIM_GRACE: Duration = Duration::from_secs(5);

/// Gives expired values' room back.
struct Reclaim(Arc<dyn Clock>);

impl Reclaim {
    fn after(&self, deadline: Timestamp) -> Duration {
        deadline.since(self.0.now()) + RECLAIM_GRACE
    }
}

impl<V> Expiry<Arc<[u8]>, Weighed<V>> for Reclaim {
    fn expire_after_create(
        &self,
        _: &Arc<[u8]>,
        weighed: &Weighed<V>,
        _: Instant,
    ) -> Option<Duration> {
        Some(self.after(weighed.value.times().expires_at))
    }

    fn expire_after_update(
        &self,
        _: &Arc<[u8]>,
        weighed: &Weighed<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.after(weighed.value.times().expires_at))
    }
}
