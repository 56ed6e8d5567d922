//! cachet: memory with a fallback.
//!
//! Its stampede protection makes a flight of every call, of hits too: it is on in a herd alone.
//!
//! It ships no remote tier, so its Redis is the one below: one connection that all share and
//! reconnects, a GET, a SET with a time to live, JSON as with the others. Nodes hear nothing of each
//! other's changes.

use std::sync::Arc;

use anyhow::Result;
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, Turns, worker,
};
use cachet::{Cache, CacheEntry, CacheTier, Error, InsertOutcome};
use redis::{AsyncCommands, RedisError, aio::ConnectionManager};
use tick::Clock;

#[derive(Clone)]
struct Cachet(Arc<Cache<String, Text>>);

/// The fallback.
struct Redis {
    connection: ConnectionManager,
    namespace: String,
}

impl Redis {
    fn name(&self, key: &str) -> String {
        format!("{}:{key}", self.namespace)
    }
}

impl CacheTier<String, Text> for Redis {
    async fn get(&self, key: &String) -> Result<Option<CacheEntry<Text>>, Error> {
        let found: Result<Option<Vec<u8>>, RedisError> =
            self.connection.clone().get(self.name(key)).await;
        let Some(bytes) = found.map_err(Error::from_source)? else { return Ok(None) };
        let value: Text = serde_json::from_slice(&bytes).map_err(Error::from_source)?;
        Ok(Some(CacheEntry::new(value)))
    }

    async fn insert(&self, key: String, entry: CacheEntry<Text>) -> Result<InsertOutcome, Error> {
        let bytes = serde_json::to_vec(entry.value()).map_err(Error::from_source)?;
        let stored: Result<(), RedisError> =
            self.connection.clone().set_ex(self.name(&key), bytes, LIFE.as_secs()).await;
        stored.map_err(Error::from_source)?;
        Ok(InsertOutcome::Accepted)
    }

    async fn invalidate(&self, key: &String) -> Result<(), Error> {
        let removed: Result<(), RedisError> = self.connection.clone().del(self.name(key)).await;
        removed.map_err(Error::from_source)
    }

    async fn clear(&self) -> Result<(), Error> {
        Err(Error::from_message("a namespace of Redis is left to expire"))
    }
}

impl Peer for Cachet {
    type Hit = CacheEntry<Text>;

    fn cannot(_: Question) -> Option<&'static str> {
        None
    }

    async fn open(node: &Node) -> Result<Self> {
        let connection =
            ConnectionManager::new(redis::Client::open(node.redis_url.as_str())?).await?;
        let redis = Redis { connection, namespace: node.namespace.clone() };
        let clock = Clock::new_tokio();
        let fallback = Cache::builder(clock.clone()).storage(redis);
        let cache = Cache::builder(clock)
            .memory_with(|memory| memory.max_capacity(u64::from(NEAR_ENTRIES_MAX)))
            .ttl(LIFE)
            .fallback(fallback);
        let cache = match node.turns {
            Turns::OfProcess => cache,
            Turns::OfAll => cache.stampede_protection(),
        };
        Ok(Self(Arc::new(cache.build())))
    }

    fn text(hit: &Self::Hit) -> &str {
        hit.value()
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<Self::Hit>> {
        Ok(self.0.get(key.as_str()).await?)
    }

    async fn set(&mut self, key: &Key, value: Text) -> Result<()> {
        self.0.insert(key.as_string().clone(), value).await?;
        Ok(())
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<Self::Hit> {
        Ok(self.0.get_or_insert(key.as_str(), || loader.load()).await?)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Cachet>()
}
