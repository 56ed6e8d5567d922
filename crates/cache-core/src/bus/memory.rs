//! The log of changes in this process's memory.

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::log::{Author, Change, Log, Notice, Page, Position};
use crate::{clock::Clock, error::Result};

/// The most notices that one read answers.
const PAGE_LEN_MAX: usize = 1_024;

/// A bounded [`Log`] in this process's memory: for the [`MemoryTier`](crate::MemoryTier), and for
/// tiers of your own that one process uses.
///
/// It keeps the last `len_max` notices. A reader that falls behind them is told of a gap.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use cache_core::{Log, ManualClock, MemoryLog};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// let log = MemoryLog::new("mine", 1_024, Arc::new(ManualClock::new()));
/// let start = log.end().await?;
/// log.beat().await?;
/// let page = log.read(&start, Duration::ZERO).await?;
/// assert_eq!((page.notices.len(), page.gap), (1, false));
/// # Ok(())
/// # }
/// ```
pub struct MemoryLog {
    tier: Arc<str>,
    len_max: usize,
    clock: Arc<dyn Clock>,
    ring: Mutex<Ring>,
    appended: Notify,
}

struct Ring {
    /// Tells positions in this log from those in another one.
    epoch: u64,
    notices: VecDeque<Notice>,
    /// How many notices were ever appended: the last one has this number.
    end: u64,
    /// Whether a reader waits for more. Waking costs more than appending.
    awaited: bool,
}

impl MemoryLog {
    /// An empty log of the tier called `tier`, which keeps the last `len_max` notices. `clock` dates
    /// its beats.
    #[must_use]
    pub fn new(tier: &str, len_max: usize, clock: Arc<dyn Clock>) -> Self {
        let ring = Ring { epoch: epoch(), notices: VecDeque::new(), end: 0, awaited: false };
        Self { tier: tier.into(), len_max, clock, ring: Mutex::new(ring), appended: Notify::new() }
    }

    /// Appends `notice`, and drops the oldest one when the log is full.
    ///
    /// A tier calls this in the same critical section in which it makes the change, so that the
    /// notices of one key come in the order of their marks.
    pub fn append(&self, notice: Notice) {
        let dropped = {
            let mut ring = self.ring.lock();
            let full = ring.notices.len() >= self.len_max;
            let dropped = if full { ring.notices.pop_front() } else { None };
            ring.end += 1;
            if self.len_max > 0 {
                ring.notices.push_back(notice);
            }
            if std::mem::take(&mut ring.awaited) {
                self.appended.notify_waiters();
            }
            dropped
        };
        // Its key may be the last of its kind: that is given back outside of the lock.
        drop(dropped);
    }

    /// Forgets the notices up to `position`, that one included, as if the log had become too long.
    /// Nothing happens for a position that the log does not know.
    pub fn trim(&self, position: &Position) {
        let mut ring = self.ring.lock();
        if let Some(number) = ring.number(position) {
            let keep = usize::try_from(ring.end - number).unwrap_or(usize::MAX);
            let surplus = ring.notices.len().saturating_sub(keep);
            ring.notices.drain(..surplus);
        }
    }

    /// Forgets everything and becomes another log, as a server does that lost its data: no position
    /// is known any more.
    pub fn lose(&self) {
        let mut ring = self.ring.lock();
        *ring = Ring { epoch: epoch(), notices: VecDeque::new(), end: 0, awaited: false };
        self.appended.notify_waiters();
    }

