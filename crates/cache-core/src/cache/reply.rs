//! What a loader is told of the past, and what it may answer.

use std::{sync::Arc, time::Duration};

use super::{hit::Times, item::Item, tag_book::names};
use crate::{
    clock::Timestamp,
    entry::{Ttl, Version},
    priority::EvictionPriority,
    tags::Tags,
};

/// What a loader answers: a value, that the old one still holds, or that there is none.
///
/// A plain value, an [`Item`] and an `Option` of either (nothing: absent) convert into it.
///
/// # Examples
///
/// A source that answers "304 Not Modified":
///
/// ```
/// use std::convert::Infallible;
/// use cache_core::{Cache, Item, Reply, Version};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache: Cache<String> = Cache::builder("doc").build()?;
/// # async fn fetch(_: &str, _: Option<u64>) -> Option<(u64, String)> { Some((1, String::new())) }
/// let hit = cache
///     .read("AAPL")
///     .load(|previous| async move {
///         let known = previous.and_then(|previous| previous.version());
///         Ok::<_, Infallible>(match fetch("AAPL", known.map(|version| version.0)).await {
///             Some((version, text)) => Reply::Item(Item::new(text).version(Version(version))),
///             None => Reply::NotModified,
///         })
///     })
///     .await?;
/// # assert!(hit.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum Reply<V> {
    /// This value.
    Item(Item<V>),
    /// The [`Previous`] value still holds: it is kept for as long again as it was at first and with
    /// the same priority, from now on, unless its key was changed meanwhile. An error where there was no previous value.
    NotModified,
    /// The source has no value. That is remembered for the cache's
    /// [`negative_ttl`](crate::Policy::negative_ttl), if it has one; what was cached is forgotten
    /// in any case.
    Absent,
    /// The source has no value, and that is to be remembered for this long.
    AbsentFor(Duration),
}

impl<V> From<V> for Reply<V> {
    fn from(value: V) -> Self {
        Self::Item(Item::new(value))
    }
}

impl<V> From<Item<V>> for Reply<V> {
    fn from(item: Item<V>) -> Self {
        Self::Item(item)
    }
}

impl<V> From<Option<V>> for Reply<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Absent, Self::from)
    }
}

impl<V> From<Option<Item<V>>> for Reply<V> {
    fn from(item: Option<Item<V>>) -> Self {
        item.map_or(Self::Absent, Self::Item)
    }
}

/// What the cache still has of a key while it is loaded anew, for sources that can be asked whether
/// it still holds.
///
/// It is the newest that any tier has, fresh or stale, of any version.
#[derive(Debug)]
pub struct Previous<V> {
    value: Arc<V>,
    version: Option<Version>,
    times: Times,
    tags: Tags,
    priority: EvictionPriority,
    seen_at: Timestamp,
}

impl<V> Previous<V> {
    pub(super) const fn new(
        value: Arc<V>,
        version: Option<Version>,
        times: Times,
        tags: Tags,
        priority: EvictionPriority,
        seen_at: Timestamp,
    ) -> Self {
        Self { value, version, times, tags, priority, seen_at }
    }

    /// The value.
    #[must_use]
    pub const fn value(&self) -> &Arc<V> {
        &self.value
    }

    /// Its version at the source, if the source told one.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// How long before this load its own load had begun.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.seen_at.since(self.times.created_at)
    }

    /// Whether its fresh time was over.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.times.is_fresh(self.seen_at)
    }

    /// How long it was to be kept, from its own beginning.
    pub(super) const fn ttl(&self) -> Ttl {
        Ttl {
            fresh: self.times.fresh_until.since(self.times.created_at),
            stale: self.times.expires_at.since(self.times.fresh_until),
        }
    }

    /// How willingly full tiers give it up.
    pub(super) const fn priority(&self) -> EvictionPriority {
        self.priority
    }

    /// The names of its tags.
    pub(super) fn tags(&self) -> impl Iterator<Item = Arc<str>> {
        names(&self.tags)
    }

    /// Whether it was made before `other`.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.times.created_at < other.times.created_at
    }
}

impl<V> Clone for Previous<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), tags: self.tags.clone(), ..*self }
    }
}
