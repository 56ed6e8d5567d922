//! Values as the near tier keeps them.

use std::sync::Arc;

use crate::{
    audit::Held,
    cache::{
        hit::{Hit, Origin, Times},
        tag_book::Tagged,
    },
    clock::Timestamp,
    entry::{Entry, Version},
};

/// One value with its deadlines.
pub(in crate::cache) struct NearValue<V> {
    /// Nothing: the source has no value.
    pub(in crate::cache) value: Option<Arc<V>>,
    pub(in crate::cache) version: Option<Version>,
    created_at: Timestamp,
    fresh_until: Timestamp,
    expires_at: Timestamp,
    pub(super) mark: u64,
    /// Where the key stood in the tier whose log is followed, when this value was looked for; 0:
    /// not known. Changes up to that mark are older than the value.
    pub(super) seen: u64,
    /// The digest of the entry, of an inserted value; else 0.
    pub(super) digest: u32,
    load_cost_us: u32,
    /// Its tags; nothing when it has none.
    pub(in crate::cache) tagged: Option<Arc<Tagged>>,
}

/// What is told of a value beside its entry.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cache) struct Provenance {
    /// Where the key stood in the tier whose log is followed; 0: not known.
    pub(in crate::cache) seen: u64,
    /// The digest of the entry, of an inserted value; else 0.
    pub(in crate::cache) digest: u32,
}

impl<V> NearValue<V> {
    /// The decoded `value` of an entry, which is kept under `mark` and until `latest` at most.
    pub(super) fn new(
        value: Option<Arc<V>>,
        entry: &Entry,
        mark: u64,
        latest: Timestamp,
        Provenance { seen, digest }: Provenance,
    ) -> Self {
        Self {
            value,
            version: entry.version,
            created_at: entry.created_at,
            fresh_until: entry.fresh_until,
            expires_at: entry.expires_at.min(latest),
            mark,
            seen,
            digest,
            load_cost_us: entry.load_cost_us,
            tagged: Tagged::of(entry),
        }
    }

    /// What an audit compares; nothing where it is held that the source has no value.
    pub(in crate::cache) fn held(&self) -> Option<Held> {
        let held = Held { version: self.version, created_at: self.created_at, payload_crc: None };
        self.value.is_some().then_some(held)
    }

    pub(in crate::cache) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    /// The value as it is answered; nothing when the source has none.
    pub(in crate::cache) fn to_hit(&self, now: Timestamp) -> Option<Hit<V>> {
        let value = Arc::clone(self.value.as_ref()?);
        Some(Hit::new(value, Origin::Near, self.times(), self.version, self.load_cost_us, now))
    }

    pub(in crate::cache) const fn times(&self) -> Times {
        let Self { created_at, fresh_until, expires_at, .. } = *self;
        Times { created_at, fresh_until, expires_at }
    }
}

impl<V> Clone for NearValue<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), tagged: self.tagged.clone(), ..*self }
    }
}
