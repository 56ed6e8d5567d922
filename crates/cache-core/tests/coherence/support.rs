//! Nodes: caches that share a lower tier, as processes share a server.

use std::{sync::Arc, time::Duration};

use cache_core::Layer;
use cache_core::{Builder, ByteSize, Cache, ManualClock, MemoryTier, Tier, testkit::Faults};

/// The tiers that the nodes share.
pub(crate) struct Ground {
    pub(crate) clock: ManualClock,
    pub(crate) upper: Arc<MemoryTier>,
    pub(crate) lower: Arc<MemoryTier>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let tier = |name: &str| {
            let tier = MemoryTier::new(ByteSize::mib(16), Arc::new(clock.clone()));
            Arc::new(tier.named(name).as_server())
        };
        Self { upper: tier("upper"), lower: tier("lower"), clock }
    }

    pub(crate) fn builder(&self) -> Builder<String> {
        Cache::builder("c").clock(Arc::new(self.clock.clone())).ttl(Duration::from_secs(60))
    }

    /// A node on the lower tier alone.
    pub(crate) fn node(&self) -> Cache<String> {
        self.builder().tier(self.lower.clone()).build().expect("the settings are valid")
    }

    /// A node on both tiers, whose way to the upper one fails as `faults` says.
    pub(crate) fn tall_node(&self, faults: &Faults) -> Cache<String> {
        let upper: Arc<dyn Tier> = self.upper.clone();
        let upper = faults.layer().wrap(upper);
        self.builder().tier(upper).tier(self.lower.clone()).build().expect("the settings are valid")
    }
}

/// Waits until `holds`, for as long as the test's time allows.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to pass within 10 s");
}
