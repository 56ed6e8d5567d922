//! The Redis tier against the conformance suite, in the server that `REDIS_URL` names.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use bb8_redis::redis;
use cache_core::{
    Key, ManualClock, Tier,
    testkit::{Harness, service_url, unique_name},
};
use cache_redis::{RedisConfig, RedisTier};

struct RedisHarness {
    clock: ManualClock,
    config: RedisConfig,
    /// Another way into the same server.
    raw: redis::aio::MultiplexedConnection,
}

impl RedisHarness {
    async fn from_env() -> Option<Self> {
        let url = service_url("REDIS_URL", "the conformance of the Redis tier")?;
        let raw = redis::Client::open(&url[..]).unwrap();
        let raw = raw.get_multiplexed_async_connection().await.unwrap();
        // The name of a prefix is at most 32 characters long.
        let config = RedisConfig { prefix: unique_name("conform"), ..RedisConfig::new(url) };
        Some(Self { clock: ManualClock::new(), config, raw })
    }
}

#[async_trait]
impl Harness for RedisHarness {
    async fn open(&self) -> Arc<dyn Tier> {
        let clock = Arc::new(self.clock.clone());
        RedisTier::connect(&self.config, clock).await.unwrap()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        let record = format!("{}:{key}", self.config.prefix);
        // With a deadline, since nobody removes what the tests leave.
        let mut set = redis::cmd("SET");
        set.arg(record).arg(bytes).arg("EX").arg(300);
        set.exec_async(&mut self.raw.clone()).await.unwrap();
        true
    }
}

cache_core::conformance_tests!(RedisTier, RedisHarness::from_env().await);
