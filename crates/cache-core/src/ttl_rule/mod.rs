//! Who decides how long a loaded value is fresh.

mod adaptive;

use std::{fmt, sync::Arc, time::Duration};

pub use adaptive::{AdaptiveTtl, AdaptiveTtlStats};

use crate::clock::Timestamp;

/// Decides how long a loaded value is fresh, where its [`Item`](crate::Item) does not say: given to
/// [`Builder::ttl_rule`](crate::Builder::ttl_rule). It is asked once a load, never by a read.
pub trait TtlRule: fmt::Debug + Send + Sync + 'static {
    /// How long what `load` brought is fresh, counted from when the load began; nothing for the
    /// cache's own setting. What is below 1 ms or above the limit of any time to live is brought
    /// within.
    fn fresh_for(&self, load: &LoadSeen<'_>) -> Option<Duration>;
}

impl<R: TtlRule + ?Sized> TtlRule for Arc<R> {
    fn fresh_for(&self, load: &LoadSeen<'_>) -> Option<Duration> {
        (**self).fresh_for(load)
    }
}

/// A load, as a [`TtlRule`] sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoadSeen<'a> {
    /// The text of the key.
    pub key: &'a str,
    /// When the load began.
    pub at: Timestamp,
    /// What stands for the value: equal marks are equal values. The source's version where there is
    /// one, else a checksum of the stored form; nothing where the source said "not modified".
    pub mark: Option<u64>,
    /// How long the value is fresh by the cache's own setting.
    pub ttl: Duration,
}

impl<'a> LoadSeen<'a> {
    /// A load of `key` that began at `at` and brought what `mark` stands for, in a cache whose own
    /// setting is `ttl`.
    #[must_use]
    pub const fn new(key: &'a str, at: Timestamp, mark: Option<u64>, ttl: Duration) -> Self {
        Self { key, at, mark, ttl }
    }
}
