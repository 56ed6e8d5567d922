//! How this process's writer wakes those of its tasks that wait for a change.

use std::hash::{BuildHasher, RandomState};

use cache_core::Key;
use tokio::sync::{Notify, futures::Notified};

/// Over how many bells the keys of leases are spread, so that a release wakes few others.
const LEASE_BELLS: usize = 64;

/// Rung after commits. What another process commits rings nothing here, so whoever waits looks
/// every now and then as well.
#[derive(Debug)]
pub(crate) struct Bells {
    notices: Notify,
    releases: [Notify; LEASE_BELLS],
    hasher: RandomState,
}

impl Bells {
    pub(crate) fn new() -> Self {
        Self {
            notices: Notify::new(),
            releases: std::array::from_fn(|_| Notify::new()),
            hasher: RandomState::new(),
        }
    }

    /// The next notices. To be made before a look, so that none is committed unheard after it.
    pub(crate) fn notices(&self) -> Notified<'_> {
        self.notices.notified()
    }

    /// The next release of the lease of `key`, or of one that shares its bell.
    pub(crate) fn release(&self, key: &Key) -> Notified<'_> {
        self.of(key).notified()
    }

    pub(crate) fn ring_notices(&self) {
        self.notices.notify_waiters();
    }

    pub(crate) fn ring_release(&self, key: &Key) {
        self.of(key).notify_waiters();
    }

    fn of(&self, key: &Key) -> &Notify {
        let hash = usize::try_from(self.hasher.hash_one(key) % LEASE_BELLS as u64);
        &self.releases[hash.expect("a remainder of 64 is small")]
    }
}
