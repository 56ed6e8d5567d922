//! oxcache: a chain of moka and Redis that copies up, with JSON, its default.
//!
//! Its entries are bytes, so that a hit decodes JSON. It takes Redis without TLS only where an
//! environment variable says so. Keys have no namespace. Its flights are those of the process,
//! whichever cache they belong to.

use std::sync::Arc;

use anyhow::Result;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, worker,
};
use oxcache::{Cache, ChainCache, ChainLink, MokaMemoryBackend, RedisBackend};

#[derive(Clone)]
struct Oxcache(Arc<Cache<String, Text>>);

impl Peer for Oxcache {
    type Hit = Text;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let moka =
            MokaMemoryBackend::builder().capacity(u64::from(NEAR_ENTRIES_MAX)).ttl(LIFE).build();
        let redis = RedisBackend::builder().connection_string(&node.redis_url).build().await?;
        let chain = ChainCache::builder()
            .link(ChainLink::from_backend(moka))
            .link(ChainLink::from_backend(redis))
            .default_time_to_live(LIFE)
            .enable_backfill()
            .build();
        let cache = Cache::builder().backend_arc(Arc::new(chain)).build().await?;
        Ok(Self(Arc::new(cache)))
    }

    fn text(hit: &Text) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Text>> {
        Ok(self.0.get(key.as_string()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        Ok(self.0.set_with_ttl(key.as_string(), &value, Some(LIFE)).await?)
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Text> {
        let load = || async { Ok(loader.load().await) };
        Ok(self.0.get_or_with_ttl(key.as_string(), Some(LIFE), load).await?)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Oxcache>()
}
