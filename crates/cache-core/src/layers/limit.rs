//! A limit on the calls to a tier at the same time.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::timeout};

use super::Layer;
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// How many calls a tier gets at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimit {
    /// Calls under way at the same time, at least one.
    pub calls: usize,
    /// Calls that wait for their turn. Whoever comes then fails at once.
    pub waiting: usize,
    /// How long a call waits at most.
    pub wait: Duration,
}

impl Default for CallLimit {
    /// So many that a healthy service does not meet them: what is bounded is the memory that a hung
    /// server's callers take.
    fn default() -> Self {
        Self { calls: 8_192, waiting: 8_192, wait: Duration::from_millis(20) }
    }
}

/// A layer that lets only so many calls through at the same time; the others wait, about in
/// their order.
///
/// A call that finds too many waiting, or has waited too long, fails with
/// [`Overloaded`](ErrorKind::Overloaded) and has not happened.
#[must_use]
pub fn limit(limit: CallLimit) -> impl Layer {
    move |inner: Arc<dyn Tier>| {
        Arc::new(Limited { turns: Turns::new(limit.clone()), inner }) as Arc<dyn Tier>
    }
}

struct Limited {
    turns: Turns,
    inner: Arc<dyn Tier>,
}

impl Limited {
    async fn turn(&self) -> Result<Turn<'_>> {
        self.turns.take(&self.info().name).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Limited {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let _turn = self.turn().await?;
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let _turn = self.turn().await?;
        self.inner.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let _turn = self.turn().await?;
        self.inner.put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        let _turn = self.turn().await?;
        self.inner.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let _turn = self.turn().await?;
        self.inner.clear(namespace).await
    }

    /// Not limited: it asks for the server, not for us.
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        let _turn = self.turn().await?;
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

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limited").field(&self.turns.limit).field(&self.inner).finish()
    }
}

/// The turns of a tier's calls.
///
/// A semaphore takes a lock for each turn that is given back; here only those do that wait.
#[derive(Debug)]
pub(super) struct Turns {
    limit: CallLimit,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    /// Wakes one of those who wait, when a turn is given back.
    given_back: Notify,
}

/// The right to one call, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<'t>(&'t Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Whoever waits says so first and looks for a turn then: one of the two sees the other.
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.given_back.notify_one();
        }
    }
}

impl Turns {
    pub(super) fn new(limit: CallLimit) -> Self {
        let (taken, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { limit, taken, waiting, given_back: Notify::new() }
    }

    /// A turn at the tier `name`. A dropped wait takes none.
    pub(super) async fn take(&self, name: &str) -> Result<Turn<'_>> {
        if self.waiting.load(Ordering::SeqCst) == 0
            && let Some(turn) = self.try_take()
        {
            return Ok(turn);
        }
        let _place = Place::take(&self.waiting, self.limit.waiting)
            .ok_or_else(|| self.overloaded(name, "too many calls wait for their turn"))?;
        // Boxed, as hardly a call waits and each would pay for the room.
        Box::pin(timeout(self.limit.wait, self.wait()))
            .await
            .map_err(|_| self.overloaded(name, "a call has waited too long for its turn"))
    }

    async fn wait(&self) -> Turn<'_> {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            given_back.as_mut().enable();
            if let Some(turn) = self.try_take() {
                return turn;
            }
            given_back.await;
        }
    }

    fn try_take(&self) -> Option<Turn<'_>> {
        let free = |taken: usize| (taken < self.limit.calls.max(1)).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free);
        taken.is_ok().then(|| Turn(self))
    }

    fn overloaded(&self, name: &str, what: &str) -> Error {
        let CallLimit { calls, waiting, wait } = &self.limit;
        let message =
            format!("{name}: {what} (at once {calls}, waiting {waiting}, for {wait:?} at most)");
        Error::new(ErrorKind::Overloaded, message)
            .hint("see why the tier is slow, or raise the limit of its calls")
    }
}

/// A place among those who wait.
struct Place<'w>(&'w AtomicUsize);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(waiting);
        // Where it is one too many, dropping the place takes it back.
        (waiting.fetch_add(1, Ordering::SeqCst) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, poll};

    use super::*;

    fn turns(calls: usize, waiting: usize) -> Turns {
        Turns::new(CallLimit { calls, waiting, wait: Duration::from_millis(10) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_and_no_longer_than_it_may() {
        let turns = turns(1, 8);
        let first = turns.take("t").await.expect("it is free");
        let mut second = std::pin::pin!(turns.take("t"));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let _second = second.await.expect("its turn has come");
        let error = turns.take("t").await.expect_err("nobody goes");
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(!error.may_have_happened());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_too_many_waiting_fails_at_once() {
        let turns = turns(1, 1);
        let _first = turns.take("t").await.expect("it is free");
        let mut second = Box::pin(turns.take("t"));
        assert!(poll!(&mut second).is_pending());
        let third = turns.take("t").now_or_never().expect("it does not wait");
        assert_eq!(third.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Overloaded));
        // Who leaves gives the place back.
        drop(second);
        assert!(poll!(Box::pin(turns.take("t"))).is_pending());
    }
}
