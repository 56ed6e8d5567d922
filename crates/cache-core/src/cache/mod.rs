//! The typed front of a tiered cache.

mod auditing;
mod builder;
mod cluster;
mod coherence;
mod flight;
mod flights;
mod hit;
mod item;
mod keep;
mod load_error;
mod loading;
mod look;
mod metrics;
mod near;
mod near_room;
mod policy;
mod pressure;
mod reply;
mod request;
mod runway;
mod session;
mod shared;
mod studies;
mod survey;
mod tag_book;
mod timing;
mod watch;
mod write;

use std::{fmt, sync::Arc, time::Duration};

pub use builder::Builder;
pub use coherence::WhenCut;
use flight::Course;
pub use flights::FLIGHTS_MAX;
pub use hit::{Hit, Origin};
pub use item::{Item, Loaded};
pub use load_error::{LoadError, SourceError};
#[cfg(feature = "testkit")]
pub(crate) use metrics::Metrics;
pub use near::NearEngine;
pub use policy::Policy;
pub use reply::{Previous, Reply};
pub use request::{Freshness, Read};
pub use session::Session;
use shared::{Glance, Shared};
pub use watch::{ReadWatch, WatchedReads};

use crate::{
    audit::Auditor,
    error::{Error, ErrorKind, Result},
    event::Events,
    key::Namespace,
    stats::CacheStats,
    tier::check_batch,
};

/// A cache of values of one type: near tier, stack of tiers, single flight, statistics.
///
/// Cheap to clone; clones are the same cache. Keys are text of up to
/// [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes in the cache's namespace.
///
/// A read asks the near tier, then each tier in order, then (where a loader is given) the source. A
/// hit in a lower tier is promoted to all tiers above it for the rest of its life.
///
/// # Cancel safety
///
/// Every method's future can be dropped at any time. A dropped read changes nothing; its load, if
/// it started one, goes on and fills the tiers for the next caller. A dropped write is carried out
/// all the same.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use cache_core::{Cache, Origin};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache: Cache<f64> = Cache::builder("price").ttl(Duration::from_secs(10)).build()?;
///
/// // Asks the source, once, however many callers there are.
/// let price = cache.get_or_load("AAPL", || async { Ok::<_, Infallible>(187.5) }).await?;
/// assert_eq!((*price, price.origin()), (187.5, &Origin::Load));
///
/// let price = cache.get("AAPL").await?.ok_or("it was just loaded")?;
/// assert_eq!(price.origin(), &Origin::Near);
/// # Ok(())
/// # }
/// ```
pub struct Cache<V>(Arc<Shared<V>>);

impl<V: Send + Sync + 'static> Cache<V> {
    /// The cache's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// What the near tier has, fresh or stale, without asking anybody else.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Hit<V>> {
        let now = self.0.clock.now();
        self.0.near.as_ref()?.read(key, now, |value| value.to_hit(now))
    }

    /// The value under `key`, from the first tier that has it fresh, else the freshest stale one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], [`ErrorKind::Closed`], or what the tiers said when all of them
    /// failed and the near tier has nothing, not even stale. One tier's fault is not the caller's:
    /// the next one answers.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn get(&self, key: &str) -> Result<Option<Hit<V>>> {
        self.0.check_read()?;
        match self.0.near_fresh(key) {
            Glance::Hit(hit) => return Ok(Some(hit)),
            Glance::Absent => return Ok(None),
            Glance::Miss => {}
        }
        // Boxed, as the way down is a large future that each hit would pay for moving.
        Box::pin(self.get_below(key)).await
    }

    async fn get_below(&self, key: &str) -> Result<Option<Hit<V>>> {
        let key = self.0.namespace.key(key)?;
        self.0.follow_logs().await;
        let (candidate, result) = self.0.look(&key, &Course::plain()).await;
        if candidate.hit.is_none() {
            result?;
        }
        self.0.answered(key.text(), candidate.hit.as_ref());
        Ok(candidate.hit)
    }

    /// The values under `keys`, in their order, with at most one call a tier.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), for any of the keys, and [`ErrorKind::TooLarge`] for more than
    /// [`BATCH_LEN_MAX`](crate::BATCH_LEN_MAX) keys.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn get_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Hit<V>>>> {
        self.0.check_read()?;
        let mut hits = Vec::new();
        let mut open = Vec::new();
        let mut asked = Vec::new();
        for (i, key) in keys.into_iter().enumerate() {
            let glance = self.0.near_fresh(key.as_ref());
            if matches!(glance, Glance::Miss) {
                open.push(i);
                asked.push(self.0.namespace.key(key.as_ref())?);
            }
            hits.push(glance.into_hit());
        }
        check_batch(hits.len())?;
        self.0.follow_logs().await;
        let (candidates, result) = self.0.look_many(&asked, &Course::plain()).await;
        if candidates.iter().any(|candidate| candidate.hit.is_none()) {
            result?;
        }
        for (i, candidate) in open.into_iter().zip(candidates) {
            self.0.answered(candidate.key.text(), candidate.hit.as_ref());
            hits[i] = candidate.hit;
        }
        Ok(hits)
    }

    /// Where the cache tells what happened to it: faults and their ends.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// What the cache did so far. Asks each tier what it holds.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn stats(&self) -> CacheStats {
        let mut tiers = Vec::new();
        if let Some(near) = &self.0.near {
            tiers.push(self.0.metrics.near_stats(near.usage()));
        }
        for observed in &self.0.observed {
            tiers.push(observed.stats().await);
        }
        let events = self.0.events.counts().into_iter().filter(|(_, count)| *count > 0);
        let audit = self.0.auditor.read().as_ref().map(Auditor::stats);
        CacheStats {
            audit,
            curve: self.0.curve(),
            pressure: self.0.pressure.stats(),
            coherence_lag: self.0.coherence.lag(),
            pending_removals: self.0.stack.as_ref().map_or(0, |stack| stack.pending_removals())
                as u64,
            events: events.map(|(name, count)| (name.to_owned(), count)).collect(),
            ..self.0.metrics.snapshot(self.0.namespace.to_string(), tiers)
        }
    }

    /// Takes no more calls and waits for the loads and writes that are under way, for at most
    /// `deadline`. The tiers stay open: other caches may share them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when `deadline` passes first: it says how many are left. They go on
    /// while the runtime does.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the cache closed and the rest going on.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.0.tasks.close();
        self.0.coherence.stop();
        self.0.pressure.end();
        tokio::time::timeout(deadline, self.0.tasks.wait()).await.map_err(|_| {
            let left = self.0.tasks.len();
            let message = format!("{left} loads and writes are not finished after {deadline:?}");
            Error::new(ErrorKind::Timeout, message).hint("allow more time").indeterminate()
        })
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.0.namespace)
            .field("near", &self.0.near)
            .field("stack", &self.0.stack)
            .finish_non_exhaustive()
    }
}
