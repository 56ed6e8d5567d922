//! The conformance suite, tested itself: two bugs that it must catch.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    ByteSize, Clock, Key, Leases, Log, Lookup, ManualClock, MemoryTier, Namespace, Put, PutOutcome,
    Removal, Result, Tier, TierInfo, TierRoom, Timestamp, Usage,
    testkit::{Harness, conformance},
};

struct Place {
    clock: ManualClock,
    tier: Arc<dyn Tier>,
}

#[async_trait]
impl Harness for Place {
    async fn open(&self) -> Arc<dyn Tier> {
        Arc::clone(&self.tier)
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, _key: &Key, _bytes: &[u8]) -> bool {
        false
    }
}

fn memory(name: &str, clock: Arc<dyn Clock>) -> Arc<MemoryTier> {
    Arc::new(MemoryTier::new(ByteSize::mib(64), clock).named(name))
}

#[tokio::test]
async fn a_tier_without_a_bug_violates_nothing() {
    let clock = ManualClock::new();
    let tier = memory("memory", Arc::new(clock.clone()));
    let violated = conformance::violations(Arc::new(Place { clock, tier })).await;
    assert_eq!(violated, [""; 0]);
}

/// A clock that has stopped: whoever asks it never sees anything expire.
#[derive(Debug)]
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn a_tier_that_forgets_to_check_expiry_is_caught() {
    let clock = ManualClock::new();
    let tier = memory("memory", Arc::new(Stopped(clock.now())));
    let violated = conformance::violations(Arc::new(Place { clock, tier })).await;
    for property in [
        "an_entry_lives_until_its_deadline_and_not_longer",
        "a_fill_after_an_insert_that_has_expired_is_refused",
        "random_histories_agree_with_the_model",
    ] {
        assert!(violated.contains(&property), "{property} is not in {violated:?}");
    }
}

/// Two tiers, read one after the other, whose removal reaches the upper one only.
#[derive(Debug)]
struct Forgetful {
    whole: cache_core::Stack,
    upper: Arc<dyn Tier>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Forgetful {
    fn info(&self) -> &TierInfo {
        self.whole.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.whole.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.whole.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.whole.put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.upper.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.whole.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.whole.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.whole.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.whole.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.whole.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.whole.room()
    }

    async fn close(&self) -> Result<()> {
        self.whole.close().await
    }
}

#[tokio::test]
async fn a_removal_that_forgets_one_tier_is_caught() {
    let clock = ManualClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let upper: Arc<dyn Tier> = memory("upper", Arc::clone(&shared));
    let tiers = vec![Arc::clone(&upper), memory("lower", Arc::clone(&shared)) as Arc<dyn Tier>];
    let whole = cache_core::Stack::new(tiers, shared).unwrap();
    let tier = Arc::new(Forgetful { whole, upper });
    let violated = conformance::violations(Arc::new(Place { clock, tier })).await;
    for property in ["a_removal_removes_that_key_only", "another_handle_sees_the_same"] {
        assert!(violated.contains(&property), "{property} is not in {violated:?}");
    }
}

/// Keeps the suite honest about time: it moves the clock, it does not wait.
#[tokio::test(start_paused = true)]
async fn the_suite_does_not_sleep() {
    let started = tokio::time::Instant::now();
    let clock = ManualClock::new();
    let tier = memory("memory", Arc::new(clock.clone()));
    conformance::violations(Arc::new(Place { clock, tier })).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}
