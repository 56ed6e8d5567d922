//! Leases that fail when they are told to.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Faults;
use crate::{
    error::Result,
    key::Key,
    lease::{LeaseToken, Leases},
};

#[derive(Debug)]
pub(super) struct FaultyLeases {
    pub(super) faults: Faults,
    pub(super) inner: Arc<dyn Leases>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Leases for FaultyLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        self.faults.meet(self.inner.acquire(key, period)).await
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        self.faults.meet(self.inner.renew(key, token, period)).await
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        self.faults.meet(self.inner.release(key, token)).await
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        self.faults.meet(self.inner.wait(key, wait)).await
    }
}
