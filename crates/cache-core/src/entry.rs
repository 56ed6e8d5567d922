//! What a tier keeps under a key.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::{Error, ErrorKind, Result},
    priority::EvictionPriority,
    tags::Tags,
    wire,
};

/// The longest time to live, fresh and stale together: 366 days.
pub const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The largest payload that a tier accepts unless it is told otherwise: 16 MiB.
pub const PAYLOAD_LEN_MAX: usize = 16 * 1024 * 1024;

/// The most keys that one batch may name.
pub const BATCH_LEN_MAX: usize = 10_000;

/// The version of a value at its source: a row version, a log position, a counter.
///
/// Larger is newer. No tier replaces a newer version by an older one (promise P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version as a signed number of the same order, for stores that have no unsigned ones.
    #[must_use]
    pub const fn to_ordered_i64(self) -> i64 {
        (self.0 ^ (1 << 63)).cast_signed()
    }
}

/// How long a value may be used, counted from when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// How long it is fresh.
    pub fresh: Duration,
    /// How long after that it may still be served when nothing better is to be had.
    pub stale: Duration,
}

impl Ttl {
    /// Fresh for `fresh`, and gone after that.
    #[must_use]
    pub const fn fresh(fresh: Duration) -> Self {
        Self { fresh, stale: Duration::ZERO }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTtl`] when `fresh` is below a millisecond, or both together are above
    /// [`TTL_MAX`].
    pub fn validate(self) -> Result<Self> {
        let fault = if self.fresh < Duration::from_millis(1) {
            format!("the time to live {:?} is below 1 ms", self.fresh)
        } else if self.fresh.saturating_add(self.stale) > TTL_MAX {
            format!("the time to live {:?} + {:?} is above 366 days", self.fresh, self.stale)
        } else {
            return Ok(self);
        };
        Err(Error::new(ErrorKind::InvalidTtl, fault)
            .hint("choose a time to live from 1 ms to 366 days"))
    }
}

/// Which codec wrote a payload. Ids below 0x8000 are this project's, the others are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(pub u16);

impl CodecId {
    /// The id of an entry that says that the source has no value: its payload is empty. No codec
    /// has it.
    pub const ABSENT: Self = Self(0);

    /// What stands in place of a codec's id where LZ4 has compressed what the codec wrote. No codec
    /// has it.
    pub const LZ4: Self = Self(0x7F01);

    /// The same for zstd.
    pub const ZSTD: Self = Self(0x7F02);
}

/// One value in its stored form, with its deadlines.
///
/// Deadlines are absolute, so copying an entry to another tier never lengthens its life (promise
/// P6). `created_at <= fresh_until <= expires_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The encoded value.
    pub payload: Bytes,
    /// The codec that encoded it.
    pub codec: CodecId,
    /// The value's version at its source, if the source has versions.
    pub version: Option<Version>,
    /// When the value's load began, or it was inserted.
    pub created_at: Timestamp,
    /// Until when it counts as fresh.
    pub fresh_until: Timestamp,
    /// From when on it is not served at all.
    pub expires_at: Timestamp,
    /// What its load took, in microseconds (saturating at 71 minutes; 0: not loaded).
    pub load_cost_us: u32,
    /// Its tags, as they were when its load began.
    pub tags: Tags,
    /// How willingly a full tier gives it up.
    pub priority: EvictionPriority,
}

impl Entry {
    /// An entry written at `created_at` that lives for `ttl`, without a version.
    #[must_use]
    pub fn new(payload: Bytes, codec: CodecId, created_at: Timestamp, ttl: Ttl) -> Self {
        let fresh_until = created_at.after(ttl.fresh);
        Self {
            payload,
            codec,
            version: None,
            created_at,
            fresh_until,
            expires_at: fresh_until.after(ttl.stale),
            load_cost_us: 0,
            tags: Tags::none(),
            priority: EvictionPriority::Normal,
        }
    }

    /// An entry of `created_at` that says that the source has no value.
    #[must_use]
    pub fn absent(created_at: Timestamp, ttl: Ttl) -> Self {
        Self::new(Bytes::new(), CodecId::ABSENT, created_at, ttl)
    }

    /// The same entry as `version` of the source's value.
    #[must_use]
    pub fn with_version(self, version: Option<Version>) -> Self {
        Self { version, ..self }
    }

    /// The same entry with the time that its load took.
    #[must_use]
    pub fn with_load_cost(self, cost: Duration) -> Self {
        Self { load_cost_us: u32::try_from(cost.as_micros()).unwrap_or(u32::MAX), ..self }
    }

    /// The same entry with `tags`.
    #[must_use]
    pub fn with_tags(self, tags: Tags) -> Self {
        Self { tags, ..self }
    }

    /// The same entry with `priority`.
    #[must_use]
    pub fn with_priority(self, priority: EvictionPriority) -> Self {
        Self { priority, ..self }
    }

    /// A checksum of everything in the entry, the same in every tier: whether two are the same one.
    #[must_use]
    pub fn digest(&self) -> u32 {
        wire::digest(self, &self.payload)
    }

    /// Whether the entry counts as fresh at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    /// Whether the entry may not be served any more at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Whether a record of version `known` forbids this entry: it is of an older version.
    #[must_use]
    pub fn is_older_than(&self, known: Option<Version>) -> bool {
        matches!((self.version, known), (Some(own), Some(known)) if own < known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_of_zero_or_of_a_century_is_refused() {
        for ttl in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
            let error = Ttl::fresh(ttl).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTtl);
        }
        assert!(Ttl { fresh: TTL_MAX, stale: Duration::from_millis(1) }.validate().is_err());
        assert!(Ttl::fresh(TTL_MAX).validate().is_ok());
    }

    #[test]
    fn versions_keep_their_order_as_signed_numbers() {
        let ordered = [0, 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX];
        assert!(ordered.map(|v| Version(v).to_ordered_i64()).is_sorted());
        assert_eq!(Version(0).to_ordered_i64(), i64::MIN);
    }

    #[test]
    fn an_entry_is_fresh_then_stale_then_expired() {
        let start = Timestamp::from_millis(1_000);
        let ttl = Ttl { fresh: Duration::from_millis(10), stale: Duration::from_millis(5) };
        let entry = Entry::new(Bytes::new(), CodecId(1), start, ttl);
        let at = |millis| start.after(Duration::from_millis(millis));
        assert!(entry.is_fresh(at(9)) && !entry.is_fresh(at(10)));
        assert!(!entry.is_expired(at(14)) && entry.is_expired(at(15)));
    }
}
