//! One level of a cache: the trait that every backend and every wrapper implements.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    bus::Log,
    clock::Timestamp,
    entry::{BATCH_LEN_MAX, Entry, Version},
    error::{Error, ErrorKind, Result},
    fence::Fence,
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    wire::{self, Corrupt, Record},
};

/// One level of a cache. [`TierExt`] adds what users call more conveniently.
///
/// # Contract
///
/// The conformance suite (`cache_core::testkit`, feature `testkit`) checks each line of this on
/// every tier and wrapper:
///
/// - A lookup never returns an expired entry, by the tier's [`Clock`](crate::Clock).
/// - The fence of a key grows with every unconditional put, every removal and every clear of its
///   namespace, and with nothing else: not with a fill, not with expiry, not with eviction. It is
///   remembered for at least [`TierInfo::fence_retention`] after it grew.
/// - A fill (a put with [`Condition::Unmoved`]) is refused when the key's fence has grown since.
///   It may also be refused without that (a fence may be shared by several keys), but never the
///   other way round.
/// - An entry with a version is refused when the key holds, or was removed at, a newer one. A
///   clear forgets versions.
/// - A batch acts in its order and answers in its order. It is one round trip where the backend
///   has such a thing. An empty batch succeeds without asking the backend.
/// - Bytes that are no record are a miss, with [`Lookup::corrupt`] set, and can be overwritten.
/// - Namespaces never touch each other.
///
/// # Cancel safety
///
/// A dropped read changes nothing. A dropped write may or may not have happened, in part too, and
/// leaves nothing behind that harms later calls.
#[async_trait]
pub trait Tier: fmt::Debug + Send + Sync + 'static {
    /// What this tier is and can do. Constant for the life of the tier.
    fn info(&self) -> &TierInfo;

    /// Looks up one key.
    async fn get(&self, key: &Key) -> Result<Lookup>;

    /// Looks up many keys, at most [`BATCH_LEN_MAX`]; answers in their order.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>>;

    /// Writes entries, at most [`BATCH_LEN_MAX`]; answers in their order.
    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>>;

    /// Removes keys, at most [`BATCH_LEN_MAX`], and remembers that it did. Removing what is not
    /// there counts as well: it still moves the fence.
    async fn remove_many(&self, removals: &[Removal]) -> Result<()>;

    /// Removes everything of `namespace`. Takes effect at once and as a whole for every reader;
    /// space may be given back later.
    async fn clear(&self, namespace: &Namespace) -> Result<()>;

    /// Asks whether the tier answers.
    async fn ping(&self) -> Result<()>;

    /// What the tier holds now, as far as it can tell cheaply.
    async fn usage(&self) -> Result<Usage>;

    /// The log of this tier's changes, where it keeps one for other processes.
    fn log(&self) -> Option<Arc<dyn Log>>;

    /// Leases on keys, where this tier can give them.
    fn leases(&self) -> Option<Arc<dyn Leases>>;

    /// What can be done about the room that this tier takes, where it can tell or do something. Of
    /// a stack, ask each tier.
    fn room(&self) -> Option<TierRoom<'_>>;

    /// Finishes what was accepted, gives up connections and background work. Calls after this
    /// may fail with [`ErrorKind::Closed`].
    async fn close(&self) -> Result<()>;
}

/// What a tier is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierInfo {
    /// Its name in statistics, errors and results: `redis`, `postgres`.
    pub name: Arc<str>,
    /// Who sees what is written to it.
    pub scope: Scope,
    /// What survives the end of the process, or of the server.
    pub durability: Durability,
    /// How long a moved fence is remembered at least. No load may take longer.
    pub fence_retention: Duration,
    /// The largest payload that it takes, in bytes.
    pub payload_len_max: usize,
    /// How long its server may say nothing at all, to nobody, while calls wait for it, before it
    /// counts as hung; nothing for a tier that has no server. A busy server that answers one call
    /// after the other is not silent, however long each of them takes.
    pub patience: Option<Duration>,
}

/// Who sees what is written to a tier, from the fewest to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This process only.
    Process,
    /// The processes of one machine.
    Machine,
    /// Every process that can reach the server.
    Network,
}

/// What a tier keeps when its process or server ends, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing is promised.
    Volatile,
    /// Everything, but a crash of the server or machine may lose the fills of the last moments,
    /// which are loaded again. Inserts and removals that were acknowledged are kept.
    Relaxed,
    /// Everything that was acknowledged.
    Full,
}

/// What a tier knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The entry, unless there is none, it has expired, or its bytes cannot be trusted.
    pub entry: Option<Entry>,
    /// Where the key stands: to be handed back with a fill.
    pub fence: Fence,
    /// Why stored bytes were not served.
    pub corrupt: Option<Corrupt>,
}

impl Lookup {
    /// Nothing to serve, and the key stands at `mark`.
    #[must_use]
    pub const fn absent(mark: u64) -> Self {
        Self { entry: None, fence: Fence::mark(mark), corrupt: None }
    }

