//! Leases as rows of the file.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{Clock, Key, LeaseToken, Leases, PutOutcome, Result};
use tokio::time::{Instant, timeout};

use crate::{apply::Change, bells::Bells, millis, reader::Read, worker::Line, writer::Write};

/// Tasks of the process that releases are woken at once, those of others look every `poll`.
///
/// Periods are by the tier's clock, which the processes of one machine share as long as nobody sets
/// it between their starts. Being wrong costs a load.
pub(crate) struct SqliteLeases {
    clock: Arc<dyn Clock>,
    reads: Line<Read>,
    writes: Line<Write>,
    bells: Arc<Bells>,
    poll: Duration,
    /// Randomly seeded: tokens of different processes differ, and nobody can guess one.
    random: RandomState,
    drawn: AtomicU64,
}

impl SqliteLeases {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        reads: Line<Read>,
        writes: Line<Write>,
        bells: Arc<Bells>,
        poll: Duration,
    ) -> Self {
        let (random, drawn) = (RandomState::new(), AtomicU64::new(0));
        Self { clock, reads, writes, bells, poll, random, drawn }
    }

    /// Carries a change out, and answers whether it did anything.
    async fn change(&self, change: Change) -> Result<bool> {
        let outcomes = self.writes.ask(|reply| Write::Changes(vec![change], reply)).await?;
        Ok(outcomes.first() == Some(&PutOutcome::Stored))
    }
}

#[async_trait]
impl Leases for SqliteLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let token = self.random.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
        let change = Change::Acquire { key: key.clone(), token: token.cast_signed(), period };
        Ok(self.change(change).await?.then(|| LeaseToken::new(token)))
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        let token = token.number().cast_signed();
        self.change(Change::Renew { key: key.clone(), token, period }).await
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        let token = token.number().cast_signed();
        self.change(Change::Release { key: key.clone(), token }).await.map(drop)
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let released = self.bells.release(key);
            let until = self.reads.ask(|reply| Read::Lease(key.clone(), reply)).await?;
            let left = wait.saturating_sub(began.elapsed());
            if until.is_none_or(|until| until <= millis(self.clock.now())) || left.is_zero() {
                return Ok(());
            }
            // Whether it rang or the time is up, the next look tells.
            let _ = timeout(self.poll.min(left), released).await;
        }
    }
}

impl fmt::Debug for SqliteLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLeases").finish_non_exhaustive()
    }
}
