//! Mends a shared tier that has missed changes of the tier below it.
//!
//! A process that dies between two tiers, or a program that changes the lower one alone, leaves a
//! value in the upper tier that is no longer in the lower one. The log of the lower tier has all
//! such changes. One process at a time, the holder of a lease, goes through it, compares the two
//! tiers for each key that has changed, and removes from the upper one what is not the same. How
//! far it has come is kept in the upper tier itself: one that comes back with old data comes back
//! with the old place, and is mended from there.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::mend::{Changed, mend};
use crate::{
    bus::{Change, Log, Page, Position},
    cache::shared::Shared,
    codec::RAW_ID,
    entry::{Entry, TTL_MAX, Ttl},
    error::{Error, ErrorKind, Result},
    event::Event,
    key::Key,
    lease::{LeaseToken, Leases},
    tier::{Condition, Put, PutOutcome, Scope, Tier},
};

/// How long a dead repairer holds the others up.
const LEASE_PERIOD: Duration = Duration::from_secs(3);

/// How long one reading of the log waits.
const WAIT: Duration = Duration::from_millis(500);

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Mends the tier at level `upper` by the log at `place` until the cache is gone.
pub(super) async fn repair<V: Send + Sync + 'static>(
    cache: Weak<Shared<V>>,
    place: usize,
    upper: usize,
) {
    loop {
        let Some(repairer) = cache.upgrade().and_then(|cache| Repairer::new(&cache, place, upper))
        else {
            return;
        };
        match repairer.turn(&cache).await {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(tier = %repairer.upper.info().name, %error, "cannot repair yet");
                sleep(RETRY).await;
            }
        }
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Sees to it that the tiers above the log at `place` have a place in it before the first copy
    /// is made there: `end`, if that is known, where they have none yet.
    pub(super) async fn keep_first_places(&self, place: usize, end: Option<&Position>) {
        for upper in 0..self.coherence.logs[place].level {
            let Some(repairer) = Repairer::new(self, place, upper) else { continue };
            if repairer.upper.info().scope > Scope::Process
                && let Err(error) = repairer.keep_first_place(self, end).await
            {
                tracing::debug!(tier = %repairer.upper.info().name, %error, "no place was kept");
            }
        }
    }
}

/// What a turn of repairing works with. Holds no cache.
struct Repairer {
    log: Arc<dyn Log>,
    level: usize,
    upper: Arc<dyn Tier>,
    lower: Arc<dyn Tier>,
    leases: Option<Arc<dyn Leases>>,
    /// What the lease is on, and where the place in the log is kept in the upper tier.
    key: Key,
}

