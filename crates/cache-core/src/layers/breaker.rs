//! Not asking a tier that fails.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Layer,
    call::{Call, Verdict},
    circuit::{Circuit, Pass, Trial},
    pulse::{Pulse, Tick},
};
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    event::{Event, Events},
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// How many patiences a probe may take, as it may have to connect first.
const PROBE_FACTOR: u32 = 5;

/// The longest that a probe may take, unless the tier's patience is longer. With the longest pause
/// it makes the time after which a server's return is noticed, which is to be under a second.
const PROBE_MAX: Duration = Duration::from_millis(150);

/// The patience of a tier that names none: one without a server.
const PATIENCE_DEFAULT: Duration = Duration::from_millis(100);

/// When a breaker opens, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// It opens after so many calls in a row that the server failed.
    pub failures: u32,
    /// It opens as well when `window_percent` of at least `window_calls` calls failed within this
    /// time.
    pub window: Duration,
    /// See [`window`](Self::window).
    pub window_calls: u32,
    /// See [`window`](Self::window).
    pub window_percent: u32,
    /// How long the tier is not asked, the first time. Doubles each time that it fails again. Half
    /// to all of it is taken, at random, so that processes do not come back in step.
    pub open_for: Duration,
    /// The most to which it grows.
    pub open_for_max: Duration,
    /// What the random part of pauses is drawn from: a simulation sets it to repeat itself.
    pub jitter_seed: Option<u64>,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            window: Duration::from_secs(10),
            window_calls: 20,
            window_percent: 50,
            open_for: Duration::from_millis(200),
            open_for_max: Duration::from_millis(800),
            jitter_seed: None,
        }
    }
}

/// Whether a tier is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not, for a while.
    Open,
    /// One call finds out whether it works again.
    HalfOpen,
}

/// A tier that is not asked while it fails.
///
/// While the breaker is open each call fails at once, with
/// [`Unavailable`](ErrorKind::Unavailable) and when, why and until when. After the pause a task
/// pings the tier, one ping at a time, and closes the breaker when it is answered: no caller waits
/// for that. (Outside of a tokio runtime one of the calls takes the part of the ping.)
///
/// # What counts
///
/// - Against the server: `Unavailable`, `Timeout`, and what it refuses to everybody until a person
///   acts (`Config`, `Incompatible`, `Denied` for a read).
/// - Against its writes only: `Full`, `ReadOnly`, `Denied` for a write. After as many of them puts
///   fail at once, while reads go on, and removals and clears too: a server without room may still
///   take those, and losing them costs more. After the pause one put is tried.
/// - For it: any answer, [`LostData`](ErrorKind::LostData) and corrupt bytes too. The former is
///   told as [`Event::TierLostData`].
/// - Neither: `Overloaded`, which is our own limit (a wait for a connection of the pool); what is
///   the caller's (`Codec`, `InvalidKey`, `InvalidTtl`, `TooLarge`, `Load`); `Closed`; `Internal`.
/// - A call that is dropped does not count, unless the tier had been silent for its patience: who
///   gives up first must not keep the breaker from learning.
///
/// # Order
///
/// A breaker sees only the errors that reach it. It belongs inside of whatever swallows errors or
/// turns them into others (a fallback, a stack), and outside of whatever makes a hung server an
/// error ([`patience`](super::patience()), [`timeout`](super::timeout())).
/// [`Guarded`](super::Guarded) has these in their order, in one wrapper.
pub struct Breaker {
    circuits: Circuits,
    pulse: Pulse,
    inner: Arc<dyn Tier>,
}

/// A layer that puts a tier into a [`Breaker`].
#[must_use]
pub fn breaker(config: BreakerConfig, events: Events) -> impl Layer {
    move |inner: Arc<dyn Tier>| {
        Arc::new(Breaker::new(inner, config.clone(), events.clone())) as Arc<dyn Tier>
    }
}

