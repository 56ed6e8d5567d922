//! The near tier: decoded values in this process.

mod moka;
mod removals;
mod value;
mod values;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(super) use self::value::{NearValue, Provenance};
use self::{removals::Removals, values::Values};
use crate::{
    clock::{Clock, Timestamp},
    entry::{Entry, Version},
    eviction::Eviction,
    fence_table::Fences,
    key::Key,
    pressure::{Admission, share},
    priority::EvictionPriority,
    tier::{PutOutcome, Usage},
};

/// What the engine and the value's own fields take for each value, roughly, beside key and payload.
const OVERHEAD_BYTES: usize = 256;

/// Values of one cache, ready to be handed out.
///
/// A hit decodes nothing and shares the value. Bounded by the bytes of the values' encoded form,
/// which stands in for what the decoded one takes.
pub(super) struct Near<V> {
    values: Values<V>,
    clock: Arc<dyn Clock>,
    config: NearConfig,
    fences: Fences,
    /// The versions below which removed keys are not kept again. Made at the first removal that
    /// names one: a cache without versions has none.
    removals: OnceLock<Removals>,
    admission: Admission,
    /// A value with a priority came, and there is nobody who goes by it.
    ignored: AtomicBool,
}

/// What holds the values of a near tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NearEngine {
    /// Moka for [`Eviction::Lru`] and [`Eviction::WTinyLfu`], which are policies of its own, and this
    /// crate's engine for all others. Moka knows no priorities: an entry that has one is as good as
    /// any other there, and the first of them is told as
    /// [`Event::PriorityIgnored`](crate::Event::PriorityIgnored).
    #[default]
    ByPolicy,
    /// This crate's engine, whatever the policy: it goes by priorities, and gives way to pressure in
    /// the order of its policy.
    Own,
}

/// What bounds a near tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearConfig {
    pub(super) bytes_max: u64,
    pub(super) entries_max: Option<u64>,
    /// No value is kept longer.
    pub(super) ttl_max: Duration,
    pub(super) eviction: Eviction,
    pub(super) engine: NearEngine,
    /// For the same answers in every run.
    pub(super) seed: Option<u64>,
}

/// A value that is to be kept.
struct Newcomer<'a, V> {
    text: &'a str,
    value: Option<Arc<V>>,
    entry: &'a Entry,
    weight: u32,
    now: Timestamp,
}

/// Where a key stood in the near tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearFence(u64);

/// What a value takes in a near tier, roughly, whose payload is of `payload_len` bytes.
pub(super) fn weight(text: &str, payload_len: usize) -> u32 {
    let weight = text.len() + payload_len + OVERHEAD_BYTES;
    u32::try_from(weight).unwrap_or(u32::MAX)
}