impl Repairer {
    fn new<V: Send + Sync + 'static>(
        cache: &Shared<V>,
        place: usize,
        upper: usize,
    ) -> Option<Self> {
        let tiers = cache.stack.as_ref()?.tiers();
        let followed = &cache.coherence.logs[place];
        let lower = Arc::clone(&tiers[followed.level]);
        let text = format!("{} by {}", tiers[upper].info().name, lower.info().name);
        Some(Self {
            log: Arc::clone(&followed.log),
            level: upper,
            upper: Arc::clone(&tiers[upper]),
            leases: lower.leases(),
            key: cache.namespace.reserved("repair").key(&text).ok()?,
            lower,
        })
    }

    /// Repairs for as long as the lease is held; waits for it when somebody else has it.
    async fn turn<V: Send + Sync + 'static>(&self, cache: &Weak<Shared<V>>) -> Result<()> {
        let Some(leases) = &self.leases else { return self.go_on(cache, None).await };
        match leases.acquire(&self.key, LEASE_PERIOD).await? {
            Some(token) => {
                let result = self.go_on(cache, Some(token)).await;
                // A lease that cannot be given up ends by itself.
                let _ = leases.release(&self.key, token).await;
                result
            }
            None => {
                leases.wait(&self.key, LEASE_PERIOD).await?;
                Ok(())
            }
        }
    }

    async fn go_on<V: Send + Sync + 'static>(
        &self,
        cache: &Weak<Shared<V>>,
        token: Option<LeaseToken>,
    ) -> Result<()> {
        let mut renewed = Instant::now();
        loop {
            if renewed.elapsed() > LEASE_PERIOD / 3
                && let (Some(leases), Some(token)) = (&self.leases, token)
            {
                if !leases.renew(&self.key, token, LEASE_PERIOD).await? {
                    return Ok(());
                }
                renewed = Instant::now();
            }
            // Asked anew each time: a tier that came back with old data has an old place.
            let Some(place) = self.place().await? else {
                // It is empty, or has never been mended: what is in it is taken as it is.
                let end = self.log.end().await?;
                let Some(cache) = cache.upgrade() else { return Ok(()) };
                self.keep_first_place(&cache, Some(&end)).await?;
                continue;
            };
            let page = self.log.read(&place, WAIT).await?;
            let Some(cache) = cache.upgrade() else { return Ok(()) };
            if page.gap || !page.notices.is_empty() {
                self.mend(&cache, &page).await?;
                self.keep_place(&cache, &page.next).await?;
            }
        }
    }

    /// Removes everything of the cache from the upper tier, its notes on tags included.
    async fn empty<V: Send + Sync + 'static>(&self, cache: &Shared<V>) -> Result<()> {
        for purpose in ["tags", "tagged"] {
            self.upper.clear(&cache.namespace.reserved(purpose)).await?;
        }
        self.upper.clear(&cache.namespace).await
    }

    /// Removes from the upper tier what the lower one has otherwise, of all that has changed.
    async fn mend<V: Send + Sync + 'static>(&self, cache: &Shared<V>, page: &Page) -> Result<()> {
        let is_cleared = |change: &Change| match change {
            Change::Clear(namespace) => *namespace == cache.namespace,
            Change::Key(_) | Change::Beat => false,
        };
        if page.gap {
            return self.empty(cache).await;
        }
        if page.notices.iter().any(|notice| is_cleared(&notice.change)) {
            self.upper.clear(&cache.namespace).await?;
        }
        let ours = |key: &Key| key.namespace() == cache.namespace.as_str() || cache.tags.owns(key);
        let mut changed = Changed::new();
        for notice in &page.notices {
            match &notice.change {
                Change::Key(key) if ours(key) => {
                    changed.insert(key.clone(), notice.digest);
                }
                Change::Key(_) | Change::Clear(_) | Change::Beat => {}
            }
        }
        let removals = mend(&*self.upper, &*self.lower, &changed).await?;
        if removals > 0 {
            let tier = Arc::clone(&self.upper.info().name);
            cache.events.emit(Event::TierRepaired { tier, removals });
        }
        Ok(())
    }

    /// How far the upper tier has been mended; nothing when it does not know, as when it is empty.
    async fn place(&self) -> Result<Option<Position>> {
        let entry = self.upper.get(&self.key).await?.entry;
        Ok(entry.and_then(|entry| str::from_utf8(&entry.payload).ok().map(Position::new)))
    }

    async fn keep_first_place<V: Send + Sync + 'static>(
        &self,
        cache: &Shared<V>,
        end: Option<&Position>,
    ) -> Result<()> {
        if self.place().await?.is_none() {
            let Some(end) = end else { return Ok(()) };
            self.keep_place(cache, end).await?;
        }
        if let Some(stack) = &cache.stack {
            stack.watched(self.level);
        }
        Ok(())
    }

    /// Keeps the place as a fill: it makes no copy wrong, so nobody needs to be told of it.
    async fn keep_place<V: Send + Sync + 'static>(
        &self,
        cache: &Shared<V>,
        place: &Position,
    ) -> Result<()> {
        let fence = self.upper.get(&self.key).await?.fence;
        let payload = bytes::Bytes::copy_from_slice(place.as_str().as_bytes());
        let entry = Entry::new(payload, RAW_ID, cache.clock.now(), Ttl::fresh(TTL_MAX));
        let condition = Condition::Unmoved(fence);
        let put = Put { key: self.key.clone(), entry, condition };
        let outcomes = self.upper.put_many(&[put]).await?;
        if outcomes != [PutOutcome::Stored] {
            let message = format!("the place of the repair was not kept: {outcomes:?}");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(())
    }
}
