//! multi-tier-cache: moka and Redis, told of changes by its invalidation channel, which is the
//! constructor for several nodes.
//!
//! Its entries are bytes; values go through its typed calls, so that a hit decodes JSON. It copies
//! one in ten hits of Redis into moka, which is not configurable in this constructor. Keys have no
//! namespace.

use std::sync::Arc;

use anyhow::Result;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, worker,
};
use multi_tier_cache::{
    Bytes, CacheManager, CacheStrategy, InvalidationConfig, L1Cache, L2Cache, MokaCacheConfig,
};

#[derive(Clone)]
struct MultiTier(Arc<CacheManager>);

const STRATEGY: CacheStrategy = CacheStrategy::Custom(LIFE);

impl Peer for MultiTier {
    type Hit = Text;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let moka = MokaCacheConfig {
            max_capacity: u64::from(NEAR_ENTRIES_MAX),
            ..MokaCacheConfig::default()
        };
        let invalidation =
            InvalidationConfig { channel: node.namespace.clone(), ..InvalidationConfig::default() };
        let l1 = Arc::new(L1Cache::new(moka)?);
        let l2 = Arc::new(L2Cache::with_url(&node.redis_url).await?);
        let url = &node.redis_url;
        let manager = CacheManager::new_with_invalidation(l1, l2, url, invalidation).await?;
        Ok(Self(Arc::new(manager)))
    }

    fn text(hit: &Text) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Text>> {
        Ok(self.0.get_typed(key.as_str()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        let bytes = Bytes::from(serde_json::to_vec(&value)?);
        Ok(self.0.set_with_strategy(key.as_str(), bytes, STRATEGY).await?)
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Text> {
        let load = || async { Ok(loader.load().await) };
        Ok(self.0.get_or_compute_typed(key.as_str(), STRATEGY, load).await?)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<MultiTier>()
}