impl<V: Send + Sync + 'static> Near<V> {
    pub(super) fn new(config: NearConfig, clock: Arc<dyn Clock>) -> Self {
        let values = Values::new(&config, &clock);
        let (removals, admission) = (OnceLock::new(), Admission::default());
        Self {
            values,
            clock,
            config,
            fences: Fences::new(),
            removals,
            admission,
            ignored: AtomicBool::new(false),
        }
    }

    /// What `read` makes of the value under `text`, unless it has expired by `now`.
    ///
    /// `read` runs under a lock: it is short, and does not come back to this tier.
    #[inline]
    pub(super) fn read<R>(
        &self,
        text: &str,
        now: Timestamp,
        read: impl FnOnce(&NearValue<V>) -> Option<R>,
    ) -> Option<R> {
        self.values.get(text, |value| {
            let live = !self.fences.is_cleared(value.mark()) && now < value.times().expires_at;
            if live { read(value) } else { None }
        })
    }

    /// The value under `text`, unless it has expired by `now`.
    pub(super) fn get(&self, text: &str, now: Timestamp) -> Option<NearValue<V>> {
        self.read(text, now, |value| Some(value.clone()))
    }

    /// What the value under `text` takes here.
    pub(super) fn weight_of(&self, text: &str) -> Option<u32> {
        self.values.weight_of(text)
    }

    /// To be read before any lower tier is asked.
    pub(super) fn fence(&self, key: &Key) -> NearFence {
        NearFence(self.fences.read(key.text()))
    }

    /// Keeps a value that was found below or loaded, unless the key has moved since `seen`. While
    /// memory is short, few that are new are kept.
    pub(super) fn fill(
        &self,
        key: &Key,
        value: Option<Arc<V>>,
        entry: &Entry,
        NearFence(fence): NearFence,
        provenance: Provenance,
    ) -> PutOutcome {
        if !self.admission.admits(|| self.values.peek(key.text(), |_| ()).is_none()) {
            return PutOutcome::Skipped;
        }
        self.fences
            .fill(key.text(), fence, || {
                let (text, now) = (key.text(), self.clock.now());
                let weight = weight(text, entry.payload.len());
                self.store(Newcomer { text, value, entry, weight, now }, fence, provenance)
            })
            .unwrap_or(PutOutcome::Superseded)
    }

    /// Keeps a value that a caller wrote, and that is in the tiers below already: `fence` was read
    /// before it was put there. If the key has moved since, somebody else has written, and which of
    /// the two is newer only the tiers know: then nothing is kept. Without a tier below there is no
    /// fence, and the last one counts. Fills that began before are refused from now on. By `digest`
    /// the notice of this write will be known; 0 where there will be none.
    pub(super) fn insert(
        &self,
        text: &str,
        value: Arc<V>,
        entry: &Entry,
        payload_len: usize,
        fence: Option<NearFence>,
        digest: u32,
    ) -> PutOutcome {
        let NearFence(seen) = fence.unwrap_or(NearFence(u64::MAX));
        self.fences.advance_since(text, seen, |mark| {
            let provenance = Provenance { seen: 0, digest };
            // The entry was made for this: that was as good as now.
            let (weight, now) = (weight(text, payload_len), entry.created_at);
            let newcomer = Newcomer { text, value: Some(value), entry, weight, now };
            let outcome = match mark {
                Some(mark) => self.store(newcomer, mark, provenance),
                None => PutOutcome::Skipped,
            };
            if matches!(outcome, PutOutcome::TooLarge | PutOutcome::Skipped) {
                self.forget(text, entry.version);
            }
            outcome
        })
    }

    /// Forgets a key. Fills that began before are refused from now on, and so are values older than
    /// `version`, or than the value that was there: a tier that cannot be reached does not refuse
    /// them.
    pub(super) fn remove(&self, text: &str, version: Option<Version>) {
        self.fences.advance(text, |_| self.forget(text, version));
    }

    /// Under the key's stripe lock.
    fn forget(&self, text: &str, version: Option<Version>) {
        let held = self.values.peek(text, NearValue::version).flatten();
        if let Some(version) = version.max(held).max(self.removed_at(text)) {
            let removals = self.removals.get_or_init(|| Removals::new(self.config.seed));
            removals.note(text, version, self.clock.now());
        }
        self.values.remove(text);
    }

    fn removed_at(&self, text: &str) -> Option<Version> {
        self.removals.get()?.version(text, self.clock.now())
    }

    /// Forgets what a change has made wrong that another process, or this one, has made in the tier
    /// whose log is followed. What is younger than the change stays. Answers whether the key moved.
    pub(super) fn hear(&self, key: &Key, mark: u64, digest: u32) -> bool {
        // An insert of this process moved the key when it was kept here.
        let is_own = |value: &NearValue<V>| digest != 0 && value.digest() == digest;
        if self.values.peek(key.text(), is_own) == Some(true) {
            return false;
        }
        // The key moves even where a younger value stays: that may be evicted before a fill comes
        // that looked before the change.
        self.fences.advance(key.text(), |_| {
            if self.values.peek(key.text(), |value| value.seen() < mark) == Some(true) {
                self.forget(key.text(), None);
            }
        });
        true
    }

    /// Drops every value: changes may have been missed. Fills that began before are refused from
    /// now on, and the versions of removed keys are remembered.
    pub(super) fn drop_values(&self) {
        self.fences.clear();
        // That alone hides the values; this gives their room back.
        self.values.clear();
    }

    /// Forgets everything, versions too, as every tier does that is cleared.
    pub(super) fn clear(&self) {
        self.drop_values();
        if let Some(removals) = self.removals.get() {
            removals.clear();
        }
    }

    /// Whether this is the first entry of which it knows that its priority counts for nothing here.
    pub(super) fn is_first_to_lose_its_priority(&self, entry: &Entry) -> bool {
        entry.priority != EvictionPriority::Normal
            && !self.values.knows_priorities()
            && !self.ignored.swap(true, Ordering::Relaxed)
    }

    /// Holds at most `fraction` of its bytes from now on. Answers how many values went for that.
    pub(super) fn shrink_to(&self, fraction: f64) -> u64 {
        self.admission.shrunk_to(fraction);
        self.values.resize(share(self.config.bytes_max, fraction), self.clock.now())
    }

    pub(super) fn usage(&self) -> Usage {
        self.values.usage(self.config.bytes_max, self.clock.now())
    }

    /// Writes under the key's stripe lock.
    fn store(&self, newcomer: Newcomer<'_, V>, mark: u64, provenance: Provenance) -> PutOutcome {
        let Newcomer { text, value, entry, weight, now } = newcomer;
        let seen = provenance.seen;
        // A value that was looked for later stands for a later change, which this one must not undo.
        // A fill that a clear has overtaken leaves a dead value, which says nothing.
        let is_older = |known: &NearValue<V>| {
            let is_later =
                entry.is_older_than(known.version()) || (seen != 0 && seen < known.seen());
            is_later && !self.fences.is_cleared(known.mark())
        };
        let may_be_older = entry.version.is_some() || seen != 0;
        if (may_be_older && self.values.peek(text, is_older) == Some(true))
            || (entry.version.is_some() && entry.is_older_than(self.removed_at(text)))
        {
            return PutOutcome::Superseded;
        }
        if u64::from(weight) > self.config.bytes_max {
            return PutOutcome::TooLarge;
        }
        let latest = now.after(self.config.ttl_max);
        let value = NearValue::new(text, value, entry, mark, latest, provenance);
        if self.values.insert(text, value, weight, entry.priority, now) {
            PutOutcome::Stored
        } else {
            PutOutcome::TooLarge
        }
    }
}

impl<V> fmt::Debug for Near<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("config", &self.config).finish_non_exhaustive()
    }
}
