//! sisa-caching: its hybrid store, by `connect`, with its defaults but for the times to live and
//! the entries of the memory layer.
//!
//! A write drops the local copy of its node, which the next read fetches from Redis again.

use std::convert::Infallible;

use anyhow::Result;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, worker,
};
use sisa_caching::{CacheStore, HybridCacheSettings, HybridCacheStore, RedisHybridCacheStore};

#[derive(Clone)]
struct Sisa(RedisHybridCacheStore);

impl Peer for Sisa {
    type Hit = Text;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let mut settings = HybridCacheSettings::default();
        settings.common.default_ttl_secs = Some(LIFE.as_secs());
        settings.local.ttl_secs = LIFE.as_secs();
        settings.local.memory.max_entries = Some(NEAR_ENTRIES_MAX as usize);
        let url = node.redis_url.as_str();
        Ok(Self(HybridCacheStore::connect(&node.namespace, url, &settings).await?))
    }

    fn text(hit: &Text) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Text>> {
        Ok(self.0.get(key.as_str()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        Ok(self.0.set(key.as_str(), value, None).await?)
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Text> {
        let load = || async { Ok::<_, Infallible>(loader.load().await) };
        Ok(self.0.get_or_set(key.as_str(), load, None).await?)
    }

    async fn close(self) -> Result<()> {
        self.0.shutdown().await;
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Sisa>()
}
