//! A cache as its users call it.

use std::{
    future::Future,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;

use crate::{Key, Question};

/// A value: 256 bytes of ASCII, which a cache that keeps values hands out without copying them.
pub type Text = Arc<str>;

/// How long values live: longer than any process that measures.
pub const LIFE: Duration = Duration::from_secs(120);

/// How many values a near tier has room for, where it counts them: more than there are keys, so
/// that nothing is evicted while it is measured.
pub const NEAR_ENTRIES_MAX: u32 = 250_000;

/// Every value of every load.
static VALUE: LazyLock<String> = LazyLock::new(|| "0123456789abcdef".repeat(16));

/// A cache of a near tier in this process and of Redis behind it, set up as its documents advise.
///
/// Each caller has a clone, as the methods of some caches want `&mut self`.
pub trait Peer: Clone + Send + Sync + Sized + 'static {
    /// What a read hands out.
    type Hit: Send;

    /// Why a question cannot be put to this cache.
    fn cannot(question: Question) -> Option<&'static str>;

    /// One instance of the cache, with an empty near tier.
    fn open(node: &Node) -> impl Future<Output = Result<Self>> + Send;

    /// What the value says that a read has handed out.
    fn text(hit: &Self::Hit) -> &str;

    /// Reads what has been stored before, by the call for it.
    fn hit(&mut self, key: &Key) -> impl Future<Output = Result<Option<Self::Hit>>> + Send;

    /// Stores a value in both tiers.
    fn set(&mut self, key: &Key, value: Text) -> impl Future<Output = Result<()>> + Send;

    /// Reads a value, or has it loaded and stores it in both tiers.
    fn load(
        &mut self,
        key: &Key,
        loader: &Loader,
    ) -> impl Future<Output = Result<Self::Hit>> + Send;

    /// Ends the instance.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

/// Where an instance belongs.
#[derive(Clone, Debug)]
pub struct Node {
    /// The Redis that all instances share.
    pub redis_url: String,
    /// What its keys, channels and the like are named by, where a cache has a name for them.
    pub namespace: String,
    /// Who waits for whom.
    pub turns: Turns,
}

/// Who waits for a load of a key that is under way, where a cache has the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// The callers of the same process.
    OfProcess,
    /// Those of all processes.
    OfAll,
}

/// A source of values that counts how often it is asked.
#[derive(Clone, Debug)]
pub struct Loader {
    calls: Arc<AtomicU64>,
    takes: Duration,
}

impl Loader {
    /// One that answers at once.
    #[must_use]
    pub fn instant() -> Self {
        Self::taking(Duration::ZERO)
    }

    /// One that takes its time.
    #[must_use]
    pub fn taking(takes: Duration) -> Self {
        Self { calls: Arc::default(), takes }
    }

    /// A value of its own.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has counted as a call.
    pub async fn load(&self) -> Text {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        value()
    }

    /// How often it was asked.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// What every load brings, each time in memory of its own.
pub(crate) fn value() -> Text {
    Text::from(VALUE.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loader_counts_its_calls_and_shares_no_memory_between_its_values() {
        let loader = Loader::instant();
        let (a, b) = (loader.load().await, loader.clone().load().await);
        assert_eq!((a.len(), &a, loader.calls()), (256, &b, 2));
        assert!(!Arc::ptr_eq(&a, &b));
    }
}
