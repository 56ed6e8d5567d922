//! The Redis tier against the conformance suite, in the server that `REDIS_URL` names.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use bb8_redis::redis::{self, Value};
use cache_core::{
    Key, ManualClock, Position, Tier,
    testkit::{Harness, LogHarness, service_url, unique_name},
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

#[async_trait]
impl LogHarness for RedisHarness {
    async fn trim(&self, position: &Position) -> bool {
        let stream = format!("{}:~log", self.config.prefix);
        let mut range = redis::cmd("XRANGE");
        range.arg(&stream).arg("-").arg(position.as_str());
        let range: Vec<(String, Value)> = range.query_async(&mut self.raw.clone()).await.unwrap();
        let mut delete = redis::cmd("XDEL");
        delete.arg(&stream);
        for (id, _) in &range {
            delete.arg(id);
        }
        delete.exec_async(&mut self.raw.clone()).await.unwrap();
        true
    }

    async fn lose(&self) -> bool {
        let mut raw = self.raw.clone();
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}:*", self.config.prefix));
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut raw).await.unwrap();
            for key in keys {
                redis::cmd("DEL").arg(key).exec_async(&mut raw).await.unwrap();
            }
            if next == 0 {
                return true;
            }
            cursor = next;
        }
    }
}

cache_core::conformance_tests!(RedisTier, RedisHarness::from_env().await);
cache_core::log_conformance_tests!(RedisTier, RedisHarness::from_env().await);
cache_core::lease_conformance_tests!(RedisTier, RedisHarness::from_env().await);
