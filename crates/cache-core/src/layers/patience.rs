//! Giving up calls to a server that says nothing to anybody.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Layer,
    call::{Call, size_of_keys, size_of_puts},
    pulse::Pulse,
};
use crate::{
    bus::Log,
    error::Result,
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// A layer that gives up a call when the server has been silent for `patience`: no call of any kind
/// had its answer for that long, while this one was waiting.
///
/// A frozen server costs each caller `patience` (inserts, removals and clears five times that, as
/// losing them costs more). A server that is slow because thousands wait for it is not given up:
/// it answers one after the other. A batch may take one patience more for every 250 keys, and for
/// every MiB that is put. Nor is a server given up whose answers lie in a process that was itself
/// stopped or starved: time is counted in tenths of the patience, by a task that stands still with
/// the process. So a call may meet a tenth more than its patience, and a millisecond.
///
/// The inner call's future is dropped then: a write may still happen, and its error says so. The
/// timer is one for all calls: one that waits costs less than with [`timeout`](super::timeout()).
/// Outside of a tokio runtime nothing is given up.
///
/// # Panics
///
/// A call in a tokio runtime without timers.
#[must_use]
pub fn patience(patience: Duration) -> impl Layer {
    move |inner: Arc<dyn Tier>| {
        let pulse = Pulse::new(Some(patience));
        Arc::new(Patient { pulse, inner }) as Arc<dyn Tier>
    }
}

struct Patient {
    pulse: Pulse,
    inner: Arc<dyn Tier>,
}

impl Patient {
    async fn watch<T>(
        &self,
        call: Call,
        size: usize,
        inner: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.pulse.watch((call, size), &self.info().name, self.pulse.begin(), inner).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Patient {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.watch(Call::Get, 0, self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.watch(Call::Get, size_of_keys(keys.len()), self.inner.get_many(keys)).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.watch(Call::of_puts(puts), size_of_puts(puts), self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.watch(Call::Remove, size_of_keys(removals.len()), self.inner.remove_many(removals))
            .await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.watch(Call::Clear, 0, self.inner.clear(namespace)).await
    }

    async fn ping(&self) -> Result<()> {
        self.watch(Call::Ping, 0, self.inner.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.watch(Call::Usage, 0, self.inner.usage()).await
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

    /// Closing has the caller's own deadline.
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Patient").field(&self.pulse).field(&self.inner).finish()
    }
}
