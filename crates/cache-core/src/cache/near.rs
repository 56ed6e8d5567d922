//! The near tier: decoded values in this process, on moka.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause};

use super::{
    hit::{Hit, Origin, Times},
    tag_book::Tagged,
};
use crate::{
    audit::Held,
    clock::{Clock, Timestamp},
    entry::{Entry, Version},
    fence_table::Fences,
    key::Key,
    memory::reclaim_after,
    tier::{PutOutcome, Usage},
};

/// What moka and the value's own fields take for each value, roughly, beside key and payload.
const OVERHEAD_BYTES: usize = 192;

/// How many removals with a version are remembered at most, and for how long.
const REMOVALS_MAX: u64 = 10_000;
const REMOVAL_RETENTION: Duration = Duration::from_secs(600);

/// Values of one cache, ready to be handed out.
///
/// A hit decodes nothing and shares the value. Bounded by the bytes of the values' encoded form,
/// which stands in for what the decoded one takes.
pub(super) struct Near<V> {
    values: moka::sync::Cache<NearKey, NearValue<V>>,
    clock: Arc<dyn Clock>,
    bytes_max: u64,
    ttl_max: Duration,
    fences: Fences,
    /// The versions below which removed keys are not kept again. Made at the first removal that
    /// names one: a cache without versions has none.
    removals: OnceLock<moka::sync::Cache<NearKey, Version>>,
    evictions: Arc<AtomicU64>,
}

/// One value with its deadlines.
pub(super) struct NearValue<V> {
    /// Nothing: the source has no value.
    pub(super) value: Option<Arc<V>>,
    pub(super) version: Option<Version>,
    created_at: Timestamp,
    fresh_until: Timestamp,
    expires_at: Timestamp,
    mark: u64,
    /// Where the key stood in the tier whose log is followed, when this value was looked for; 0:
    /// not known. Changes up to that mark are older than the value.
    seen: u64,
    weight: u32,
    /// The digest of the entry, of an inserted value; else 0.
    digest: u32,
    load_cost_us: u32,
    /// Its tags; nothing when it has none.
    pub(super) tagged: Option<Arc<Tagged>>,
}

/// What is told of a value beside its entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Provenance {
    /// Where the key stood in the tier whose log is followed; 0: not known.
    pub(super) seen: u64,
    /// The digest of the entry, of an inserted value; else 0.
    pub(super) digest: u32,
}

/// Where a key stood in the near tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearFence(u64);

