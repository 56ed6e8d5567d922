//! The suites of logs and leases, tested themselves: bugs that they must catch.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    ByteSize, Key, LeaseToken, Leases, Log, Lookup, ManualClock, MemoryTier, Namespace, Page,
    Position, Put, PutOutcome, Removal, Result, Tier, TierInfo, TierRoom, Usage,
    testkit::{Harness, LogHarness, lease_conformance, log_conformance},
};

/// What the tier's log or leases do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A page's last notice is lost where there are several.
    SkipsNotices,
    /// Nobody is told of a gap.
    HidesGaps,
    /// Any token is good.
    TrustsTokens,
    /// Nobody is told that a lease is held.
    GivesTwice,
}

/// A memory tier with a bug.
#[derive(Clone, Debug)]
struct Buggy {
    bug: Bug,
    clock: ManualClock,
    tier: Arc<MemoryTier>,
}

impl Buggy {
    fn new(bug: Bug) -> Arc<Self> {
        let clock = ManualClock::new();
        let tier = MemoryTier::shared(ByteSize::mib(64), Arc::new(clock.clone()));
        Arc::new(Self { bug, clock, tier })
    }
}

#[async_trait]
impl Harness for Buggy {
    async fn open(&self) -> Arc<dyn Tier> {
        Arc::new(self.clone())
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, _key: &Key, _bytes: &[u8]) -> bool {
        false
    }
}

#[async_trait]
impl LogHarness for Buggy {
    async fn trim(&self, position: &Position) -> bool {
        self.tier.memory_log().trim(position);
        true
    }

    async fn lose(&self) -> bool {
        self.tier.memory_log().lose();
        true
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Buggy {
    fn info(&self) -> &TierInfo {
        self.tier.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.tier.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.tier.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.tier.put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.tier.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.tier.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.tier.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.tier.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::new(self.clone()))
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::new(self.clone()))
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.tier.close().await
    }
}

#[async_trait]
impl Log for Buggy {
    fn tier(&self) -> &Arc<str> {
        self.tier.memory_log().tier()
    }

    async fn end(&self) -> Result<Position> {
        self.tier.memory_log().end().await
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let mut page = self.tier.memory_log().read(after, wait).await?;
        if self.bug == Bug::SkipsNotices && page.notices.len() > 1 {
            page.notices.pop();
        }
        page.gap &= self.bug != Bug::HidesGaps;
        Ok(page)
    }

    async fn beat(&self) -> Result<()> {
        self.tier.memory_log().beat().await
    }
}

#[async_trait]
impl Leases for Buggy {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let token = self.tier.memory_leases().acquire(key, period).await?;
        let twice = (self.bug == Bug::GivesTwice).then(|| LeaseToken::new(7));
        Ok(token.or(twice))
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        Ok(self.tier.memory_leases().renew(key, token, period).await?
            || self.bug == Bug::TrustsTokens)
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        self.tier.memory_leases().release(key, token).await
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        self.tier.memory_leases().wait(key, wait).await
    }
}

#[tokio::test]
async fn a_log_and_leases_without_a_bug_violate_nothing() {
    assert_eq!(log_conformance::violations(Buggy::new(Bug::None)).await, [""; 0]);
    assert_eq!(lease_conformance::violations(Buggy::new(Bug::None)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_loses_notices_is_caught() {
    let violated = log_conformance::violations(Buggy::new(Bug::SkipsNotices)).await;
    for property in ["a_batch_is_told_and_no_key_twice", "reading_on_loses_and_repeats_nothing"] {
        assert!(violated.contains(&property), "{property} is not in {violated:?}");
    }
}

#[tokio::test]
async fn a_log_that_hides_gaps_is_caught() {
    let violated = log_conformance::violations(Buggy::new(Bug::HidesGaps)).await;
    let expected = [
        "an_unknown_position_is_a_gap_once",
        "a_trimmed_log_tells_of_a_gap",
        "a_log_that_lost_its_data_tells_of_a_gap",
    ];
    assert_eq!(violated, expected);
}

#[tokio::test(start_paused = true)]
async fn leases_with_a_bug_are_caught() {
    let violated = lease_conformance::violations(Buggy::new(Bug::TrustsTokens)).await;
    assert!(violated.contains(&"a_foreign_token_neither_renews_nor_releases"), "{violated:?}");
    let violated = lease_conformance::violations(Buggy::new(Bug::GivesTwice)).await;
    assert!(violated.contains(&"one_of_many_gets_the_lease"), "{violated:?}");
}
