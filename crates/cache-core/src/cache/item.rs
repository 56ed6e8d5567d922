//! A value on its way into a cache.

use std::time::Duration;

use crate::{
    entry::{Ttl, Version},
    error,
};

/// A value to be cached, with what the cache should know about it.
///
/// A plain value converts into one, with the cache's own time to live and without a version.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::{Item, Version};
///
/// let item = Item::new("187.50").version(Version(42)).ttl(Duration::from_secs(10));
/// # let _ = item;
/// ```
#[derive(Clone, Debug)]
pub struct Item<V> {
    pub(super) value: V,
    pub(super) version: Option<Version>,
    fresh: Option<Duration>,
    stale: Option<Duration>,
}

impl<V> Item<V> {
    /// A value with the cache's own settings.
    #[must_use]
    pub const fn new(value: V) -> Self {
        Self { value, version: None, fresh: None, stale: None }
    }

    /// Says which version of the source's value this is: no tier replaces it by an older one.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Says how long this value is fresh, instead of the cache's own setting.
    #[must_use]
    pub fn ttl(self, fresh: Duration) -> Self {
        Self { fresh: Some(fresh), ..self }
    }

    /// Says how long after that it may be served when a load fails.
    #[must_use]
    pub fn max_stale(self, stale: Duration) -> Self {
        Self { stale: Some(stale), ..self }
    }

    /// The item's own time to live over the cache's.
    pub(super) fn ttl_or(&self, default: Ttl) -> error::Result<Ttl> {
        Ttl {
            fresh: self.fresh.unwrap_or(default.fresh),
            stale: self.stale.unwrap_or(default.stale),
        }
        .validate()
    }
}

impl<V> From<V> for Item<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// What a batch loader brought for one key: a value, or why there is none.
///
/// A plain value, an [`Item`], and a `Result` of either convert into it, so a loader whose source
/// answers for each key apart just passes its answers on.
#[derive(Debug)]
pub enum Loaded<V, E> {
    /// A value.
    Item(Item<V>),
    /// This key's load failed; the others of the batch did not.
    Failed(E),
}

impl<V, E> From<V> for Loaded<V, E> {
    fn from(value: V) -> Self {
        Self::Item(Item::new(value))
    }
}

impl<V, E> From<Item<V>> for Loaded<V, E> {
    fn from(item: Item<V>) -> Self {
        Self::Item(item)
    }
}

impl<V, E> From<Result<V, E>> for Loaded<V, E> {
    fn from(result: Result<V, E>) -> Self {
        result.map_or_else(Self::Failed, |value| Self::Item(Item::new(value)))
    }
}

impl<V, E> From<Result<Item<V>, E>> for Loaded<V, E> {
    fn from(result: Result<Item<V>, E>) -> Self {
        result.map_or_else(Self::Failed, Self::Item)
    }
}
