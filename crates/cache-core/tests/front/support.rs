//! What the tests of the front share: two memory tiers, counted, under a manual clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{
    Builder, ByteSize, Cache, Key, Leases, Log, Lookup, ManualClock, MemoryTier, Namespace, Put,
    PutOutcome, Removal, Result, Scope, Tier, TierInfo, TierRoom, Usage,
};

/// A clock, and two tiers that any number of caches may share, as processes share servers.
pub(crate) struct Ground {
    pub(crate) clock: ManualClock,
    pub(crate) upper: Arc<Counted>,
    pub(crate) lower: Arc<Counted>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::of(Scope::Process, Duration::MAX)
    }

    /// Tiers that other processes can reach as well, and whose logs are cut.
    pub(crate) fn of_servers() -> Self {
        Self::of(Scope::Network, Duration::MAX)
    }

    /// Tiers that remember fences for so long only.
    pub(crate) fn forgetting(fence_retention: Duration) -> Self {
        Self::of(Scope::Process, fence_retention)
    }

    fn of(scope: Scope, fence_retention: Duration) -> Self {
        let clock = ManualClock::new();
        let tier = |name: &str| {
            let tier = MemoryTier::new(ByteSize::mib(64), Arc::new(clock.clone())).named(name);
            let info = TierInfo { scope, fence_retention, ..tier.info().clone() };
            Arc::new(Counted { info, inner: tier, calls: AtomicUsize::new(0) })
        };
        Self { upper: tier("upper"), lower: tier("lower"), clock }
    }

    /// A builder with both tiers: fresh for 10 s, and stale for 60 s more.
    pub(crate) fn builder(&self) -> Builder<String> {
        Cache::builder("test")
            .clock(Arc::new(self.clock.clone()))
            .tier(self.upper.clone())
            .tier(self.lower.clone())
            .ttl(Duration::from_secs(10))
            .max_stale(Duration::from_secs(60))
    }

    pub(crate) fn cache(&self) -> Cache<String> {
        self.builder().build().expect("the settings are valid")
    }

    /// Calls of the upper and of the lower tier since the last time this was asked.
    pub(crate) fn calls(&self) -> [usize; 2] {
        [&self.upper, &self.lower].map(|tier| tier.calls.swap(0, Ordering::SeqCst))
    }
}

/// Lets the promotion of what was just read come about: no reader waits for it.
pub(crate) async fn promoted() {
    tokio::task::yield_now().await;
}

/// A memory tier that counts its calls.
#[derive(Debug)]
pub(crate) struct Counted {
    info: TierInfo,
    inner: MemoryTier,
    calls: AtomicUsize,
}

impl Counted {
    fn count(&self) -> &MemoryTier {
        self.calls.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Counted {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.count().get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.count().get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.count().put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.count().remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.count().clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        let log = self.inner.log();
        log.filter(|_| self.info.scope == Scope::Process)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
