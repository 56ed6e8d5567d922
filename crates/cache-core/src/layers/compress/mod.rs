//! Payloads that take less room below than they have above.

mod algorithm;
mod checksum;
mod packed;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::algorithm::CompressionAlgorithm;
pub(crate) use self::packed::{pack, unpack};
use super::Layer;
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
    units::ByteSize,
};

/// What is compressed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// By what.
    pub algorithm: CompressionAlgorithm,
    /// A payload below this length stays as it is: too little is to be had there.
    pub len_min: ByteSize,
    /// How much of its length a payload must lose at least, in percent, its new head included. One
    /// that loses less stays as it is, and costs its readers nothing.
    pub saving_min_percent: u8,
}

impl Compression {
    /// What is not given otherwise: payloads of 1 KiB and more, that lose 10 % at least.
    const DEFAULT: Self = Self {
        algorithm: CompressionAlgorithm::Lz4,
        len_min: ByteSize::kib(1),
        saving_min_percent: 10,
    };

    /// The defaults, with LZ4: for tiers that are near, and where time counts more than room.
    #[must_use]
    pub const fn lz4() -> Self {
        Self::DEFAULT
    }

    /// The defaults, with zstd: for tiers over a network, and where room counts more.
    #[must_use]
    pub const fn zstd() -> Self {
        Self { algorithm: CompressionAlgorithm::Zstd, ..Self::DEFAULT }
    }

    /// Reads what others have compressed, and compresses nothing. The first step of a deployment:
    /// what a node without this layer finds compressed is a miss to it.
    #[must_use]
    pub const fn off() -> Self {
        Self { algorithm: CompressionAlgorithm::Off, ..Self::DEFAULT }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when `saving_min_percent` is above 99.
    pub fn validate(self) -> Result<Self> {
        if self.saving_min_percent < 100 {
            return Ok(self);
        }
        let message = format!("`saving_min_percent` is {}", self.saving_min_percent);
        Err(Error::new(ErrorKind::Config, message).hint("choose one from 0 to 99"))
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A layer that compresses payloads on their way into a tier, and gives them back as they were.
///
/// Above it nothing changes: entries, fences, versions and digests are the same as without it, so
/// that tiers of which only some have the layer can be compared and copied. Whether an entry is
/// compressed is decided for each; of a long payload a part is tried first. What is stored says by
/// what it was compressed, and is read whatever the layer's own settings are.
///
/// Compressed bytes that cannot be trusted are a miss, and counted as such: nothing is allocated
/// for a length above the tier's limit, nor for more than 255 times the bytes that are there.
/// `docs/concepts/compression.md` says which to choose.
///
/// It works on the caller's task, as the codec does, and takes it for as long.
///
/// # Examples
///
/// ```
/// use cache_core::{ByteSize, Cache, Compression, Layer, MemoryTier, SystemClock, compress};
///
/// # fn main() -> cache_core::Result<()> {
/// let tier = MemoryTier::shared(ByteSize::mib(256), SystemClock::shared());
/// let cache: Cache<String> =
///     Cache::builder("news").tier(compress(Compression::zstd()).wrap(tier)).build()?;
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn compress(settings: Compression) -> impl Layer {
    move |inner: Arc<dyn Tier>| Arc::new(Compressed { settings, inner }) as Arc<dyn Tier>
}

struct Compressed {
    settings: Compression,
    inner: Arc<dyn Tier>,
}

impl Compressed {
    fn unpacked(&self, lookup: Lookup) -> Lookup {
        let Some(entry) = lookup.entry else { return lookup };
        match unpack(entry, self.info().payload_len_max) {
            Ok(entry) => Lookup { entry: Some(entry), ..lookup },
            Err(corrupt) => Lookup { entry: None, corrupt: Some(corrupt), ..lookup },
        }
    }

    /// The puts as they are to be stored; nothing when that is as they are.
    fn packed(&self, puts: &[Put]) -> Option<Vec<Put>> {
        let mut packed: Option<Vec<Put>> = None;
        for (at, put) in puts.iter().enumerate() {
            // What the tier would refuse for its length is left to be refused.
            if let Some(entry) = pack(&put.entry, &self.settings, self.info().payload_len_max) {
                packed.get_or_insert_with(|| puts.to_vec())[at].entry = entry;
            }
        }
        packed
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Compressed {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        Ok(self.unpacked(self.inner.get(key).await?))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let lookups = self.inner.get_many(keys).await?;
        Ok(lookups.into_iter().map(|lookup| self.unpacked(lookup)).collect())
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        match self.packed(puts) {
            Some(packed) => self.inner.put_many(&packed).await,
            None => self.inner.put_many(puts).await,
        }
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.inner.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.inner.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }

    /// Its digests are those of the entries above: see [`packed`].
    fn log(&self) -> Option<Arc<dyn Log>> {
        self.inner.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compressed").field(&self.settings).field(&self.inner).finish()
    }
}
