//! Evicts by the policy until the tier is at its low mark.
//!
//! The table is read once, as the sweeper reads it: a few megabytes at a time, without the values
//! that lie out of line. What goes first is remembered, and then goes in its order, in small
//! statements that pass over rows which somebody else has locked. The table is vacuumed then, so that
//! what comes next finds room. One process at a time does it, of all that share the schema.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Result};
use tokio::{task::AbortHandle, time::timeout};

use crate::{
    error::Access,
    puts::millis,
    room::{Known, Put, row_bytes, signed},
    sql,
    store::Store,
    survey::{CANDIDATES_MAX, Candidate, Survey, number_of},
    sweeper::WINDOW_PAGES,
};

/// How often notes on reads are written down, and what other processes have put is asked.
const EVERY: Duration = Duration::from_secs(2);

/// Values that one statement evicts at most.
const BATCH_LEN: usize = 256;

/// After what time a process that evicts counts as gone.
const CLAIM_MAX: Duration = Duration::from_secs(60);

/// How long a process waits for another that evicts before it looks again.
const OTHERS_POLL: Duration = Duration::from_millis(20);

/// Looks at the table in a row, where one cannot remember all that has to go.
const LOOKS_MAX: usize = 16;

/// How long the vacuum may take.
const VACUUM_MAX: Duration = Duration::from_secs(600);

/// The most bytes of values of a table that is written anew without being asked: about half a second.
const REWRITE_MAX: u64 = 128 << 20;

/// The class of values that have expired: they go before all others.
const EXPIRED: i16 = -1;

/// The class of pinned values.
const PINNED: i16 = 3;

/// Evicts in the background until the handle aborts it or the tier is closed.
pub(crate) fn spawn(store: Arc<Store>) -> AbortHandle {
    let evicting = async move {
        loop {
            // Either it is wanted, or the time has come to look.
            let _ = timeout(EVERY, store.room.wanted.notified()).await;
            let looked = store.look_and_evict().await;
            store.room.made.notify_waiters();
            match looked {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) => tracing::warn!(%error, "could not evict; it is tried again"),
            }
        }
    };
    tokio::spawn(evicting).abort_handle()
}

/// What has come of an eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Values that had not expired.
    pub(crate) values: u64,
    /// Whether anything was given back, or another process is at it.
    pub(crate) moved: bool,
}

/// What is left to do, and what was done.
#[derive(Debug, Default)]
struct Progress {
    bytes_owed: u64,
    rows_owed: u64,
    bytes_gone: u64,
    rows_gone: u64,
    for_bytes: u64,
    for_entries: u64,
}

impl Store {
    async fn look_and_evict(&self) -> Result<()> {
        self.write_notes().await?;
        self.evict_all().await.map(|_| ())
    }

    /// Evicts down to the low mark, by what all processes have put. Answers how many values went.
    pub(crate) async fn evict_all(&self) -> Result<u64> {
        let mut values = 0;
        loop {
            self.tell_totals(self.room.untold()).await?;
            if !self.room.is_bounded() || !self.room.is_high() {
                return Ok(values);
            }
            let evicted = self.evict().await?;
            values += evicted.values;
            if !evicted.moved {
                return Ok(values);
            }
        }
    }

    /// Evicts down to the low mark, if there is more than there may be.
    pub(crate) async fn evict(&self) -> Result<Evicted> {
        let _turn = self.room.evicting.lock().await;
        if !self.room.is_high() {
            return Ok(Evicted { values: 0, moved: true });
        }
        let now = millis(self.clock.now());
        let old = now.saturating_sub(CLAIM_MAX.as_millis() as i64);
        let claim = sql::ClaimEviction { claimed_at: now, claimed_before: old, ahead_of: now };
        let mut session = self.connections.session().await?;
        let claimed: Vec<(i64, i64, i64)> = session.load(Access::Write, claim).await?;
        drop(session);
        let Some(&(bytes, rows, read_at)) = claimed.first() else {
            tokio::time::sleep(OTHERS_POLL).await;
            self.tell_totals(Put::default()).await?;
            return Ok(Evicted { values: 0, moved: true });
        };
        let done = self.evict_claimed(bytes, rows, read_at).await;
        if done.is_err() {
            // If this fails as well, the claim ends by itself.
            let _ = self.release_claim().await;
        }
        done
    }

