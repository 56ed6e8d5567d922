//! The log of changes, read in the order of commits.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    Author, Change, Error, ErrorKind, Key, Log, Namespace, Notice, Page, Position, Result,
    Timestamp,
};
use tokio::time::{Instant, timeout};

use crate::{
    calls::Calls,
    error::Access,
    position::{Part, Place},
    puts::millis,
    sql,
    store::{Store, mark_of},
};

/// Notices of one page at most.
const PAGE_LEN: usize = 4_000;

/// The log of a [`PostgresTier`](crate::PostgresTier).
pub(crate) struct PostgresLog {
    calls: Arc<Calls>,
    poll: Duration,
}

impl PostgresLog {
    pub(crate) fn new(calls: Arc<Calls>, poll: Duration) -> Arc<Self> {
        Arc::new(Self { calls, poll })
    }

    async fn page(&self, after: &Position) -> Result<Page> {
        let after = after.clone();
        let read = |store: Arc<Store>| async move { store.log_page(&after).await };
        self.calls.detached("read the log", read).await
    }
}

#[async_trait]
impl Log for PostgresLog {
    fn tier(&self) -> &Arc<str> {
        &self.calls.name
    }

    async fn end(&self) -> Result<Position> {
        let end = |store: Arc<Store>| async move { store.log_end().await };
        self.calls.detached("find the end of the log", end).await
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let deadline = Instant::now() + wait;
        // From now on, so that nothing is missed between the first look and the first wait.
        let mut listening = self.calls.listener.listen();
        let mut page = self.page(after).await?;
        while page.notices.is_empty() && !page.gap {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Either way it is time to look: a change by SQL wakes nobody.
            let _ = timeout(left.min(self.poll), listening.log_has_grown()).await;
            page = self.page(&page.next).await?;
        }
        Ok(page)
    }

    async fn beat(&self) -> Result<()> {
        let beat = |store: Arc<Store>| async move {
            let statement = sql::Beat { at: millis(store.clock.now()) };
            let mut session = store.connections.session().await?;
            session.execute(Access::Write, statement).await?;
            drop(session);
            store.changed.notify_one();
            Ok(())
        };
        self.calls.detached("beat in the log", beat).await
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLog").field("tier", &self.calls.name).finish_non_exhaustive()
    }
}

/// A row of [`sql::LogPage`]: the life, the snapshots between which was read, whether there is a
/// gap, and a notice.
type Row = (
    Option<String>,
    String,
    String,
    bool,
    Option<i16>,
    Option<i16>,
    Option<i64>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
);

impl Store {
    async fn log_end(&self) -> Result<Position> {
        let mut session = self.connections.session().await?;
        let (life, since) = session.load_one(Access::Read, sql::LogEnd {}).await?;
        Ok(Place { life: alive(life)?, since, part: None }.position())
    }

    async fn log_page(&self, after: &Position) -> Result<Page> {
        let place = Place::parse(after).unwrap_or_else(Place::of_no_life);
        let (until, after) = match place.part {
            Some(Part { until, mark }) => (Some(until), mark),
            None => (None, -1),
        };
        let (life, since) = (place.life, place.since);
        let statement = sql::LogPage { rows_max: PAGE_LEN as i64, since, until, after, life };
        let mut session = self.connections.session().await?;
        let rows: Vec<Row> = session.load(Access::Read, statement).await?;
        drop(session);

        let Some((life, since, until, gap, ..)) = rows.first().cloned() else {
            return Err(Error::new(ErrorKind::Internal, "the log answered no row"));
        };
        let life = alive(life)?;
        let last = rows.last().and_then(|row| row.6);
        let next = match last.filter(|_| rows.len() == PAGE_LEN) {
            Some(mark) => Place { life, since, part: Some(Part { until, mark }) },
            None => Place { life, since: until, part: None },
        };
        let now = self.clock.now();
        let notices = rows.into_iter().filter_map(|row| notice(row, now)).collect();
        Ok(Page { notices, next: next.position(), gap })
    }
}

fn alive(life: Option<String>) -> Result<String> {
    life.ok_or_else(|| {
        Error::new(ErrorKind::ReadOnly, "nobody has written to this server since it started anew")
            .hint("let a role that may write connect to the primary server")
    })
}

/// The notice of a row; nothing for a row without one, or of a change that this version does not
/// know or nobody can have made.
fn notice(row: Row, now: Timestamp) -> Option<Notice> {
    let (_, _, _, _, change, author, mark, at, digest, name) = row;
    let name = String::from_utf8(name?).ok()?;
    let mark = mark_of(mark?);
    let (change, mark) = match change? {
        1 => (Change::Key(Key::from_encoded(&name).ok()?), mark),
        2 => (Change::Clear(Namespace::from_escaped(&name).ok()?), mark),
        3 => (Change::Beat, 0),
        _ => return None,
    };
    Some(Notice {
        change,
        mark,
        // SQL has no clock.
        at: at.and_then(|at| u64::try_from(at).ok()).map_or(now, Timestamp::from_millis),
        author: if author? == 0 { Author::Cache } else { Author::Application },
        digest: digest.and_then(|digest| digest.try_into().ok()).map_or(0, u32::from_be_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(change: i16, name: &[u8], digest: Option<&[u8]>) -> Row {
        let (digest, name) = (digest.map(<[u8]>::to_vec), Some(name.to_vec()));
        let (life, since, until) = (None, String::new(), String::new());
        (life, since, until, false, Some(change), Some(1), Some(7), None, digest, name)
    }

    #[test]
    fn rows_that_nobody_can_have_written_are_passed_over() {
        let now = Timestamp::from_millis(5);
        for (change, name) in [
            (1, &b"no separator"[..]),
            (1, b"n:\xff"),
            (1, b"n:"),
            (2, b"n:k"),
            (4, b"n:k"),
            (-1, b""),
        ] {
            assert_eq!(notice(row(change, name, None), now), None, "{change} {name:?}");
        }
        let mut nothing = row(1, b"n:k", None);
        nothing.4 = None;
        assert_eq!(notice(nothing, now), None);
        let known = notice(row(1, b"n:k", Some(&[1, 2])), now).unwrap();
        assert_eq!((known.digest, known.at, known.author), (0, now, Author::Application));
    }
}
