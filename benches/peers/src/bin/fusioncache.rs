//! fusioncache-rs: moka and Redis, as its README sets them up, without the fail-safe cache, which
//! would hold every value twice.
//!
//! Its `get` asks Redis each time; a hit is therefore a `get_or_set` whose factory must not run.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, worker,
};
use fusion_cache::{Factory, FusionCache, FusionCacheBuilder};

#[derive(Clone)]
struct Fusion {
    cache: FusionCache<String, Text>,
    /// The source of reads that must find their value.
    absent: Source,
}

#[derive(Clone, Debug)]
struct Source(Loader);

#[async_trait]
impl Factory<String, Text, Infallible> for Source {
    async fn get(&self, _: &String) -> Result<Text, Infallible> {
        Ok(self.0.load().await)
    }
}

impl Fusion {
    async fn get_or_set(&mut self, key: &Key, source: Source) -> Result<Text> {
        let value = self.cache.get_or_set(key.as_string().clone(), source, None).await;
        value.map_err(|error| anyhow::anyhow!("{error:?}"))
    }
}

impl Peer for Fusion {
    type Hit = Text;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let cache = FusionCacheBuilder::new()
            .with_capacity(u64::from(NEAR_ENTRIES_MAX))
            .with_time_to_live(LIFE)
            .with_redis(node.redis_url.clone(), node.namespace.clone(), false, Some(LIFE))
            .build()
            .await
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(Self { cache, absent: Source(Loader::instant()) })
    }

    fn text(hit: &Text) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Text>> {
        let value = self.get_or_set(key, self.absent.clone()).await?;
        ensure!(self.absent.0.calls() == 0, "{} is gone", key.as_str());
        Ok(Some(value))
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        self.cache.set(key.as_string().clone(), value, None).await;
        Ok(())
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Text> {
        self.get_or_set(key, Source(loader.clone())).await
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Fusion>()
}
