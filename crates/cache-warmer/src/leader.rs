//! One process of a cluster works on a job: who holds its lease.

use std::{sync::Arc, time::Duration};

use cache_core::{Key, LeaseToken, Leases, Result};
use tokio::time::{Instant, sleep, timeout};

/// A lease that is held, and renewed while [`kept`](Self::kept) is waited for.
#[derive(Debug)]
pub(crate) struct Leader {
    leases: Arc<dyn Leases>,
    key: Key,
    token: LeaseToken,
    period: Duration,
    taken: Instant,
}

impl Leader {
    /// Takes the lease; nothing when somebody has it.
    pub(crate) async fn elect(
        leases: &Arc<dyn Leases>,
        key: &Key,
        period: Duration,
    ) -> Result<Option<Self>> {
        let taken = Instant::now();
        let token = leases.acquire(key, period).await?;
        Ok(token.map(|token| Self {
            leases: Arc::clone(leases),
            key: key.clone(),
            token,
            period,
            taken,
        }))
    }

    /// Renews the lease three times a period, and ends when it is lost: somebody else has it, or
    /// nothing was heard for a period, so that somebody may have it.
    pub(crate) async fn kept(&self) {
        let mut renewed = self.taken;
        loop {
            sleep(self.period / 3).await;
            let asked = Instant::now();
            let renewal = self.leases.renew(&self.key, self.token, self.period);
            match timeout(self.period / 3, renewal).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => return,
                Ok(Err(_)) | Err(_) if renewed.elapsed() >= self.period * 2 / 3 => return,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// Gives the lease up, so that nobody waits for its end.
    pub(crate) async fn resign(self) {
        if let Err(error) = self.leases.release(&self.key, self.token).await {
            tracing::debug!(%error, "the lease of a warming job ends by itself");
        }
    }
}