    /// What there is after `after`; waits for as long as there is nothing.
    async fn page(&self, after: &Position) -> Page {
        loop {
            // Made before the look, so that nothing can be appended unnoticed between the two.
            let appended = self.appended.notified();
            {
                let mut ring = self.ring.lock();
                if let Some(page) = ring.page(after) {
                    return page;
                }
                ring.awaited = true;
            }
            appended.await;
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn tier(&self) -> &Arc<str> {
        &self.tier
    }

    async fn end(&self) -> Result<Position> {
        let ring = self.ring.lock();
        Ok(ring.position(ring.end))
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let page = timeout(wait, self.page(after)).await;
        Ok(page.unwrap_or_else(|_| Page { notices: Vec::new(), next: after.clone(), gap: false }))
    }

    async fn beat(&self) -> Result<()> {
        let at = self.clock.now();
        let author = Author::Cache;
        self.append(Notice { change: Change::Beat, mark: 0, at, author, digest: 0 });
        Ok(())
    }
}

impl Ring {
    /// The notices after `after`; nothing when there are none.
    fn page(&self, after: &Position) -> Option<Page> {
        let first = self.end - self.notices.len() as u64;
        let known = self.number(after).filter(|number| *number >= first);
        let from = known.unwrap_or(first);
        if known == Some(self.end) {
            return None;
        }
        let skipped = usize::try_from(from - first).expect("the ring is in memory");
        let notices: Vec<_> =
            self.notices.iter().skip(skipped).take(PAGE_LEN_MAX).cloned().collect();
        let next = self.position(from + notices.len() as u64);
        Some(Page { notices, next, gap: known.is_none() })
    }

    fn position(&self, number: u64) -> Position {
        Position::new(&format!("{:016x}-{number}", self.epoch))
    }

    /// The number of the last notice before `position`, which may have been dropped since; nothing
    /// when the position is none of this log's.
    fn number(&self, position: &Position) -> Option<u64> {
        let (epoch, number) = position.as_str().split_once('-')?;
        let known = epoch.len() == 16 && u64::from_str_radix(epoch, 16) == Ok(self.epoch);
        number.parse().ok().filter(|number| known && *number <= self.end)
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("tier", &self.tier).finish_non_exhaustive()
    }
}

/// A number that no other log has. A new `RandomState` is randomly seeded.
fn epoch() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, key::Namespace};

    fn log(len_max: usize) -> MemoryLog {
        MemoryLog::new("m", len_max, Arc::new(ManualClock::new()))
    }

    fn notice(mark: u64) -> Notice {
        let change = Change::Key(Namespace::new("n").unwrap().key("k").unwrap());
        let at = ManualClock::new().now();
        Notice { change, mark, at, author: Author::Cache, digest: 0 }
    }

    fn marks(page: &Page) -> Vec<u64> {
        page.notices.iter().map(|notice| notice.mark).collect()
    }

    #[tokio::test]
    async fn a_full_log_drops_the_oldest_and_tells_who_has_not_read_it() {
        let log = log(3);
        let start = log.end().await.unwrap();
        for mark in 1..=3 {
            log.append(notice(mark));
        }
        let page = log.read(&start, Duration::ZERO).await.unwrap();
        assert_eq!((marks(&page), page.gap), (vec![1, 2, 3], false));
        log.append(notice(4));
        let page = log.read(&start, Duration::ZERO).await.unwrap();
        assert_eq!((marks(&page), page.gap), (vec![2, 3, 4], true));
        let page = log.read(&page.next, Duration::ZERO).await.unwrap();
        assert_eq!((marks(&page), page.gap), (vec![], false), "the gap is told once");
    }

    #[tokio::test]
    async fn a_long_log_is_read_in_pages() {
        let log = log(5_000);
        let mut at = log.end().await.unwrap();
        (1..=2_500).for_each(|mark| log.append(notice(mark)));
        let mut read = Vec::new();
        for _ in 0..3 {
            let page = log.read(&at, Duration::ZERO).await.unwrap();
            assert!(!page.gap);
            read.extend(marks(&page));
            at = page.next;
        }
        assert!(read.into_iter().eq(1..=2_500));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_wait_ends_when_its_time_is_up() {
        let log = log(8);
        let start = log.end().await.unwrap();
        let began = tokio::time::Instant::now();
        let page = log.read(&start, Duration::from_secs(5)).await.unwrap();
        assert_eq!(page, Page { notices: Vec::new(), next: start, gap: false });
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_wakes_who_waits() {
        let log = Arc::new(log(8));
        let start = log.end().await.unwrap();
        let reader = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.read(&start, Duration::MAX).await.unwrap() }
        });
        tokio::task::yield_now().await;
        log.lose();
        assert!(reader.await.unwrap().gap);
    }
}
