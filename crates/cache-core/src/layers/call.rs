//! What a call does, and what its result says about the server.

use crate::{
    error::{Error, ErrorKind, Result},
    tier::{Condition, Put},
};

/// How much longer than a read a call may meet silence when losing it costs more than a load: what
/// was not removed is stale, what was not inserted is lost.
pub(crate) const DEAR_FACTOR: u32 = 5;

/// Keys of a batch, and bytes of one that is put, that a server may take one more patience for: it
/// answers them together, and is silent until then.
const KEYS_PER_PATIENCE: usize = 250;
const BYTES_PER_PATIENCE: usize = 1 << 20;

/// How many patiences more a batch of so many keys may take.
pub(crate) const fn size_of_keys(keys: usize) -> usize {
    keys / KEYS_PER_PATIENCE
}

/// How many patiences more these may take.
pub(crate) fn size_of_puts(puts: &[Put]) -> usize {
    let bytes: usize = puts.iter().map(|put| put.entry.payload.len()).sum();
    size_of_keys(puts.len()) + bytes / BYTES_PER_PATIENCE
}

/// What a call does, as far as its fate depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A read, of one key or many.
    Get,
    /// A put of fills only: losing it costs a load.
    Fill,
    /// A put with an insert in it.
    Insert,
    /// A removal.
    Remove,
    /// A clear of a namespace.
    Clear,
    /// A sign of life was asked for.
    Ping,
    /// What the tier holds.
    Usage,
    /// Something about a lease.
    Lease,
}

impl Call {
    /// What putting these does.
    pub(crate) fn of_puts(puts: &[Put]) -> Self {
        let is_insert = |put: &Put| put.condition == Condition::Always;
        if puts.iter().any(is_insert) { Self::Insert } else { Self::Fill }
    }

    /// Its name in errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Fill | Self::Insert => "put",
            Self::Remove => "remove",
            Self::Clear => "clear",
            Self::Ping => "ping",
            Self::Usage => "usage",
            Self::Lease => "lease",
        }
    }

    /// Whether it stores entries.
    pub(crate) const fn is_put(self) -> bool {
        matches!(self, Self::Fill | Self::Insert)
    }

    /// Whether it changes anything, so that its fate may be unknown.
    pub(crate) const fn is_write(self) -> bool {
        matches!(self, Self::Fill | Self::Insert | Self::Remove | Self::Clear | Self::Lease)
    }

    /// How many patiences it may meet silence, where a read of one key may for one.
    pub(crate) fn patiences(self, size: usize) -> u32 {
        let factor = match self {
            Self::Get | Self::Fill | Self::Ping | Self::Lease => 1,
            Self::Insert | Self::Remove | Self::Clear | Self::Usage => DEAR_FACTOR,
        };
        u32::try_from(size).map_or(u32::MAX, |size| size.saturating_add(factor))
    }
}

/// What a result says about the server that was asked.
///
/// | result | verdict | because |
/// | --- | --- | --- |
/// | success, `LostData` | works | it answers; what it lost is told as an event |
/// | `Unavailable`, `Timeout` | fails | it cannot be reached, or does not answer in its time |
/// | `Denied` for a read, `Config`, `Incompatible` | fails | the server refuses everybody until a person acts: asking it with every read only fills its log |
/// | `Full`, `ReadOnly`, `Denied` for a write | refuses | it answers, and may still be read from |
/// | `Overloaded` | nothing | our own limit: all connections are in use, the server is not at fault |
/// | `Codec`, `InvalidKey`, `InvalidTtl`, `TooLarge`, `Load` | nothing | the caller's |
/// | `Closed` | nothing | this process has closed the tier |
/// | `Internal` | nothing | a bug with one key must not cost all the others their tier |
///
/// Stored bytes that cannot be trusted are a miss, so a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers.
    Works,
    /// It answers, and does not take this write.
    Refuses,
    /// It is at fault.
    Fails,
    /// Nothing.
    Nothing,
}

impl Verdict {
    pub(crate) fn of<T>(call: Call, result: &Result<T>) -> Self {
        match result.as_ref().map_err(Error::kind) {
            Ok(_) | Err(ErrorKind::LostData) => Self::Works,
            Err(ErrorKind::Denied) if call.is_write() => Self::Refuses,
            Err(ErrorKind::Full | ErrorKind::ReadOnly) => Self::Refuses,
            Err(
                ErrorKind::Config
                | ErrorKind::Denied
                | ErrorKind::Incompatible
                | ErrorKind::Timeout
                | ErrorKind::Unavailable,
            ) => Self::Fails,
            Err(
                ErrorKind::Closed
                | ErrorKind::Codec
                | ErrorKind::Internal
                | ErrorKind::InvalidKey
                | ErrorKind::InvalidTtl
                | ErrorKind::Load
                | ErrorKind::Outdated
                | ErrorKind::Overloaded
                | ErrorKind::TooLarge,
            ) => Self::Nothing,
        }
    }

    /// Whether the server has said something.
    pub(crate) const fn is_sign_of_life(self) -> bool {
        matches!(self, Self::Works | Self::Refuses)
    }
}
