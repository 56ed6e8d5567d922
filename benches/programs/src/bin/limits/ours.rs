//! What users build, and what is in it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cache_core::{BATCH_LEN_MAX, Builder, Cache, Namespace, Raw, SystemClock, Tier};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};

use crate::{Setting, callers::closed_loop, turns::Figures};

/// So many keys are read, of which no client remembers anything.
pub(crate) const KEYS: usize = 100_000;
pub(crate) const VALUE_LEN: usize = 256;

/// Longer than a run.
const TTL: Duration = Duration::from_secs(3_600);

/// Texts such as services have: of what, of whom, which.
pub(crate) fn keys(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("quote:{i:06}:2026-12-01")).collect()
}

pub(crate) fn value() -> Bytes {
    (0..VALUE_LEN).map(|i| b"price and volume of a day, "[i % 27]).collect()
}

/// The tiers with their defaults, and names that nobody else has.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) redis: Arc<RedisTier>,
    pub(crate) postgres: Arc<PostgresTier>,
    prefix: String,
}

impl Ours {
    pub(crate) async fn open(setting: &Setting) -> Result<Self> {
        let clock = SystemClock::shared();
        Ok(Self {
            redis: RedisTier::connect(&RedisConfig::new(&*setting.redis_url), clock.clone())
                .await?,
            postgres: PostgresTier::connect(&PostgresConfig::new(&*setting.postgres_url), clock)
                .await?,
            prefix: format!("limits-{:08x}", rand::random::<u32>()),
        })
    }

    /// A cache whose entries have to do with those of no other that is `called` otherwise.
    pub(crate) fn builder(&self, called: &str) -> Builder<Bytes> {
        Cache::builder_with(&format!("{}-{called}", self.prefix), Raw).ttl(TTL)
    }

    /// A cache that asks a server for each read.
    pub(crate) fn over(&self, called: &str, tier: Arc<dyn Tier>) -> Result<Cache<Bytes>> {
        Ok(self.builder(called).without_near().tier(tier).build()?)
    }
}

/// Writes a value under each of `keys`.
pub(crate) async fn fill(cache: &Cache<Bytes>, keys: &[String]) -> Result<()> {
    for batch in keys.chunks(BATCH_LEN_MAX.min(1_000)) {
        cache.insert_many(batch.iter().map(|key| (key, value()))).await?;
    }
    Ok(())
}

/// Gets of `callers`.
pub(crate) async fn reads(
    cache: &Cache<Bytes>,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (cache, keys) = (cache.clone(), Arc::clone(keys));
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (cache, keys) = (cache.clone(), Arc::clone(&keys));
        async move { read(&cache, &keys[i]).await }
    })
    .await
}

/// Inserts of `callers`.
pub(crate) async fn inserts(
    cache: &Cache<Bytes>,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (cache, keys, value) = (cache.clone(), Arc::clone(keys), value());
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (cache, keys, value) = (cache.clone(), Arc::clone(&keys), value.clone());
        async move {
            cache.insert(&keys[i], value).await?;
            Ok(())
        }
    })
    .await
}

/// Lookups of `callers` in a tier without anything around it.
pub(crate) async fn lookups(
    tier: Arc<dyn Tier>,
    namespace: &Namespace,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (namespace, keys) = (namespace.clone(), Arc::clone(keys));
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (tier, key) = (Arc::clone(&tier), namespace.key(&keys[i]));
        async move {
            let found = tier.get(&key?).await?;
            ensure!(found.entry.is_some(), "a key is gone");
            Ok(())
        }
    })
    .await
}

/// Reads one key that is there.
pub(crate) async fn read(cache: &Cache<Bytes>, key: &str) -> Result<()> {
    let hit = cache.get(key).await?.with_context(|| format!("{key} is gone"))?;
    ensure!(hit.len() == VALUE_LEN, "{key} has another value");
    Ok(())
}
