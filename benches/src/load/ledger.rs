//! Which writes were acknowledged, to find out afterwards whether one was lost.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// For each key the writes of which one must be found when the load is over.
///
/// Writes of one key may overlap, and then any of them may be the last. What must never be found
/// is a write that another one followed: one that began after this one had been acknowledged.
#[derive(Debug)]
pub struct Ledger {
    /// Moments: a write's revision is the moment at which it began.
    ticks: AtomicU64,
    keys: Vec<Mutex<History>>,
}

#[derive(Debug, Default)]
struct History {
    /// When the latest of the acknowledged writes began.
    latest: u64,
    /// Acknowledged writes that none follows, and the moments of their acknowledgement.
    last: Vec<(u64, u64)>,
    /// Writes that failed, and may have been carried out all the same, at any time.
    doubtful: Vec<u64>,
}

impl Ledger {
    /// For `keys` keys, none of which has been written.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let keys = (0..keys).map(|_| Mutex::default()).collect();
        Self { ticks: AtomicU64::new(0), keys }
    }

    /// The revision of a write that begins now.
    pub fn begin(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes that the write `revision` of `key` has been acknowledged.
    pub fn acknowledge(&self, key: usize, revision: u64) {
        let ended = self.begin();
        let mut history = self.history(key);
        let latest = history.latest.max(revision);
        history.latest = latest;
        history.last.push((revision, ended));
        history.last.retain(|(_, ended)| *ended > latest);
    }

    /// Notes that the write `revision` of `key` failed, and may have happened.
    pub fn doubt(&self, key: usize, revision: u64) {
        self.history(key).doubtful.push(revision);
    }

    /// Whether `found` may be what `key` holds when no write is under way: revision 0 when the key
    /// was never written, and nothing when it is gone.
    #[must_use]
    pub fn allows(&self, key: usize, found: Option<u64>) -> bool {
        let history = self.history(key);
        let Some(found) = found else { return history.latest == 0 };
        history.last.iter().any(|(revision, _)| *revision == found)
            || history.doubtful.contains(&found)
            || (found == 0 && history.latest == 0)
    }

    /// A panic leaves a history as it was.
    fn history(&self, key: usize) -> MutexGuard<'_, History> {
        self.keys[key].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_another_followed_must_not_be_found() {
        let ledger = Ledger::new(2);
        let first = ledger.begin();
        ledger.acknowledge(0, first);
        assert!(ledger.allows(0, Some(first)));
        let second = ledger.begin();
        ledger.acknowledge(0, second);
        assert!(!ledger.allows(0, Some(first)) && ledger.allows(0, Some(second)));
        assert!(!ledger.allows(0, Some(0)) && !ledger.allows(0, None));
        assert!(ledger.allows(1, Some(0)) && ledger.allows(1, None), "never written");
    }

    #[test]
    fn of_writes_that_overlap_any_may_be_found() {
        let ledger = Ledger::new(1);
        let (a, b) = (ledger.begin(), ledger.begin());
        ledger.acknowledge(0, b);
        ledger.acknowledge(0, a);
        assert!(ledger.allows(0, Some(a)) && ledger.allows(0, Some(b)));
        let c = ledger.begin();
        ledger.acknowledge(0, c);
        assert!(!ledger.allows(0, Some(a)) && !ledger.allows(0, Some(b)));
        assert!(ledger.allows(0, Some(c)));
    }

    #[test]
    fn a_failed_write_may_be_found_and_need_not() {
        let ledger = Ledger::new(1);
        let (a, b) = (ledger.begin(), ledger.begin());
        ledger.acknowledge(0, a);
        ledger.doubt(0, b);
        assert!(ledger.allows(0, Some(a)) && ledger.allows(0, Some(b)));
        assert!(!ledger.allows(0, Some(99)), "nobody wrote that");
    }
}
