//! Counts and times what a tier does.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::{
    bus::Log,
    error::{Error, Result},
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    stats::{LatencyHistogram, Operation, Outcome, Recorder, TierStats},
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

tokio::task_local! {
    /// There while reads are nobody's: they are not counted.
    static UNCOUNTED: ();
}

/// Carries `work` out without counting or timing the tiers' reads in it. Their errors are counted:
/// these are the tier's, whoever asks.
pub(crate) async fn uncounted<T>(work: impl Future<Output = T>) -> T {
    UNCOUNTED.scope((), work).await
}

/// A tier whose calls are counted and timed. A [`Cache`](crate::Cache) puts each of its tiers into
/// one; whoever composes tiers without a cache may do the same.
pub struct Observed {
    inner: Arc<dyn Tier>,
    recorder: Recorder,
}

impl Observed {
    /// Counts what `inner` does from now on.
    #[must_use]
    pub fn new(inner: Arc<dyn Tier>) -> Self {
        Self { inner, recorder: Recorder::default() }
    }

    /// The tier itself: what it is asked is not counted.
    pub(crate) const fn unobserved(&self) -> &Arc<dyn Tier> {
        &self.inner
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.inner.info().name
    }

    /// What was counted so far, and what the tier holds now. A tier that cannot be asked has no
    /// usage.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn stats(&self) -> TierStats {
        let usage = self.inner.usage().await.ok();
        TierStats::new(self.name(), &self.recorder, usage)
    }

    /// What reads took so far, of what was there and what was not.
    pub(crate) fn read_latency(&self) -> LatencyHistogram {
        self.recorder.reads()
    }

    fn note_write(&self, write: Operation, error: Option<&Error>, took: Duration, keys: usize) {
        match error {
            None => self.recorder.record(write, Outcome::Done, took, keys),
            Some(error) => self.recorder.record_error(write, error, took, keys),
        }
    }

    fn note_lookups(&self, lookups: &[Lookup], took: Duration) {
        if UNCOUNTED.try_with(|()| ()).is_err() {
            let hits = lookups.iter().filter(|lookup| lookup.entry.is_some()).count();
            self.recorder.record(Operation::Get, Outcome::Hit, took, hits);
            self.recorder.record(Operation::Get, Outcome::Miss, took, lookups.len() - hits);
        }
        let corrupt = lookups.iter().filter(|lookup| lookup.corrupt.is_some()).count();
        if corrupt > 0 {
            let name = self.name();
            tracing::warn!(tier = %name, records = corrupt, "stored bytes could not be trusted");
            self.recorder.note_corrupt(corrupt);
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Observed {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let start = Instant::now();
        let result = self.inner.get(key).await;
        match &result {
            Ok(lookup) => self.note_lookups(std::slice::from_ref(lookup), start.elapsed()),
            Err(e) => self.recorder.record_error(Operation::Get, e, start.elapsed(), 1),
        }
        result
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let start = Instant::now();
        let result = self.inner.get_many(keys).await;
        match &result {
            Ok(lookups) => self.note_lookups(lookups, start.elapsed()),
            Err(e) => self.recorder.record_error(Operation::Get, e, start.elapsed(), keys.len()),
        }
        result
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let start = Instant::now();
        let result = self.inner.put_many(puts).await;
        self.note_write(Operation::Put, result.as_ref().err(), start.elapsed(), puts.len());
        if let Ok(outcomes) = &result {
            let superseded = outcomes.iter().filter(|o| **o == PutOutcome::Superseded).count();
            self.recorder.note_superseded(superseded);
        }
        result
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        let start = Instant::now();
        let result = self.inner.remove_many(removals).await;
        let error = result.as_ref().err();
        self.note_write(Operation::Remove, error, start.elapsed(), removals.len());
        result
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.inner.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.inner.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.inner).finish()
    }
}
