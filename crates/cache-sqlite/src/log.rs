//! The log of the file's changes.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{Author, Change, Key, Log, Namespace, Notice, Page, Position, Result, Timestamp};
use diesel::{QueryResult, RunQueryDsl, sqlite::SqliteConnection};
use tokio::time::{Instant, timeout};

use crate::{
    apply,
    bells::Bells,
    reader::Read,
    sql::{LogState, Notices},
    worker::Line,
    writer::Write,
};

/// The most notices that one read answers.
const PAGE_LEN_MAX: i64 = 1_024;

/// Reads what any process has committed. Tasks of the process that committed it are woken at once,
/// those of others look every `poll`.
pub(crate) struct SqliteLog {
    pub(crate) tier: Arc<str>,
    pub(crate) reads: Line<Read>,
    pub(crate) writes: Line<Write>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) poll: Duration,
}

/// A position, read: the file's epoch, and the number of the last notice before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) epoch: i64,
    pub(crate) number: i64,
}

impl At {
    fn parse(position: &Position) -> Option<Self> {
        let (epoch, number) = position.as_str().split_once('-')?;
        let epoch = u64::from_str_radix(epoch, 16).ok().filter(|_| epoch.len() == 16)?;
        Some(Self { epoch: epoch.cast_signed(), number: number.parse().ok()? })
    }

    fn position(self) -> Position {
        Position::new(&format!("{:016x}-{}", self.epoch, self.number))
    }
}

/// A part of the log as it lies in the file.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) rows: Vec<Row>,
    pub(crate) next: At,
    pub(crate) gap: bool,
}

/// Number, kind, subject, mark, moment, digest.
type Row = (i64, i64, String, i64, i64, i64);

/// Where the log ends.
pub(crate) fn end(connection: &mut SqliteConnection) -> QueryResult<At> {
    let (epoch, _, number): (i64, i64, i64) = LogState {}.get_result(connection)?;
    Ok(At { epoch, number })
}

/// What there is after a position; from the oldest notice on when that is none of this file's, or
/// notices after it have been taken out.
pub(crate) fn after(connection: &mut SqliteConnection, after: Option<At>) -> QueryResult<Told> {
    let (epoch, first, last): (i64, i64, i64) = LogState {}.get_result(connection)?;
    let known = after.filter(|at| at.epoch == epoch && (first - 1..=last).contains(&at.number));
    let number = known.map_or(first - 1, |at| at.number);
    let mut rows = Vec::new();
    if number < last {
        rows = Notices { after: number, limit: PAGE_LEN_MAX }.load::<Row>(connection)?;
    }
    let number = rows.last().map_or(number, |row| row.0);
    Ok(Told { rows, next: At { epoch, number }, gap: known.is_none() })
}

#[async_trait]
impl Log for SqliteLog {
    fn tier(&self) -> &Arc<str> {
        &self.tier
    }

    async fn end(&self) -> Result<Position> {
        Ok(self.reads.ask(Read::LogEnd).await?.position())
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let (began, after) = (Instant::now(), At::parse(after));
        loop {
            let appended = self.bells.notices();
            let told = self.reads.ask(|reply| Read::Log(after, reply)).await?;
            let left = wait.saturating_sub(began.elapsed());
            if told.gap || !told.rows.is_empty() || left.is_zero() {
                return Ok(page(told));
            }
            // Whether it rang or the time is up, the next look tells.
            let _ = timeout(self.poll.min(left), appended).await;
        }
    }

    async fn beat(&self) -> Result<()> {
        self.writes.ask(|reply| Write::Changes(vec![apply::Change::Beat], reply)).await.map(drop)
    }
}

/// A notice that cannot be read may have been of any key, so that it counts as missing.
fn page(Told { rows, next, mut gap }: Told) -> Page {
    let mut notices = Vec::with_capacity(rows.len());
    for row in rows {
        match notice(row) {
            Some(notice) => notices.push(notice),
            None => gap = true,
        }
    }
    Page { notices, next: next.position(), gap }
}

fn notice((_, kind, subject, mark, at, digest): Row) -> Option<Notice> {
    let change = match kind {
        BEAT => Change::Beat,
        KEY => Change::Key(Key::from_encoded(&subject).ok()?),
        CLEAR => Change::Clear(Namespace::from_escaped(&subject).ok()?),
        _ => return None,
    };
    Some(Notice {
        change,
        mark: u64::try_from(mark).ok()?,
        at: Timestamp::from_millis(u64::try_from(at).ok()?),
        author: Author::Cache,
        digest: u32::try_from(digest).ok()?,
    })
}

/// The kinds of notices, as they are stored.
pub(crate) const BEAT: i64 = 0;
pub(crate) const KEY: i64 = 1;
pub(crate) const CLEAR: i64 = 2;

impl fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLog").field("tier", &self.tier).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_and_nothing_else_is() {
        let at = At { epoch: -7, number: 12 };
        assert_eq!(At::parse(&at.position()), Some(at));
        for garbage in ["", "-", "0", "7-12", "fffffffffffffff9", "+ffffffffffffff9-1", "é-1"] {
            let read = At::parse(&Position::new(garbage)).filter(|read| *read == at);
            assert_eq!(read, None, "{garbage}");
        }
    }

    #[test]
    fn an_unreadable_notice_is_a_gap() {
        let good = (1, KEY, "n:k".to_owned(), 5, 6, 7);
        for bad in [
            (2, 9, String::new(), 0, 0, 0),
            (2, KEY, "no namespace".to_owned(), 0, 0, 0),
            (2, CLEAR, "\0".to_owned(), 0, 0, 0),
            (2, BEAT, String::new(), -1, 0, 0),
            (2, BEAT, String::new(), 0, 0, i64::MAX),
        ] {
            let next = At { epoch: 1, number: 2 };
            let page = page(Told { rows: vec![good.clone(), bad.clone()], next, gap: false });
            assert_eq!((page.notices.len(), page.gap), (1, true), "{bad:?}");
        }
    }
}
