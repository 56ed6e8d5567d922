//! When moka may give the room of a record back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::Expiry;

use super::{Body, Record};
use crate::{
    clock::{Clock, Timestamp},
    key::Key,
};

/// How long a version is remembered after its entry was removed.
const TOMBSTONE_RETENTION: Duration = Duration::from_secs(600);

/// Gives expired records' room back. Whether an entry is expired is judged by our own clock when it
/// is read; moka's cannot be replaced.
pub(super) struct Reclaim(pub(super) Arc<dyn Clock>);

impl Reclaim {
    fn after(&self, record: &Record) -> Duration {
        match &record.body {
            Body::Value(entry) => reclaim_after(entry.expires_at, self.0.now()),
            Body::Tombstone => TOMBSTONE_RETENTION,
        }
    }
}

impl Expiry<Key, Record> for Reclaim {
    fn expire_after_create(&self, _: &Key, record: &Record, _: Instant) -> Option<Duration> {
        Some(self.after(record))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        record: &Record,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.after(record))
    }
}

/// How long moka goes on counting an expired record before it gives its room back. Its clock is not
/// ours: it must never be the first to say that something has expired.
const RECLAIM_GRACE: Duration = Duration::from_secs(5);

/// After how long moka may give back the room of what expires at `deadline`.
pub(crate) fn reclaim_after(deadline: Timestamp, now: Timestamp) -> Duration {
    deadline.since(now) + RECLAIM_GRACE
}
