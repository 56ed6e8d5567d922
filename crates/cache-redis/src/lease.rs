//! Leases: keys in Redis that say who loads, and end by themselves.
//!
//! Whoever waits is woken by what is told on a channel when a lease is released. Nothing depends on
//! that: one waiter of each key asks the server now and then, for all of them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bb8_redis::redis::{self, Value};
use cache_core::{Key, LeaseToken, Leases, Result};

use crate::{
    connection::Server,
    error::{Access, expect},
    layout::Layout,
    scripts,
    waiting::Waiting,
};

/// The leases of one tier.
pub(crate) struct RedisLeases {
    server: Arc<Server>,
    layout: Layout,
    waiting: Waiting,
}

impl RedisLeases {
    pub(crate) fn new(server: Arc<Server>, layout: Layout) -> Self {
        let waiting = Waiting::new(Arc::clone(&server), layout.leases());
        Self { server, layout, waiting }
    }

    /// Gives up the connection that hears of releases.
    pub(crate) async fn close(&self) {
        self.waiting.close().await;
    }
}

#[async_trait]
impl Leases for RedisLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let token = LeaseToken::new(rand::random());
        let mut set = redis::cmd("SET");
        set.arg(self.layout.lease(key)).arg(token.number()).arg("NX").arg("PX").arg(millis(period));
        match self.server.query(&set, Access::Write).await? {
            Value::Nil => Ok(None),
            _ => Ok(Some(token)),
        }
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        let mut call = scripts::RENEW.call(1);
        call.arg(self.layout.lease(key)).arg(token.number()).arg(millis(period));
        expect(scripts::RENEW.run(&self.server, &call).await?)
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        let mut call = scripts::RELEASE.call(1);
        call.arg(self.layout.lease(key)).arg(token.number()).arg(self.layout.leases());
        scripts::RELEASE.run(&self.server, &call).await?;
        Ok(())
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        self.waiting.wait(self.layout.lease(key), wait).await
    }
}

impl fmt::Debug for RedisLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLeases").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A period as Redis takes it: at least a millisecond.
fn millis(period: Duration) -> u64 {
    // Redis refuses what does not fit into its clock; a hundred years do.
    const MAX: u64 = 100 * 366 * 24 * 60 * 60 * 1_000;
    u64::try_from(period.as_millis()).unwrap_or(MAX).clamp(1, MAX)
}
