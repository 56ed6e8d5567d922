//! A value on its way into a cache.

use std::{sync::Arc, time::Duration};

use super::policy::{Dice, Policy};
use crate::{
    entry::{Ttl, Version},
    error,
    priority::EvictionPriority,
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
    pub(super) terms: Terms,
}

/// What is to be known of a value beside itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) version: Option<Version>,
    pub(super) fresh: Option<Duration>,
    pub(super) stale: Option<Duration>,
    pub(super) jitter: Option<f64>,
    pub(super) storage: Storage,
    pub(super) tags: Vec<Arc<str>>,
    pub(super) priority: EvictionPriority,
}

/// Whether a value is to be cached at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Storage {
    #[default]
    Kept,
    Refused,
}

impl<V> Item<V> {
    /// A value with the cache's own settings.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self { value, terms: Terms::default() }
    }

    /// Says which version of the source's value this is: no tier replaces it by an older one.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        self.with(|terms| terms.version = Some(version))
    }

    /// Says how long this value is fresh, instead of the cache's own setting.
    #[must_use]
    pub fn ttl(self, fresh: Duration) -> Self {
        self.with(|terms| terms.fresh = Some(fresh))
    }

    /// Says how long after that it may be served when a load fails.
    #[must_use]
    pub fn max_stale(self, stale: Duration) -> Self {
        self.with(|terms| terms.stale = Some(stale))
    }

    /// Says by which share of it, 0 to 0.5, the fresh time may be shortened at random. 0 for a value
    /// whose time is exact, as when a market closes.
    #[must_use]
    pub fn jitter(self, share: f64) -> Self {
        self.with(|terms| terms.jitter = Some(share))
    }

    /// Says that the value is not to be kept: it answers those who wait for its load, and nobody
    /// after them. An insert of it fails.
    #[must_use]
    pub fn no_store(self) -> Self {
        self.with(|terms| terms.storage = Storage::Refused)
    }

    /// Says how willingly full tiers give this value up.
    #[must_use]
    pub fn priority(self, priority: EvictionPriority) -> Self {
        self.with(|terms| terms.priority = priority)
    }

    /// Says by which tags it can be invalidated. They are added to those of the
    /// [`Read`](crate::Read), which are the better place: tags that are known only when the load
    /// has ended do not see what was invalidated during it.
    #[must_use]
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Vec<Arc<str>> = tags.into_iter().map(|tag| tag.as_ref().into()).collect();
        self.with(|terms| terms.tags.extend(tags))
    }

    fn with(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }
}

impl Terms {
    /// The item's own times to live over the cache's, the fresh one shortened by its jitter.
    pub(super) fn ttl(&self, policy: &Policy, dice: &Dice) -> error::Result<Ttl> {
        let jitter = self.jitter.map_or(policy.jitter, |share| share.clamp(0.0, 0.5));
        let ttl = match (self.fresh, self.stale) {
            // They were validated with the policy.
            (None, None) => policy.ttl(),
            (fresh, stale) => {
                Ttl { fresh: fresh.unwrap_or(policy.ttl), stale: stale.unwrap_or(policy.max_stale) }
                    .validate()?
            }
        };
        Ok(Ttl { fresh: dice.shorten(ttl.fresh, jitter), ..ttl })
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
