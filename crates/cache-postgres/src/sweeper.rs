//! Deletes rows that nobody can read and whose fence need not be remembered any more.
//!
//! An index on the deadline would find them at once, and would cost every write more than the
//! sweeps cost (see the migration). So the table is read, once an interval, without the values
//! that lie out of line: a few megabytes at a time, each followed by a rest as long as the
//! statement took, and by one process of all that share it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cache_core::{ErrorKind, Result};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval_at, sleep},
};

use crate::{error::Access, puts::millis, sql, store::Store};

/// Pages that one statement reads: 8 MiB, of the usual size.
pub(crate) const WINDOW_PAGES: i64 = 1_024;

/// Sweeps in the background until the handle aborts it or the tier is closed.
pub(crate) fn spawn(store: Arc<Store>, interval: Duration) -> AbortHandle {
    let sweeping = async move {
        let mut ticks = interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match store.sweep_if_due(interval).await {
                Ok(rows) => tracing::debug!(rows, "swept"),
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) => tracing::warn!(%error, "could not sweep; the next interval tries"),
            }
        }
    };
    tokio::spawn(sweeping).abort_handle()
}

impl Store {
    /// Sweeps the whole table, and answers how many rows it deleted.
    pub(crate) async fn sweep(&self) -> Result<u64> {
        let mut session = self.connections.session().await?;
        let (pages,): (i64,) = session.load_one(Access::Read, sql::Pages {}).await?;
        drop(session);
        let mut deleted = 0;
        let mut first_page = 0;
        while first_page < pages {
            let begun = Instant::now();
            let rows = self.sweep_window(first_page).await?;
            deleted += rows;
            if rows < u64::from(self.sweep_batch) {
                first_page += WINDOW_PAGES;
            }
            sleep(begun.elapsed()).await;
        }
        Ok(deleted)
    }

    /// Sweeps unless some process began to less than half an interval ago. (Half, because two
    /// ticks of one process are not apart by the interval to the millisecond.)
    async fn sweep_if_due(&self, interval: Duration) -> Result<u64> {
        let now = millis(self.clock.now());
        let half = i64::try_from(interval.as_millis() / 2).unwrap_or(i64::MAX);
        let claim = sql::ClaimSweep {
            started_at: now,
            last_before: now.saturating_sub(half),
            ahead_of: now,
        };
        let mut session = self.connections.session().await?;
        let claimed: Vec<(bool,)> = session.load(Access::Write, claim).await?;
        drop(session);
        if claimed.is_empty() { Ok(0) } else { self.sweep().await }
    }

    pub(crate) async fn sweep_window(&self, first_page: i64) -> Result<u64> {
        let now = millis(self.clock.now());
        let statement = sql::Sweep {
            first_page: format!("({first_page},0)"),
            end_page: format!("({},0)", first_page + WINDOW_PAGES),
            retained_at: now,
            expired_at: now,
            rows_max: i64::from(self.sweep_batch),
        };
        let mut session = self.connections.session().await?;
        let (rows,): (i64,) = session.load_one(Access::Write, statement).await?;
        Ok(rows.unsigned_abs())
    }
}
