//! What a cache puts around each tier that has a server: all of the layers against outages in one.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Layer,
    breaker::{BreakerConfig, BreakerState, Circuits},
    call::{Call, size_of_keys, size_of_puts},
    limit::{CallLimit, Turns},
    pulse::Pulse,
    retry::{Retries, RetryConfig},
};
use crate::{
    bus::Log,
    error::Result,
    event::Events,
    key::{Key, Namespace},
    lease::{LeaseToken, Leases},
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// What guards a tier. By default all of it.
///
/// # The budget
///
/// With the server frozen or gone, a read costs its caller the tier's patience
/// ([`TierInfo::patience`]; 20 ms for Redis) while the breaker learns, which takes three calls in a
/// row; and less than a microsecond after that. The fill of such a load is not tried, as its fence
/// was not read. The server's return is noticed within a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// How long the server may be silent, where it is not to be the tier's own
    /// [`patience`](TierInfo::patience). A tier that has neither is never given up.
    pub patience: Option<Duration>,
    /// When the tier is not asked any more.
    pub breaker: BreakerConfig,
    /// What is tried again; nothing: nothing is.
    pub retry: Option<RetryConfig>,
    /// How many calls at the same time; nothing: any number.
    pub limit: Option<CallLimit>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            patience: None,
            breaker: BreakerConfig::default(),
            retry: Some(RetryConfig::default()),
            limit: Some(CallLimit::default()),
        }
    }
}

/// A layer that guards a tier: see [`Guarded`].
#[must_use]
pub fn guard(guard: Guard, events: Events) -> impl Layer {
    move |inner: Arc<dyn Tier>| {
        Arc::new(Guarded::new(inner, guard.clone(), events.clone())) as Arc<dyn Tier>
    }
}

/// A tier whose outage stays its own: [`patience`](super::patience()), a
/// [`Breaker`](super::Breaker), [`retry`](super::retry()) and [`limit`](super::limit()) in one
/// wrapper, which costs one boxed call and not four.
///
/// # Order
///
/// From the outside in: retries, refusal by the breaker, limit, breaker, patience. So an open
/// breaker refuses without a wait for a turn, a wait for a turn counts neither as silence nor
/// against the server, each try counts, and nothing is tried again once the breaker is open.
///
/// The tier's leases are guarded with it. Its log is not: it is read by one task, which has its own
/// way to wait.
///
/// # Cancel safety
///
/// A dropped call changes nothing here, unless the tier had been silent for its patience: then it
/// counts as a failure.
pub struct Guarded {
    core: Arc<Core>,
    leases: Option<Arc<dyn Leases>>,
    inner: Arc<dyn Tier>,
}

#[derive(Debug)]
struct Core {
    name: Arc<str>,
    pulse: Pulse,
    circuits: Circuits,
    retries: Option<Retries>,
    turns: Option<Turns>,
}

impl Guarded {
    /// Guards `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Tier>, guard: Guard, events: Events) -> Self {
        let core = Arc::new(Core {
            name: Arc::clone(&inner.info().name),
            pulse: Pulse::new(guard.patience.or(inner.info().patience)),
            circuits: Circuits::new(&inner, guard.breaker, events),
            retries: guard.retry.map(Retries::new),
            turns: guard.limit.map(Turns::new),
        });
        let leases = inner.leases().map(|inner| -> Arc<dyn Leases> {
            Arc::new(GuardedLeases { core: Arc::clone(&core), inner })
        });
        Self { core, leases, inner }
    }

    /// Whether the tier is asked now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.core.circuits.state()
    }

    /// Whether the tier is offered puts now, if it is asked at all: not while it is full or
    /// read-only.
    #[must_use]
    pub fn puts_state(&self) -> BreakerState {
        self.core.circuits.puts_state()
    }

    /// Follows [`state`](Self::state): whoever has to tell the tier what it missed waits here for
    /// [`BreakerState::Closed`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.core.circuits.subscribe()
    }

    async fn call<T, F>(
        &self,
        call: Call,
        size: usize,
        start: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        self.core.call(call, size, start).await
    }
}

impl Core {
    async fn call<T, F>(
        &self,
        call: Call,
        size: usize,
        start: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        match &self.retries {
            Some(retries) if retries.has_retries(call) => {
                let is_welcome = || self.circuits.refuse(call).is_ok();
                let again = retries.run(call, is_welcome, || self.call_once(call, size, &start));
                // Boxed, as reads, which are not tried again by default, would pay for the room.
                Box::pin(again).await
            }
            _ => self.call_once(call, size, start).await,
        }
    }

    async fn call_once<T, F>(
        &self,
        call: Call,
        size: usize,
        start: impl Fn() -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let _turn = match &self.turns {
            Some(turns) => {
                self.circuits.refuse(call)?;
                Some(turns.take(&self.name).await?)
            }
            None => None,
        };
        let admitted = self.circuits.admit(call, &self.pulse)?;
        let result = self.pulse.watch((call, size), &self.name, admitted.since(), start()).await;
        admitted.end(&result);
        result
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Guarded {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.call(Call::Get, 0, || self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.call(Call::Get, size_of_keys(keys.len()), || self.inner.get_many(keys)).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.call(Call::of_puts(puts), size_of_puts(puts), || self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.call(Call::Remove, size_of_keys(removals.len()), || self.inner.remove_many(removals))
            .await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.call(Call::Clear, 0, || self.inner.clear(namespace)).await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Call::Ping, 0, || self.inner.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.call(Call::Usage, 0, || self.inner.usage()).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.inner.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.leases.clone()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    /// Closing has the caller's own deadline, and is not refused by an open breaker: what is there
    /// to be given up is in this process.
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("state", &self.state())
            .field("puts", &self.puts_state())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// The leases of a guarded tier: they live in the same server.
#[derive(Debug)]
struct GuardedLeases {
    core: Arc<Core>,
    inner: Arc<dyn Leases>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Leases for GuardedLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        self.core.call_once(Call::Lease, 0, || self.inner.acquire(key, period)).await
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        self.core.call_once(Call::Lease, 0, || self.inner.renew(key, token, period)).await
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        self.core.call_once(Call::Lease, 0, || self.inner.release(key, token)).await
    }

    /// A wait is silent by its nature, and has its own end: it is only not begun while the breaker
    /// is open.
    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        self.core.circuits.refuse(Call::Lease)?;
        self.inner.wait(key, wait).await
    }
}
