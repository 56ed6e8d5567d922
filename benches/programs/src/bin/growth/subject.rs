//! What grows, and the entries that it grows by.

use std::fmt::Write;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use clap::ValueEnum;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    Near,
    Moka,
    Memory,
    Sqlite,
    Redis,
    Postgres,
}

/// Of a value: small, so that what is measured is what comes on top.
pub(crate) const PAYLOAD_LEN: usize = 32;
/// Of a key's text.
pub(crate) const TEXT_LEN: usize = 8;

impl Subject {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Moka => "moka",
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// The variable with the address of its server.
    pub(crate) const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Redis => Some("REDIS_URL"),
            Self::Postgres => Some("DATABASE_URL"),
            Self::Near | Self::Moka | Self::Memory | Self::Sqlite => None,
        }
    }

    /// How many entries it gets at most.
    pub(crate) const fn most(self, is_quick: bool) -> u64 {
        let most = match self {
            Self::Near => 10_000_000,
            _ => 1_000_000,
        };
        if is_quick { most / 10 } else { most }
    }

    /// What its bytes are.
    pub(crate) const fn measured(self) -> &'static str {
        match self {
            Self::Near | Self::Moka | Self::Memory => "resident set of the process",
            Self::Sqlite => "files",
            Self::Redis => "used_memory of the server",
            Self::Postgres => "table with its index and what lies out of line",
        }
    }
}

/// A subject that grows.
#[async_trait]
pub(crate) trait Growing: Send + Sync {
    /// Inserts the entries of these numbers.
    async fn insert(&self, from: u64, to: u64) -> Result<()>;

    /// Reads `count` of the first `entries`, all over the place. Each must be there.
    async fn hit(&self, entries: u64, count: u64) -> Result<()>;

    /// How many reads make a figure.
    fn hits(&self) -> u64;

    /// What it takes now.
    async fn bytes(&self) -> Result<u64>;

    /// Removes what is left elsewhere.
    async fn clean(&self) -> Result<()>;
}

/// The text of an entry's key, into a buffer that is used again.
pub(crate) fn text(buffer: &mut String, number: u64) -> &str {
    buffer.clear();
    write!(buffer, "{number:0TEXT_LEN$}").expect("a String takes all that is written");
    buffer
}

/// A value with an allocation of its own, as a decoded one has.
pub(crate) fn payload(number: u64) -> Bytes {
    let mut bytes = [0; PAYLOAD_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Bytes::from(Box::<[u8]>::from(bytes))
}

/// Numbers below `entries` in an order without order, the same each time.
pub(crate) fn anywhere(entries: u64, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % entries
    })
}