    async fn release_claim(&self) -> Result<()> {
        let mut session = self.connections.session().await?;
        session.execute(Access::Write, sql::ReleaseEviction {}).await.map(|_| ())
    }

    /// `bytes` and `rows` had been put when it began; the table was read at `read_at` before.
    async fn evict_claimed(&self, bytes: i64, rows: i64, read_at: i64) -> Result<Evicted> {
        self.write_notes().await?;
        let mut progress = Progress::default();
        let (mut bytes_there, mut rows_there) = (0, 0);
        for _ in 0..LOOKS_MAX {
            let survey = self.survey(read_at).await?;
            (bytes_there, rows_there) = (survey.bytes, survey.rows);
            let before = (progress.bytes_gone, progress.rows_gone);
            (progress.bytes_owed, progress.rows_owed) = self.room.owed(bytes_there, rows_there);
            let is_cut = survey.is_cut;
            self.evict_candidates(survey, &mut progress).await?;
            let (bytes_gone, rows_gone) =
                (progress.bytes_gone - before.0, progress.rows_gone - before.1);
            bytes_there = bytes_there.saturating_sub(bytes_gone);
            rows_there = rows_there.saturating_sub(rows_gone);
            let is_done = (progress.bytes_owed, progress.rows_owed) == (0, 0);
            if is_done || !is_cut || rows_gone == 0 {
                break;
            }
        }
        if let Some(bytes_max) = self.room.bytes_max {
            self.give_back(bytes_max, bytes_there).await?;
        }
        let values = progress.for_bytes + progress.for_entries;
        let is_shrunk = self.room.is_shrunk();
        let counted = |count: u64, counts: bool| if counts { signed(count) } else { 0 };
        let statement = sql::NoteEviction {
            read_at: millis(self.clock.now()),
            bytes: signed(bytes_there),
            rows: signed(rows_there),
            bytes_then: bytes,
            rows_then: rows,
            for_bytes: counted(progress.for_bytes, !is_shrunk),
            for_entries: counted(progress.for_entries, !is_shrunk),
            for_pressure: counted(values, is_shrunk),
        };
        let mut session = self.connections.session().await?;
        let (bytes, rows): (i64, i64) = session.load_one(Access::Write, statement).await?;
        drop(session);
        self.room.know(Known {
            bytes: bytes.max(0).unsigned_abs(),
            rows: rows.max(0).unsigned_abs(),
            is_read: true,
        });
        tracing::debug!(values, bytes = progress.bytes_gone, "evicted");
        Ok(Evicted { values, moved: progress.rows_gone > 0 })
    }

    /// Has the room of what went used again. Where sizes have changed so much that the holes are of
    /// no use (a hole among large values is none among small ones, nor is one in the index), the
    /// table is written anew, if that takes a moment only.
    async fn give_back(&self, bytes_max: u64, values_bytes: u64) -> Result<()> {
        let mut session = self.connections.session().await?;
        session.maintain("VACUUM (SKIP_LOCKED) entries", VACUUM_MAX).await?;
        drop(session);
        let mut session = self.connections.session().await?;
        let (bytes,): (i64,) = session.load_one(Access::Read, sql::TableBytes {}).await?;
        let bytes = bytes.max(0).unsigned_abs();
        if bytes <= bytes_max {
            return Ok(());
        }
        if values_bytes <= REWRITE_MAX {
            // It needs the table to itself; if that cannot be had, the next time tries again.
            return match session.maintain("VACUUM FULL entries", VACUUM_MAX).await {
                Err(error) if error.kind() == ErrorKind::Closed => Err(error),
                Err(error) => {
                    tracing::debug!(%error, "could not write the table anew");
                    Ok(())
                }
                Ok(()) => Ok(()),
            };
        }
        tracing::warn!(
            bytes,
            bytes_max,
            values_bytes,
            "the table is above its bound, and what lies free in it is of no use to new values; \
             `VACUUM FULL entries` gives it back, and stops everybody for that time"
        );
        Ok(())
    }

    /// Reads the table, and deletes on the way what the sweeper would.
    async fn survey(&self, read_before: i64) -> Result<Survey> {
        let mut session = self.connections.session().await?;
        let (pages,): (i64,) = session.load_one(Access::Read, sql::Pages {}).await?;
        drop(session);
        let mut survey = Survey::default();
        let mut first_page = 0;
        while first_page < pages {
            self.sweep_window(first_page).await?;
            self.survey_window(first_page, read_before, &mut survey).await?;
            first_page += WINDOW_PAGES;
        }
        Ok(survey)
    }

