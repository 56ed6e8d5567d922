//! What the nodes saw: one record an operation.

use serde::{Deserialize, Serialize};

/// What a node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// Read a shared key through the whole cache.
    Read,
    /// Read the one key that everybody reads and nobody writes.
    Hot,
    /// Read through the same tiers without a near tier.
    Below,
    /// Read a key that nobody has read before: a load.
    Cold,
    /// Wrote the source, and then invalidated the key.
    Invalidate,
    /// Wrote the source, and then inserted the value.
    Insert,
}

impl Act {
    /// Whether it answers with a value.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Hot | Self::Below | Self::Cold)
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The node's own memory.
    Near,
    /// L1.
    Redis,
    /// L2.
    Postgres,
    /// The source.
    Load,
}

/// One operation of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it was.
    pub act: Act,
    /// Of which key.
    pub key: String,
    /// The version that was read, or that the source gave to what was written.
    pub version: Option<u64>,
    /// When the call to the cache began, in microseconds of the machine's monotonic clock.
    pub begin_us: u64,
    /// When it returned.
    pub end_us: u64,
    /// Of a read: where its value came from.
    pub place: Option<Place>,
    /// Of a read: whether it said that its value is stale.
    pub stale: bool,
    /// Of a read: how much of its time its own load took.
    pub load_us: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Record {
    /// How long the call took.
    #[must_use]
    pub const fn took_us(&self) -> u64 {
        self.end_us.saturating_sub(self.begin_us)
    }

    /// Whether any of it lies in this span.
    pub(super) const fn overlaps(&self, begin_us: u64, end_us: u64) -> bool {
        self.begin_us < end_us && self.end_us > begin_us
    }
}

/// An operation, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which node.
    pub node: usize,
    /// What it did.
    pub record: Record,
}

/// One line of a node's output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    /// It takes calls.
    Ready,
    /// It did this.
    Did(Record),
    /// What it counted, at its end.
    Counted(Vec<(String, u64)>),
    /// The answer to a command.
    Answer(String),
}
