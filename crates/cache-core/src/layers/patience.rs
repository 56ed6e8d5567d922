//! Giving up calls to a server that says nothing to anybody.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Layer,
    call::{Call, Verdict, size_of_keys, size_of_puts},
};
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    lease::Leases,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// How often a call that found this process stalled waits for one more period. A machine that
/// starves us all the time must not keep callers for ever.
const STALLS_MAX: u32 = 4;

/// A layer that gives up a call when the server has been silent for `patience`: no call of any kind
/// had its answer for that long, while this one was waiting.
///
/// A frozen server costs each caller `patience` (inserts, removals and clears five times that, as
/// losing them costs more). A server that is slow because thousands wait for it is not given up:
/// it answers one after the other. A batch may take one patience more for every 250 keys, and for
/// every MiB that is put. Nor is a server given up whose answers lie in a process that was itself
/// stopped or starved: a timer that fires much too late waits one more period.
///
/// The inner call's future is dropped then: a write may still happen, and its error says so. A call
/// that waits costs one timer, about as much as with [`timeout`](super::timeout()).
///
/// # Panics
///
/// A call that has to wait, outside of a tokio runtime with timers.
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
        self.pulse.watch((call, size), &self.info().name, Instant::now(), inner).await
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

    /// Closing has the caller's own deadline.
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Patient").field(&self.pulse.patience).field(&self.inner).finish()
    }
}

/// When a server was last heard, by any call.
#[derive(Debug)]
pub(super) struct Pulse {
    patience: Option<Duration>,
    born: Instant,
    /// Nanoseconds after `born`.
    heard: AtomicU64,
}

impl Pulse {
    /// Nothing was heard so far. Without a patience nothing is ever given up.
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self { patience, born: Instant::now(), heard: AtomicU64::new(0) }
    }

    /// Notes a sign of life.
    pub(super) fn beat(&self) {
        let nanos = u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.heard.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Whether a read that waits since `since` has met silence for its patience.
    pub(super) fn is_silent(&self, since: Instant) -> bool {
        self.patience.is_some_and(|patience| self.silent_since(since).elapsed() >= patience)
    }

    fn silent_since(&self, since: Instant) -> Instant {
        since.max(self.born + Duration::from_nanos(self.heard.load(Ordering::Relaxed)))
    }

    /// Waits for `inner`, which has been waiting since `since`, unless the tier `name` is silent.
    pub(super) async fn watch<T>(
        &self,
        (call, size): (Call, usize),
        name: &str,
        since: Instant,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(patience) = self.patience else { return inner.await };
        let mut watcher =
            Watcher { pulse: self, since, patience: call.patience(patience, size), stalls: 0 };
        let mut inner = pin!(inner);
        // No timer for a call that is answered at once.
        let mut timer: Pin<&mut Option<Sleep>> = pin!(None);
        poll_fn(|context| {
            if let Poll::Ready(result) = inner.as_mut().poll(context) {
                // What was answered at once did not come from a server.
                if timer.is_some() && Verdict::of(call, &result).is_sign_of_life() {
                    self.beat();
                }
                return Poll::Ready(result);
            }
            if timer.is_none() {
                timer.set(Some(sleep_until(watcher.give_up_at())));
            }
            let timer = timer.as_mut().as_pin_mut().expect("it was set just now");
            watcher.poll(timer, context).map(|()| Err(given_up(call, name, watcher.patience)))
        })
        .await
    }
}

/// One waiting call.
struct Watcher<'p> {
    pulse: &'p Pulse,
    since: Instant,
    patience: Duration,
    stalls: u32,
}

impl Watcher<'_> {
    fn give_up_at(&self) -> Instant {
        self.pulse.silent_since(self.since) + self.patience
    }

    /// Ready when the call is to be given up.
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        while timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let late = now.saturating_duration_since(timer.deadline());
            if late > self.patience / 2 && self.stalls < STALLS_MAX {
                // It was this process that stood still. The answer may be waiting to be read.
                self.stalls += 1;
                self.since = now;
            }
            if self.give_up_at() <= now {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.give_up_at());
        }
        Poll::Pending
    }
}

fn given_up(call: Call, name: &str, patience: Duration) -> Error {
    let message = format!(
        "{} in {name}: the server has said nothing to anybody for {patience:?}",
        call.name()
    );
    let error = Error::new(ErrorKind::Timeout, message)
        .hint("see whether the server is stopped, swapping, or cut off");
    if call.is_write() { error.indeterminate() } else { error }
}
