//! amalgam-cache: memory, Redis with JSON, and its backplane, as its Redis example sets them up.
//!
//! Its values are marked immutable, which spares copies. In a herd it has its Redis locker too,
//! which costs every other load round trips.

use std::{convert::Infallible, sync::Arc};

use amalgam::{
    Cache, EntryOptions,
    provider::{JsonSerializer, RedisBackplane, RedisDistributedCache, RedisDistributedLocker},
};
use anyhow::Result;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, Turns, worker,
};

#[derive(Clone)]
struct Amalgam(Cache<Text>);

impl Peer for Amalgam {
    type Hit = Text;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let builder = Cache::builder()
            .name(&node.namespace)
            .key_prefix(&node.namespace)
            .max_capacity(u64::from(NEAR_ENTRIES_MAX))
            .immutable_values()
            .default_options(EntryOptions::new(LIFE))
            .distributed(Arc::new(RedisDistributedCache::connect(&node.redis_url).await?))
            .serializer(Arc::new(JsonSerializer))
            .backplane(Arc::new(RedisBackplane::connect(&node.redis_url).await?));
        let builder = match node.turns {
            Turns::OfProcess => builder,
            Turns::OfAll => {
                let locker = RedisDistributedLocker::connect(&node.redis_url).await?;
                builder.distributed_locker(Arc::new(locker))
            }
        };
        Ok(Self(builder.try_build_ready().await?))
    }

    fn text(hit: &Text) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Text>> {
        Ok(self.0.try_get(key.as_str()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        self.0.set(key.as_str(), value).await?;
        Ok(())
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Text> {
        let loader = loader.clone();
        let load = |_| async move { Ok::<_, Infallible>(loader.load().await) };
        Ok(self.0.get_or_set(key.as_str(), load).await?)
    }

    async fn close(self) -> Result<()> {
        self.0.shutdown().await?;
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Amalgam>()
}