impl<V: Send + Sync + 'static> Near<V> {
    /// Holds at most `bytes_max`, and no value longer than `ttl_max`.
    pub(super) fn new(bytes_max: u64, ttl_max: Duration, clock: Arc<dyn Clock>) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let evicted = Arc::clone(&evictions);
        let values = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &NearKey, value: &NearValue<V>| value.weight)
            .expire_after(Reclaim(Arc::clone(&clock)))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let (fences, removals) = (Fences::new(), OnceLock::new());
        Self { values, clock, bytes_max, ttl_max, fences, removals, evictions }
    }

    /// The value under `text`, unless it has expired by `now`.
    pub(super) fn get(&self, text: &str, now: Timestamp) -> Option<NearValue<V>> {
        let value = self.values.get(text)?;
        let live = !self.fences.is_cleared(value.mark) && now < value.expires_at;
        live.then_some(value)
    }

    /// To be read before any lower tier is asked.
    pub(super) fn fence(&self, key: &Key) -> NearFence {
        NearFence(self.fences.read(key.text()))
    }

    /// Keeps a value that was found below or loaded, unless the key has moved since `seen`.
    pub(super) fn fill(
        &self,
        key: &Key,
        value: Option<Arc<V>>,
        entry: &Entry,
        NearFence(fence): NearFence,
        provenance: Provenance,
    ) -> PutOutcome {
        self.fences
            .fill(key.text(), fence, || self.store(key, value, entry, fence, provenance))
            .unwrap_or(PutOutcome::Superseded)
    }

    /// Keeps a value that a caller wrote, and that is in the tiers below already: `fence` was read
    /// before it was put there. If the key has moved since, somebody else has written, and which of
    /// the two is newer only the tiers know: then nothing is kept. Without a tier below there is no
    /// fence, and the last one counts. Fills that began before are refused from now on.
    pub(super) fn insert(
        &self,
        key: &Key,
        value: Arc<V>,
        entry: &Entry,
        fence: Option<NearFence>,
    ) -> PutOutcome {
        let NearFence(seen) = fence.unwrap_or(NearFence(u64::MAX));
        self.fences.advance_since(key.text(), seen, |mark| {
            let provenance = Provenance { seen: 0, digest: entry.digest() };
            let outcome = match mark {
                Some(mark) => self.store(key, Some(value), entry, mark, provenance),
                None => PutOutcome::Skipped,
            };
            if matches!(outcome, PutOutcome::TooLarge | PutOutcome::Skipped) {
                self.forget(key, entry.version);
            }
            outcome
        })
    }

    /// Forgets a key. Fills that began before are refused from now on, and so are values older than
    /// `version`, or than the value that was there: a tier that cannot be reached does not refuse
    /// them.
    pub(super) fn remove(&self, key: &Key, version: Option<Version>) {
        self.fences.advance(key.text(), |_| self.forget(key, version));
    }

    /// Under the key's stripe lock.
    fn forget(&self, key: &Key, version: Option<Version>) {
        let held = self.values.get(key.text()).and_then(|value| value.version);
        if let Some(version) = version.max(held).max(self.removed_at(key)) {
            self.removals.get_or_init(removals).insert(NearKey(key.clone()), version);
        }
        self.values.invalidate(key.text());
    }

    fn removed_at(&self, key: &Key) -> Option<Version> {
        self.removals.get()?.get(key.text())
    }

    /// Forgets what a change has made wrong that another process, or this one, has made in the tier
    /// whose log is followed. What is younger than the change stays. Answers whether the key moved.
    pub(super) fn hear(&self, key: &Key, mark: u64, digest: u32) -> bool {
        // An insert of this process moved the key when it was kept here.
        let is_own = |value: &NearValue<V>| digest != 0 && value.digest == digest;
        if self.values.get(key.text()).is_some_and(|value| is_own(&value)) {
            return false;
        }
        // The key moves even where a younger value stays: that may be evicted before a fill comes
        // that looked before the change.
        self.fences.advance(key.text(), |_| {
            if self.values.get(key.text()).is_some_and(|value| value.seen < mark) {
                self.forget(key, None);
            }
        });
        true
    }

    /// Drops every value: changes may have been missed. Fills that began before are refused from
    /// now on, and the versions of removed keys are remembered.
    pub(super) fn drop_values(&self) {
        self.fences.clear();
        // That alone hides the values; this gives their room back.
        self.values.invalidate_all();
    }

    /// Forgets everything, versions too, as every tier does that is cleared.
    pub(super) fn clear(&self) {
        self.drop_values();
        if let Some(removals) = self.removals.get() {
            removals.invalidate_all();
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.values.run_pending_tasks();
        Usage {
            entries: Some(self.values.entry_count()),
            bytes: Some(self.values.weighted_size()),
            bytes_max: Some(self.bytes_max),
            evictions: Some(self.evictions.load(Ordering::Relaxed)),
            evicted: None,
        }
    }

    /// Writes under the key's stripe lock.
    fn store(
        &self,
        key: &Key,
        value: Option<Arc<V>>,
        entry: &Entry,
        mark: u64,
        Provenance { seen, digest }: Provenance,
    ) -> PutOutcome {
        // A value that was looked for later stands for a later change, which this one must not undo.
        // A fill that a clear has overtaken leaves a dead value, which says nothing.
        let is_older = |known: &NearValue<V>| {
            let is_later = entry.is_older_than(known.version) || (seen != 0 && seen < known.seen);
            is_later && !self.fences.is_cleared(known.mark)
        };
        if self.values.get(key.text()).is_some_and(|known| is_older(&known))
            || (entry.version.is_some() && entry.is_older_than(self.removed_at(key)))
        {
            return PutOutcome::Superseded;
        }
        let weight = key.encoded().len() + entry.payload.len() + OVERHEAD_BYTES;
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        if u64::from(weight) > self.bytes_max {
            return PutOutcome::TooLarge;
        }
        let latest = self.clock.now().after(self.ttl_max);
        let value = NearValue {
            value,
            version: entry.version,
            created_at: entry.created_at,
            fresh_until: entry.fresh_until,
            expires_at: entry.expires_at.min(latest),
            mark,
            seen,
            tagged: Tagged::of(entry),
            weight,
            digest,
            load_cost_us: entry.load_cost_us,
        };
        self.values.insert(NearKey(key.clone()), value);
        PutOutcome::Stored
    }
}

impl<V> NearValue<V> {
    /// What an audit compares; nothing where it is held that the source has no value.
    pub(super) fn held(&self) -> Option<Held> {
        let held = Held { version: self.version, created_at: self.created_at, payload_crc: None };
        self.value.is_some().then_some(held)
    }

    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    /// The value as it is answered; nothing when the source has none.
    pub(super) fn into_hit(self, now: Timestamp) -> Option<Hit<V>> {
        let times = self.times();
        Some(Hit::new(self.value?, Origin::Near, times, self.version, self.load_cost_us, now))
    }

    pub(super) const fn times(&self) -> Times {
        let Self { created_at, fresh_until, expires_at, .. } = *self;
        Times { created_at, fresh_until, expires_at }
    }
}

impl<V> Clone for NearValue<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), tagged: self.tagged.clone(), ..*self }
    }
}

impl<V> fmt::Debug for Near<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

fn removals() -> moka::sync::Cache<NearKey, Version> {
    moka::sync::Cache::builder().max_capacity(REMOVALS_MAX).time_to_live(REMOVAL_RETENTION).build()
}

/// A key of one namespace, looked up by its text alone: a hit builds no key.
struct NearKey(Key);

impl Borrow<str> for NearKey {
    fn borrow(&self) -> &str {
        self.0.text()
    }
}

impl Hash for NearKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text().hash(state);
    }
}

impl PartialEq for NearKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.text() == other.0.text()
    }
}

impl Eq for NearKey {}

/// Gives expired values' room back. Whether a value is expired is judged by our own clock when it
/// is read; moka's cannot be replaced.
struct Reclaim(Arc<dyn Clock>);

impl<V> Expiry<NearKey, NearValue<V>> for Reclaim {
    fn expire_after_create(
        &self,
        _: &NearKey,
        value: &NearValue<V>,
        _: Instant,
    ) -> Option<Duration> {
        Some(reclaim_after(value.expires_at, self.0.now()))
    }

    fn expire_after_update(
        &self,
        _: &NearKey,
        value: &NearValue<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(reclaim_after(value.expires_at, self.0.now()))
    }
}