    /// What a tier that stores [`wire`] records answers for the record `bytes`, whose own mark is
    /// `mark` (nothing: unreadable), in a namespace that was last cleared at `floor`.
    #[must_use]
    pub fn from_record(
        bytes: &Bytes,
        mark: Option<u64>,
        floor: u64,
        now: Timestamp,
        payload_len_max: usize,
    ) -> Self {
        let absent = Self::absent(mark.unwrap_or(0).max(floor));
        if mark.is_some_and(|mark| mark < floor) {
            return absent;
        }
        match wire::decode(bytes, payload_len_max) {
            Ok(Record::Value(entry)) if !entry.is_expired(now) => {
                Self { entry: Some(entry), ..absent }
            }
            Ok(Record::Value(_) | Record::Tombstone(_)) => absent,
            Err(corrupt) => Self { corrupt: Some(corrupt), ..absent },
        }
    }
}

/// One entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Where to.
    pub key: Key,
    /// What.
    pub entry: Entry,
    /// On which condition.
    pub condition: Condition,
}

/// When a put may be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In any case (but never over a newer version). Moves the fence: this is an insert.
    Always,
    /// While the key's fence has not grown since it was read. Moves nothing: this is a fill.
    Unmoved(Fence),
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PutOutcome {
    /// The entry is stored.
    Stored,
    /// Refused: the key has moved on since the fence was read, or a newer version is known.
    Superseded,
    /// Refused: the entry is above what the tier can hold. An insert has removed the old one.
    TooLarge,
    /// Not tried: the fence was not read in this tier.
    Skipped,
}

/// One key to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub key: Key,
    /// The source's version from now on, if it is known: older ones are refused from then on, so
    /// that a load from a lagging replica cannot bring the old value back.
    pub version: Option<Version>,
}

impl From<Key> for Removal {
    fn from(key: Key) -> Self {
        Self { key, version: None }
    }
}

/// What a tier holds. A field is absent where the backend cannot tell cheaply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Entries, tombstones included.
    pub entries: Option<u64>,
    /// Bytes in use.
    pub bytes: Option<u64>,
    /// Bytes allowed.
    pub bytes_max: Option<u64>,
    /// Entries evicted for want of room since the tier or its server started, or since its tables
    /// were made.
    pub evictions: Option<u64>,
    /// The same by what asked for it; together they are all of them.
    #[serde(default)]
    pub evicted: Option<Evictions>,
}

/// Entries evicted, by what asked for it. Where two bounds ask at once, the earlier of these counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evictions {
    /// The bound in bytes.
    pub bytes: u64,
    /// The bound in entries.
    pub entries: u64,
    /// Memory pressure.
    pub pressure: u64,
}

impl Evictions {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.bytes + self.entries + self.pressure
    }
}

/// Conveniences over every [`Tier`]. Not to be implemented.
#[async_trait]
pub trait TierExt: Tier {
    /// Writes one entry in any case; see [`Condition::Always`].
    ///
    /// # Errors
    ///
    /// Those of [`Tier::put_many`].
    async fn put(&self, key: Key, entry: Entry) -> Result<PutOutcome> {
        let put = Put { key, entry, condition: Condition::Always };
        Ok(self.put_many(&[put]).await?[0])
    }

    /// Writes one entry unless the key has moved since `fence` was read.
    ///
    /// # Errors
    ///
    /// Those of [`Tier::put_many`].
    async fn fill(&self, key: Key, entry: Entry, fence: Fence) -> Result<PutOutcome> {
        let put = Put { key, entry, condition: Condition::Unmoved(fence) };
        Ok(self.put_many(&[put]).await?[0])
    }

    /// Removes one key.
    ///
    /// # Errors
    ///
    /// Those of [`Tier::remove_many`].
    async fn remove(&self, key: Key) -> Result<()> {
        self.remove_many(&[key.into()]).await
    }
}

impl<T: Tier + ?Sized> TierExt for T {}

/// Checks that a batch is within [`BATCH_LEN_MAX`]. Every tier calls it first.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] when it is not.
pub fn check_batch(len: usize) -> Result<()> {
    if len <= BATCH_LEN_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, format!("a batch of {len} keys is above {BATCH_LEN_MAX}"))
        .hint("split it"))
}

/// Hands calls on as they are: an async function would box their futures a second time.
macro_rules! handed_on {
    ($($name:ident($argument:ty) -> $answer:ty;)+) => {$(
        fn $name<'tier, 'argument, 'call>(
            &'tier self,
            argument: &'argument $argument,
        ) -> Pin<Box<dyn Future<Output = Result<$answer>> + Send + 'call>>
        where
            'tier: 'call,
            'argument: 'call,
            Self: 'call,
        {
            (**self).$name(argument)
        }
    )+};
}

/// A shared tier is a tier.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier + ?Sized> Tier for Arc<T> {
    handed_on! {
        get(Key) -> Lookup;
        get_many([Key]) -> Vec<Lookup>;
        put_many([Put]) -> Vec<PutOutcome>;
        remove_many([Removal]) -> ();
        clear(Namespace) -> ();
    }

    fn info(&self) -> &TierInfo {
        (**self).info()
    }

    async fn ping(&self) -> Result<()> {
        (**self).ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        (**self).usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        (**self).log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        (**self).leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        (**self).room()
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
