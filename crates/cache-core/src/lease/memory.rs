//! Leases among the tasks of this process.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Instant, timeout, timeout_at},
};

use super::{LeaseToken, Leases};
use crate::{entry::TTL_MAX, error::Result, key::Key};

/// Leases that are held when ended ones are looked for the first time.
const SWEEP_LEN_MIN: usize = 256;

/// [`Leases`] in this process's memory: for the [`MemoryTier`](crate::MemoryTier), and for tiers of
/// your own that one process uses.
///
/// Periods are counted by tokio's clock, which a test can pause. Room is taken by the leases that
/// are held, and by at most as many that have ended without a release.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::{Leases, MemoryLeases, Namespace};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// let leases = MemoryLeases::new();
/// let key = Namespace::new("price")?.key("AAPL")?;
/// let period = Duration::from_secs(5);
/// let token = leases.acquire(&key, period).await?.expect("nobody has it");
/// assert_eq!(leases.acquire(&key, period).await?, None);
/// leases.release(&key, token).await?;
/// assert!(leases.acquire(&key, period).await?.is_some());
/// # Ok(())
/// # }
/// ```
pub struct MemoryLeases {
    held: Mutex<Held>,
    /// Randomly seeded: nobody can guess the next token.
    random: RandomState,
}

#[derive(Default)]
struct Held {
    leases: HashMap<Key, Lease>,
    /// How many tokens were drawn.
    drawn: u64,
    /// With how many leases ended ones are looked for.
    sweep_len: usize,
}

struct Lease {
    token: LeaseToken,
    until: Instant,
    released: Arc<Notify>,
}

impl MemoryLeases {
    /// No lease is held.
    #[must_use]
    pub fn new() -> Self {
        let held = Held { sweep_len: SWEEP_LEN_MIN, ..Held::default() };
        Self { held: Mutex::new(held), random: RandomState::new() }
    }

    /// Forgets all leases, as a server does that lost its data. Who waits is woken.
    pub fn lose(&self) {
        for (_, lease) in self.held.lock().leases.drain() {
            lease.released.notify_waiters();
        }
    }

    async fn until_free(&self, key: &Key) {
        loop {
            let Some((until, released)) = self.held.lock().owner(key) else { return };
            // A renewal moves the end without waking anybody: the next look finds the new one.
            let _ = timeout_at(until, released).await;
        }
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let mut held = self.held.lock();
        if held.leases.get(key).is_some_and(|lease| !lease.has_ended()) {
            return Ok(None);
        }
        held.sweep();
        held.drawn += 1;
        let token = LeaseToken::new(self.random.hash_one(held.drawn));
        let released = Arc::new(Notify::new());
        held.leases.insert(key.clone(), Lease { token, until: end(period), released });
        Ok(Some(token))
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        let mut held = self.held.lock();
        let own = held.leases.get_mut(key).filter(|lease| lease.is_of(token));
        let Some(lease) = own else { return Ok(false) };
        lease.until = end(period);
        Ok(true)
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        let mut held = self.held.lock();
        if held.leases.get(key).is_some_and(|lease| lease.is_of(token))
            && let Some(lease) = held.leases.remove(key)
        {
            lease.released.notify_waiters();
        }
        Ok(())
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        // Whether it became free or the time is up is the same to the caller, who tries again.
        let _ = timeout(wait, self.until_free(key)).await;
        Ok(())
    }
}

impl Held {
    /// Until when `key` is held, and what tells of a release from now on; nothing when it is free.
    fn owner(&self, key: &Key) -> Option<(Instant, OwnedNotified)> {
        let lease = self.leases.get(key).filter(|lease| !lease.has_ended())?;
        Some((lease.until, Arc::clone(&lease.released).notified_owned()))
    }

    /// Gives the room of ended leases back, often enough for them to be the fewer.
    fn sweep(&mut self) {
        if self.leases.len() >= self.sweep_len {
            self.leases.retain(|_, lease| !lease.has_ended());
            self.sweep_len = (2 * self.leases.len()).max(SWEEP_LEN_MIN);
        }
    }
}

impl Lease {
    fn has_ended(&self) -> bool {
        self.until <= Instant::now()
    }

    fn is_of(&self, token: LeaseToken) -> bool {
        self.token == token && !self.has_ended()
    }
}

impl Default for MemoryLeases {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeases").finish_non_exhaustive()
    }
}

/// The end of a period that begins now. Longer ones than an entry's longest life end with it.
fn end(period: Duration) -> Instant {
    Instant::now() + period.min(TTL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Namespace;

    fn key(text: &str) -> Key {
        Namespace::new("n").unwrap().key(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_with_its_period_and_wakes_who_waits_then() {
        let leases = MemoryLeases::new();
        let period = Duration::from_secs(3);
        let token = leases.acquire(&key("k"), period).await.unwrap().unwrap();
        let began = Instant::now();
        leases.wait(&key("k"), Duration::from_secs(60)).await.unwrap();
        assert_eq!(began.elapsed(), period);
        assert!(!leases.renew(&key("k"), token, period).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_waiting_through_a_renewal() {
        let leases = Arc::new(MemoryLeases::new());
        let period = Duration::from_secs(3);
        let token = leases.acquire(&key("k"), period).await.unwrap().unwrap();
        let began = Instant::now();
        let waiter = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.wait(&key("k"), Duration::from_secs(60)).await }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(leases.renew(&key("k"), token, period).await.unwrap());
        waiter.await.unwrap().unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn leases_that_ended_give_their_room_back() {
        let leases = MemoryLeases::new();
        for i in 0..10 * SWEEP_LEN_MIN {
            leases.acquire(&key(&i.to_string()), Duration::from_millis(1)).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(leases.held.lock().leases.len() <= SWEEP_LEN_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_frees_every_lease() {
        let leases = Arc::new(MemoryLeases::new());
        let period = Duration::from_secs(60);
        let token = leases.acquire(&key("k"), period).await.unwrap().unwrap();
        let waiter = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.wait(&key("k"), Duration::MAX).await }
        });
        tokio::task::yield_now().await;
        leases.lose();
        waiter.await.unwrap().unwrap();
        assert!(leases.acquire(&key("k"), period).await.unwrap().is_some_and(|new| new != token));
    }
}
