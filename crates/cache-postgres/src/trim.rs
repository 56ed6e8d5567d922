//! Keeps the log short, by age and by length, and deletes leases that have ended.
//!
//! Notices are deleted up to a snapshot that was noted some time ago, never by their own age: so
//! each stays for that time after its commit, and whoever reads on from a later position has missed
//! none, however long some transaction is open.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Result};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{error::Access, puts::millis, sql, store::Store};

/// How often the log is shortened at least; how much it is longer than its bound at most, therefore.
const EVERY_MAX: Duration = Duration::from_secs(2);

/// Into how many steps the retention is cut.
const STEPS: u32 = 8;

/// Trims in the background, at least once in a `sweep_interval`, until the handle aborts it or the
/// tier is closed.
pub(crate) fn spawn(store: Arc<Store>, sweep_interval: Duration) -> AbortHandle {
    let every = (store.log_retention / STEPS).min(EVERY_MAX).min(sweep_interval);
    let every = every.max(Duration::from_millis(10));
    let trimming = async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match store.trim_if_due(every).await {
                Ok(rows) => tracing::trace!(rows, "trimmed the log"),
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) => tracing::warn!(%error, "could not trim the log; will try again"),
            }
        }
    };
    tokio::spawn(trimming).abort_handle()
}

impl Store {
    /// Trims the log, and answers how many notices that were.
    pub(crate) async fn trim(&self) -> Result<u64> {
        self.sweep_leases().await?;
        let mut session = self.connections.session().await?;
        let now = self.clock.now();
        let old = millis(now).saturating_sub(span(self.log_retention));
        let advance = sql::AdvanceTrim { noted_until: old, ahead_of: millis(now) };
        let _: Vec<(bool,)> = session.load(Access::Write, advance).await?;
        // Before the next note, so that what is told now can be noted as told at the same moment.
        let note = sql::NoteSnapshot { at: millis(now) };
        session.execute(Access::Write, note).await?;
        drop(session);
        let mut deleted = self.delete_trimmed().await?;
        while self.is_too_long().await? {
            let mut session = self.connections.session().await?;
            let (oldest,): (Option<i64>,) =
                session.load_one(Access::Read, sql::OldestSnapshot {}).await?;
            let Some(oldest) = oldest else { break };
            let advance = sql::AdvanceTrim { noted_until: oldest, ahead_of: i64::MAX };
            let _: Vec<(bool,)> = session.load(Access::Write, advance).await?;
            drop(session);
            deleted += self.delete_trimmed().await?;
        }
        Ok(deleted)
    }

    /// Trims unless some process did so less than half an interval ago.
    async fn trim_if_due(&self, every: Duration) -> Result<u64> {
        let now = millis(self.clock.now());
        let last_before = now.saturating_sub(span(every / 2));
        let claim = sql::ClaimTrim { trimmed_at: now, last_before, ahead_of: now };
        let mut session = self.connections.session().await?;
        let claimed: Vec<(bool,)> = session.load(Access::Write, claim).await?;
        drop(session);
        if claimed.is_empty() { Ok(0) } else { self.trim().await }
    }

    async fn delete_trimmed(&self) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let statement = sql::Trim {
                rows_max: i64::from(self.sweep_batch),
                stamp_later: sql::STAMP_LATER,
                retain_until: millis(self.retain_until()),
            };
            let mut session = self.connections.session().await?;
            let (rows,): (i64,) = session.load_one(Access::Write, statement).await?;
            deleted += rows.unsigned_abs();
            if rows < i64::from(self.sweep_batch) {
                return Ok(deleted);
            }
        }
    }

    async fn is_too_long(&self) -> Result<bool> {
        let len_max = i64::from(self.log_len_max);
        let statement = sql::CountNotices { rows_max: len_max + 1 };
        let mut session = self.connections.session().await?;
        let (len,): (i64,) = session.load_one(Access::Read, statement).await?;
        Ok(len > len_max)
    }

    async fn sweep_leases(&self) -> Result<()> {
        let statement = sql::SweepLeases {
            ended_at: millis(self.clock.now()),
            rows_max: i64::from(self.sweep_batch),
        };
        let mut session = self.connections.session().await?;
        session.execute(Access::Write, statement).await.map(|_| ())
    }
}

fn span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
