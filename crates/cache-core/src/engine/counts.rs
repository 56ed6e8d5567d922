//! What was evicted, and why.

use serde::{Deserialize, Serialize};

use crate::tier::Evictions;

/// Entries that went without having been removed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictionCounts {
    /// For want of room.
    pub size: u64,
    /// For want of room, where the namespace was above its quota.
    pub quota: u64,
    /// To give memory back: the process or the server was near its limit.
    pub pressure: u64,
    /// Given back after their deadline. Not counted as evictions elsewhere.
    pub expired: u64,
    /// Entries that were to be pinned and are not, as too much was pinned already.
    pub unpinned: u64,
}

impl EvictionCounts {
    /// Entries evicted before their deadline, for whichever reason.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.size + self.quota + self.pressure
    }

    /// The same as every tier tells it. A quota is one of bytes.
    pub(crate) const fn by_reason(&self) -> Evictions {
        Evictions { bytes: self.size + self.quota, entries: 0, pressure: self.pressure }
    }
}