    async fn survey_window(
        &self,
        first_page: i64,
        read_before: i64,
        survey: &mut Survey,
    ) -> Result<()> {
        let now = millis(self.clock.now());
        let ranking = self.room.ranking;
        let (class_worst, rank_worst) = survey.worst();
        let statement = sql::Survey {
            order: number_of(ranking),
            now,
            read_before,
            by_reads: ranking.goes_by_reads(),
            first_page: format!("({first_page},0)"),
            end_page: format!("({},0)", first_page + WINDOW_PAGES),
            class_worst,
            rank_worst,
            rows_max: CANDIDATES_MAX as i64,
        };
        type Row = (Option<Vec<u8>>, i64, i16, f64, f64, i64, i64, i64);
        let mut session = self.connections.session().await?;
        let rows: Vec<Row> = session.load(Access::Read, statement).await?;
        for (key, expires_at, class, first, second, bytes, rows, pinned) in rows {
            let bytes = bytes.max(0).unsigned_abs();
            if let Some(key) = key {
                let rank = (class, first, second);
                survey.add(Candidate { rank, key, expires_at, bytes });
            } else {
                survey.bytes += bytes;
                survey.rows += rows.unsigned_abs();
                survey.pinned_bytes += pinned.max(0).unsigned_abs();
            }
        }
        Ok(())
    }

    async fn evict_candidates(&self, survey: Survey, progress: &mut Progress) -> Result<()> {
        // Half of the room: beyond that a pinned value counts as one of high priority, and goes
        // after these.
        let share = self.room.bytes_max.unwrap_or(u64::MAX) / 2;
        let mut pinned = survey.pinned_bytes;
        let mut candidates = survey.into_candidates().into_iter().peekable();
        while candidates.peek().is_some() {
            let mut batch = Vec::new();
            let (mut bytes, mut rows) = (progress.bytes_owed, progress.rows_owed);
            while let Some(next) = candidates.peek()
                && batch.len() < BATCH_LEN
                && (bytes > 0 || rows > 0 || next.rank.0 == EXPIRED)
                && (next.rank.0 < PINNED || pinned > share)
            {
                bytes = bytes.saturating_sub(next.bytes);
                rows = rows.saturating_sub(1);
                if next.rank.0 == PINNED {
                    pinned = pinned.saturating_sub(next.bytes);
                }
                batch.extend(candidates.next());
            }
            if batch.is_empty() {
                break;
            }
            self.evict_batch(batch, progress).await?;
        }
        Ok(())
    }

    async fn evict_batch(&self, mut batch: Vec<Candidate>, progress: &mut Progress) -> Result<()> {
        let now = millis(self.clock.now());
        // In the order of the keys, in which every statement locks them.
        batch.sort_by(|one, other| one.key.cmp(&other.key));
        let statement = sql::Evict {
            keys: batch.iter().map(|candidate| candidate.key.clone()).collect(),
            deadlines: batch.iter().map(|candidate| candidate.expires_at).collect(),
            retained_at: now,
            hollowed_at: now,
        };
        let mut session = self.connections.session().await?;
        let gone: Vec<(Vec<u8>, bool)> = session.load(Access::Write, statement).await?;
        for (key, whole) in gone {
            let Ok(at) = batch.binary_search_by(|candidate| candidate.key.cmp(&key)) else {
                continue;
            };
            let Candidate { rank: (class, ..), bytes, .. } = batch[at];
            // Of one whose fence must be remembered a row without a value stays.
            let kept = if whole { 0 } else { row_bytes(key.len(), 16, 0) };
            let bytes = bytes.saturating_sub(kept);
            if class != EXPIRED {
                // Where both bounds ask for it, it counts for the bytes.
                let for_bytes = u64::from(progress.bytes_owed > 0);
                progress.for_bytes += for_bytes;
                progress.for_entries += 1 - for_bytes;
            }
            progress.bytes_owed = progress.bytes_owed.saturating_sub(bytes);
            progress.rows_owed = progress.rows_owed.saturating_sub(1);
            progress.bytes_gone += bytes;
            progress.rows_gone += 1;
        }
        Ok(())
    }
}
