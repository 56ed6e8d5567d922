//! A tier of one's own: every operation of another tier, written to a journal.
//!
//!     cargo run -p cache-core --example own_tier
//!
//! A wrapper is a tier like any other, so it is held to the same contract: the tests at the end
//! run the conformance suite of all tiers (feature `testkit`) on it.
//!
//!     cargo test -p cache-core --example own_tier

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    ByteSize, Cache, Key, Leases, Log, Lookup, MemoryTier, Namespace, Put, PutOutcome, Removal,
    Result, SystemClock, Tier, TierInfo, TierRoom, Usage,
};

/// Prints what happens to the tier inside.
#[derive(Debug)]
struct Journalled<T>(T);

/// The lint makes sure that a wrapper forgets no method when the trait gets a new one.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for Journalled<T> {
    fn info(&self) -> &TierInfo {
        self.0.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let lookup = self.0.get(key).await?;
        println!("  get {key}: {}", if lookup.entry.is_some() { "hit" } else { "miss" });
        Ok(lookup)
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        println!("  get {keys:?}");
        self.0.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let outcomes = self.0.put_many(puts).await?;
        for (put, outcome) in puts.iter().zip(&outcomes) {
            println!("  put {}: {outcome:?}", put.key);
        }
        Ok(outcomes)
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        removals.iter().for_each(|removal| println!("  remove {}", removal.key));
        self.0.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        println!("  clear {namespace}");
        self.0.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.0.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.0.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.0.room()
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = MemoryTier::new(ByteSize::mib(16), SystemClock::shared());
    let cache: Cache<String> = Cache::builder("news")
        .tier(Arc::new(Journalled(memory)))
        .ttl(Duration::from_secs(600))
        .build()?;

    println!("the first read loads, and fills the tier:");
    let load = || async { Ok::<_, std::io::Error>("quarterly results are out".to_owned()) };
    let news = cache.get_or_load("AAPL", load).await?;
    println!("{} (from {})", *news, news.origin());

    println!("the second is answered by the near tier and asks nobody:");
    let news = cache.get_or_load("AAPL", load).await?;
    println!("{} (from {})", *news, news.origin());

    println!("an invalidation reaches every tier:");
    cache.invalidate("AAPL").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cache_core::{ManualClock, testkit::Harness};

    use super::*;

    struct Place {
        clock: ManualClock,
        tier: Arc<Journalled<MemoryTier>>,
    }

    impl Place {
        fn new() -> Self {
            let clock = ManualClock::new();
            let memory = MemoryTier::new(ByteSize::mib(64), Arc::new(clock.clone()));
            Self { clock, tier: Arc::new(Journalled(memory)) }
        }
    }

    #[async_trait]
    impl Harness for Place {
        async fn open(&self) -> Arc<dyn Tier> {
            self.tier.clone()
        }

        fn clock(&self) -> &ManualClock {
            &self.clock
        }

        async fn plant(&self, _key: &Key, _bytes: &[u8]) -> bool {
            false // A memory tier keeps entries, not bytes.
        }
    }

    cache_core::conformance_tests!(Journalled, Some(Place::new()));
}
