//! Looks of those who tend a cache, which are nobody's reads.

use super::{Cache, flight::Course, hit::Hit};
use crate::{
    error::{Error, ErrorKind, Result},
    key::Key,
    layers::uncounted,
    stack::Copied,
    stats::LatencyHistogram,
    tier::check_batch,
};

impl<V: Send + Sync + 'static> Cache<V> {
    /// The values under `keys`, in their order, without counting as reads: neither statistics nor
    /// logs of reads change. What a lower tier has is promoted to the tiers above it and to the near
    /// tier, as by a read.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many).
    ///
    /// # Cancel safety
    ///
    /// A dropped future harms nothing.
    pub async fn survey<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Hit<V>>>> {
        self.0.check_read()?;
        let now = self.0.clock.now();
        let mut hits = Vec::new();
        let mut open = Vec::new();
        let mut asked = Vec::new();
        for (i, key) in keys.into_iter().enumerate() {
            let key = self.0.namespace.key(key.as_ref())?;
            let near = self.0.near_any(&key).and_then(|near| near.to_hit(now));
            let near = near.filter(|hit| !hit.is_stale());
            if near.is_none() {
                open.push(i);
                asked.push(key);
            }
            hits.push(near);
        }
        check_batch(hits.len())?;
        self.0.follow_logs().await;
        let (candidates, result) = uncounted(self.0.look_many(&asked, &Course::plain())).await;
        if candidates.iter().any(|candidate| candidate.hit.is_none()) {
            result?;
        }
        for (i, candidate) in open.into_iter().zip(candidates) {
            hits[i] = candidate.hit;
        }
        Ok(hits)
    }

    /// Brings to the tier `to` what the tiers below it have of `keys` and it has not, or has stale:
    /// [`Stack::copy_up`](crate::Stack::copy_up) over the cache's own tiers. Nobody is asked to load
    /// anything, and nothing counts as a read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when no tier of the cache is called `to`; else those of `copy_up`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future harms nothing: keys were copied or were not.
    pub async fn copy_up<K: AsRef<str>>(
        &self,
        to: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Copied>> {
        self.0.check_open()?;
        let keys = keys.into_iter().map(|key| self.0.namespace.key(key.as_ref()));
        let keys: Vec<Key> = keys.collect::<Result<_>>()?;
        let found = self.0.stack.as_ref().and_then(|stack| {
            let level = stack.tiers().iter().position(|tier| *tier.info().name == *to)?;
            Some((stack, level))
        });
        let Some((stack, level)) = found else {
            let names: Vec<&str> = self.0.observed.iter().map(|tier| &**tier.name()).collect();
            let message = format!("the cache has no tier `{to}` to copy to");
            return Err(Error::new(ErrorKind::Config, message)
                .hint(format!("its tiers are: {}", names.join(", "))));
        };
        self.0.follow_logs().await;
        uncounted(stack.copy_up(level, &keys)).await
    }

    /// What callers' reads of each tier took so far, the upper tier's first: of all that were asked,
    /// without the near tier, and without what [`survey`](Self::survey), [`copy_up`](Self::copy_up)
    /// and [`refresh_many`](Self::refresh_many) asked.
    #[must_use]
    pub fn read_latencies(&self) -> Vec<LatencyHistogram> {
        self.0.observed.iter().map(|tier| tier.read_latency()).collect()
    }
}
