//! This cache: near tier and Redis, its defaults but for the room of the near tier.
//!
//! In a herd it gives leases, so that one process at a time loads a key.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Result;
use cache_core::{ByteSize, Cache, SystemClock, Tier};
use cache_peers_measure::{Key, LIFE, Loader, Node, Peer, Question, Text, Turns, worker};
use cache_redis::{RedisConfig, RedisTier};

/// For the values, their keys and 256 bytes each, as the near tier counts them.
const NEAR: ByteSize = ByteSize::mib(256);

/// How long a process that dies while it loads holds up the others.
const LEASE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Ours {
    cache: Cache<Text>,
    redis: Arc<RedisTier>,
}

impl Peer for Ours {
    type Hit = cache_core::Hit<Text>;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let config = RedisConfig::new(node.redis_url.as_str());
        let redis = RedisTier::connect(&config, SystemClock::shared()).await?;
        let builder = Cache::builder(&node.namespace).near(NEAR).ttl(LIFE).tier(redis.clone());
        let builder = match node.turns {
            Turns::OfProcess => builder,
            Turns::OfAll => builder.lease(LEASE),
        };
        Ok(Self { cache: builder.build()?, redis })
    }

    fn text(hit: &Self::Hit) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Self::Hit>> {
        Ok(self.cache.get(key.as_str()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        self.cache.insert(key.as_str(), value).await?;
        Ok(())
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Self::Hit> {
        let loader = loader.clone();
        let load = || async move { Ok::<_, Infallible>(loader.load().await) };
        Ok(self.cache.get_or_load(key.as_str(), load).await?)
    }

    async fn close(self) -> Result<()> {
        self.redis.close().await?;
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Ours>()
}