impl Breaker {
    /// A closed breaker around `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Tier>, config: BreakerConfig, events: Events) -> Self {
        let pulse = Pulse::new(Some(inner.info().patience.unwrap_or(PATIENCE_DEFAULT)));
        Self { circuits: Circuits::new(&inner, config, events), pulse, inner }
    }

    /// Whether the tier is asked now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.circuits.state()
    }

    /// Whether the tier is offered puts now, if it is asked at all.
    #[must_use]
    pub fn puts_state(&self) -> BreakerState {
        self.circuits.puts_state()
    }

    /// Follows [`state`](Self::state).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.circuits.subscribe()
    }

    async fn call<T, F>(&self, call: Call, start: impl FnOnce() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let admitted = self.circuits.admit(call, &self.pulse)?;
        let result = start().await;
        if Verdict::of(call, &result).is_sign_of_life() {
            self.pulse.beat();
        }
        admitted.end(&result);
        result
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Breaker {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.call(Call::Get, || self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.call(Call::Get, || self.inner.get_many(keys)).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.call(Call::of_puts(puts), || self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.call(Call::Remove, || self.inner.remove_many(removals)).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.call(Call::Clear, || self.inner.clear(namespace)).await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Call::Ping, || self.inner.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.call(Call::Usage, || self.inner.usage()).await
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

    /// Also while it is open: what is there to be given up is in this process.
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("state", &self.state())
            .field("puts", &self.puts_state())
            .field("inner", &self.inner)
            .finish()
    }
}

/// The two circuits of a tier: of all its calls, and of its puts.
#[derive(Debug)]
pub(super) struct Circuits {
    name: Arc<str>,
    calls: Circuit,
    puts: Circuit,
    events: Events,
}

impl Circuits {
    pub(super) fn new(inner: &Arc<dyn Tier>, config: BreakerConfig, events: Events) -> Self {
        let name = Arc::clone(&inner.info().name);
        let patience = inner.info().patience.unwrap_or(PATIENCE_DEFAULT);
        let ping = Trial::Ping {
            tier: Arc::downgrade(inner),
            patience: (patience * PROBE_FACTOR).min(PROBE_MAX).max(patience),
        };
        let puts_name = format!("{name} (puts)").into();
        Self {
            calls: Circuit::new(Arc::clone(&name), config.clone(), ping, events.clone()),
            puts: Circuit::new(puts_name, config, Trial::Call, events.clone()),
            name,
            events,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.calls.state()
    }

    pub(super) fn puts_state(&self) -> BreakerState {
        self.puts.state()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.calls.subscribe()
    }

    /// Fails when the tier is not asked.
    pub(super) fn refuse(&self, call: Call) -> Result<()> {
        self.calls.refuse()?;
        if call.is_put() { self.puts.refuse() } else { Ok(()) }
    }

    /// Lets a call through that begins now.
    pub(super) fn admit<'c>(&'c self, call: Call, pulse: &'c Pulse) -> Result<Admitted<'c>> {
        let pass = self.calls.admit()?;
        let mut admitted = Admitted {
            circuits: self,
            pulse,
            call,
            pass,
            put: None,
            since: pulse.begin(),
            is_ended: false,
        };
        if call.is_put() {
            admitted.put = Some(self.puts.admit()?);
        }
        Ok(admitted)
    }
}

/// A call that was let through. Dropped without an [`end`](Self::end) it was given up by its caller.
#[derive(Debug)]
pub(super) struct Admitted<'c> {
    circuits: &'c Circuits,
    pulse: &'c Pulse,
    call: Call,
    pass: Pass,
    put: Option<Pass>,
    since: Tick,
    is_ended: bool,
}

impl Admitted<'_> {
    /// When the call began.
    pub(super) const fn since(&self) -> Tick {
        self.since
    }

    /// The call has ended so.
    pub(super) fn end<T>(mut self, result: &Result<T>) {
        self.is_ended = true;
        let Circuits { name, calls, puts, events } = self.circuits;
        let error = result.as_ref().err();
        let verdict = Verdict::of(self.call, result);
        match (verdict, error) {
            (Verdict::Fails, Some(error)) => calls.failed(self.pass, error),
            (Verdict::Works | Verdict::Refuses, _) => calls.succeeded(self.pass),
            _ => calls.ended(self.pass),
        }
        if let Some(put) = self.put {
            match (verdict, error) {
                (Verdict::Refuses, Some(error)) => puts.failed(put, error),
                (Verdict::Works, None) => puts.succeeded(put),
                _ => puts.ended(put),
            }
        }
        if let Some(error) = error.filter(|error| error.kind() == ErrorKind::LostData) {
            let error: Arc<str> = error.to_string().into();
            events.emit(Event::TierLostData { tier: Arc::clone(name), error });
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let Circuits { name, calls, puts, .. } = self.circuits;
        if self.pulse.is_silent(self.since) {
            let message = format!(
                "{} in {name} was given up by its caller after a silence",
                self.call.name()
            );
            calls.failed(self.pass, &Error::new(ErrorKind::Timeout, message));
        } else {
            calls.ended(self.pass);
        }
        if let Some(put) = self.put {
            puts.ended(put);
        }
    }
}
