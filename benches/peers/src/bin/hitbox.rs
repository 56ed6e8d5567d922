//! hitbox: a cached function, whose results are in moka and in Redis, copied up on a hit of Redis,
//! and with one call at a time for a key. None of the three is its default.
//!
//! It caches functions: there is no call that writes, and none that reads what is there and nothing
//! else. A hit is a call of the function, which must not run. Both backends keep bytes, here in the
//! format that its documents recommend for speed.
//!
//! Its Redis backend connects when it is first asked, and a copy of one that is not connected yet
//! makes a connection of its own. As both are copied for every call, each call would make one; so
//! the backend is asked once before it is composed.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cache_peers_measure::{
    Key, LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Question, Text, worker,
};
use hitbox::{
    CacheKey,
    concurrency::BroadcastConcurrencyManager,
    offload::OffloadManager,
    policy::{ConcurrencyLimit, PolicyConfig},
};
use hitbox_backend::{
    Backend, CompositionBackend,
    composition::{Compose, CompositionPolicy, policy::RefillPolicy},
    format::BincodeFormat,
};
use hitbox_fn::{Cache, cached};
use hitbox_moka::MokaBackend;
use hitbox_redis::{ConnectionMode, RedisBackend};

type Tiers = CompositionBackend<MokaBackend<BincodeFormat>, RedisBackend, OffloadManager>;

#[derive(Clone)]
struct Hitbox {
    cache: Arc<Cache<Tiers, BroadcastConcurrencyManager<String>>>,
    /// The source of reads that must find their value.
    absent: Loader,
}

/// The cached function: its key is `key` alone.
#[cached(prefix = "answer", skip(loader))]
async fn answer(key: String, loader: Loader) -> String {
    drop(key);
    loader.load().await.to_string()
}

impl Peer for Hitbox {
    type Hit = String;

    fn cannot(question: Question) -> Option<&'static str> {
        match question {
            Question::SetOne | Question::SetMany => {
                Some("it caches functions, and writes nothing else")
            }
            _ => None,
        }
    }

    async fn open(node: &Node) -> Result<Self> {
        let moka = MokaBackend::builder()
            .max_entries(u64::from(NEAR_ENTRIES_MAX))
            .value_format(BincodeFormat)
            .build();
        let redis = RedisBackend::builder()
            .connection(ConnectionMode::single(node.redis_url.as_str()))
            .build()?;
        let first = redis.read(&CacheKey::from_str("connect", "first")).await;
        first.map_err(|error| anyhow!("{error}"))?;
        let copied_up = CompositionPolicy::new().refill(RefillPolicy::Always);
        let tiers = moka.compose(redis, OffloadManager::with_defaults()).with_policy(copied_up);
        let one_call = ConcurrencyLimit::new(1).context("one is within the bounds")?;
        let cache = Cache::builder()
            .backend(tiers)
            .policy(PolicyConfig::builder().ttl(LIFE).concurrency(one_call).build())
            .concurrency_manager(BroadcastConcurrencyManager::new())
            .build();
        Ok(Self { cache: Arc::new(cache), absent: Loader::instant() })
    }

    fn text(hit: &String) -> &str {
        hit
    }

    async fn hit(&mut self, key: &Key) -> Result<Option<String>> {
        let value = answer(key.as_string().clone(), self.absent.clone()).cache(&*self.cache).await;
        ensure!(self.absent.calls() == 0, "{} is gone", key.as_str());
        Ok(Some(value))
    }

    async fn set(&mut self, _: &Key, _: Text) -> Result<()> {
        bail!("there is no call that writes")
    }

    async fn load(&mut self, key: &Key, loader: &Loader) -> Result<String> {
        Ok(answer(key.as_string().clone(), loader.clone()).cache(&*self.cache).await)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    worker::run::<Hitbox>()
}
