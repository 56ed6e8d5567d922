//! A tier whose server can be frozen, slowed and broken.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    ByteSize, CodecId, Entry, Error, ErrorKind, Fence, Key, LeaseToken, Leases, Log, Lookup,
    ManualClock, MemoryTier, Namespace, Put, PutOutcome, Removal, Result, Tier, TierExt, TierInfo,
    TierRoom, Timestamp, Ttl, Usage,
};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// Its patience, in milliseconds.
pub(crate) const PATIENCE_MS: u64 = 20;

/// Whether who waits since `began` was given up after so many patiences: a tenth of one later at
/// most, and a millisecond, as that is how time is counted.
pub(crate) fn was_given_up_after(patiences: u64, began: Instant) -> bool {
    let due = Duration::from_millis(patiences * PATIENCE_MS);
    (due..=due + Duration::from_millis(PATIENCE_MS / 10 + 1)).contains(&began.elapsed())
}

/// How long it takes to answer, in milliseconds.
pub(crate) const ANSWER_MS: u64 = 1;

/// What the server does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    Frozen,
    /// Every call fails so, after the time of an answer.
    Fails(ErrorKind),
    /// Puts fail so, all else is answered.
    RefusesPuts(ErrorKind),
    /// Pings are answered, all else is frozen.
    AnswersPings,
}

#[derive(Debug)]
pub(crate) struct Server {
    this: Weak<Self>,
    info: TierInfo,
    inner: MemoryTier,
    mood: Mutex<Mood>,
    /// How many it works on at the same time.
    hands: Semaphore,
    pub(crate) asked: AtomicUsize,
    pub(crate) pinged: AtomicUsize,
    pinged_now: AtomicUsize,
    pub(crate) pinged_at_once: AtomicUsize,
}

impl Server {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_hands(Semaphore::MAX_PERMITS)
    }

    /// A server that works on so many calls at the same time.
    pub(crate) fn with_hands(hands: usize) -> Arc<Self> {
        let inner = MemoryTier::new(ByteSize::mib(8), Arc::new(ManualClock::new())).named("redis");
        let patience = Some(Duration::from_millis(PATIENCE_MS));
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            info: TierInfo { patience, ..inner.info().clone() },
            inner,
            mood: Mutex::new(Mood::Answers),
            hands: Semaphore::new(hands),
            asked: AtomicUsize::new(0),
            pinged: AtomicUsize::new(0),
            pinged_now: AtomicUsize::new(0),
            pinged_at_once: AtomicUsize::new(0),
        })
    }

    pub(crate) fn turn(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn pinged(&self) -> usize {
        self.pinged.load(Ordering::Relaxed)
    }

    /// Works on a call. What was frozen goes on when the server does.
    async fn work(&self, is_put: bool, is_ping: bool) -> Result<()> {
        let _hand = self.hands.acquire().await.expect("it is never closed");
        sleep(Duration::from_millis(ANSWER_MS)).await;
        loop {
            let mood = *self.mood.lock();
            match mood {
                Mood::AnswersPings if is_ping => return Ok(()),
                Mood::Frozen | Mood::AnswersPings => sleep(Duration::from_millis(1)).await,
                Mood::Fails(kind) => return Err(Error::new(kind, "an answer of the test")),
                Mood::RefusesPuts(kind) if is_put => {
                    return Err(Error::new(kind, "an answer of the test"));
                }
                Mood::Answers | Mood::RefusesPuts(_) => return Ok(()),
            }
        }
    }

    async fn call(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.work(false, false).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Server {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.call().await?;
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.call().await?;
        self.inner.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.work(true, false).await?;
        self.inner.put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.call().await?;
        self.inner.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.call().await?;
        self.inner.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        /// One ping less, also when it is dropped.
        struct Leave<'s>(&'s AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.pinged.fetch_add(1, Ordering::Relaxed);
        let at_once = self.pinged_now.fetch_add(1, Ordering::Relaxed) + 1;
        let _leave = Leave(&self.pinged_now);
        self.pinged_at_once.fetch_max(at_once, Ordering::Relaxed);
        self.work(false, true).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.call().await?;
        self.inner.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        None
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::new(Desk(Weak::clone(&self.this))))
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// Gives a lease to whoever asks.
#[derive(Debug)]
struct Desk(Weak<Server>);

impl Desk {
    async fn call(&self) -> Result<()> {
        self.0.upgrade().expect("the test has the server").call().await
    }
}

#[async_trait]
impl Leases for Desk {
    async fn acquire(&self, _key: &Key, _period: Duration) -> Result<Option<LeaseToken>> {
        self.call().await.map(|()| Some(LeaseToken::new(1)))
    }

    async fn renew(&self, _key: &Key, _token: LeaseToken, _period: Duration) -> Result<bool> {
        self.call().await.map(|()| true)
    }

    async fn release(&self, _key: &Key, _token: LeaseToken) -> Result<()> {
        self.call().await
    }

    async fn wait(&self, _key: &Key, wait: Duration) -> Result<()> {
        sleep(wait).await;
        Ok(())
    }
}

pub(crate) fn key() -> Key {
    Namespace::new("outage").and_then(|namespace| namespace.key("key")).expect("it is valid")
}

fn entry() -> Entry {
    let ttl = Ttl::fresh(Duration::from_secs(60));
    Entry::new(Bytes::from_static(b"x"), CodecId(3), Timestamp::default(), ttl)
}

/// How a call ended: nothing, or the kind of its error.
pub(crate) type Ending = Result<(), ErrorKind>;

pub(crate) async fn read(tier: &dyn Tier) -> Ending {
    ending(tier.get(&key()).await)
}

pub(crate) async fn fill(tier: &dyn Tier) -> Ending {
    ending(tier.fill(key(), entry(), Fence::mark(0)).await)
}

pub(crate) async fn insert(tier: &dyn Tier) -> Ending {
    ending(tier.put(key(), entry()).await)
}

pub(crate) async fn remove(tier: &dyn Tier) -> Ending {
    ending(tier.remove(key()).await)
}

fn ending<T>(result: Result<T>) -> Ending {
    result.map(drop).map_err(|error| error.kind())
}

/// Reads until the breaker has learned.
pub(crate) async fn learn(tier: &dyn Tier) {
    for _ in 0..3 {
        // The failure is what is to be learned of.
        let _ = read(tier).await;
    }
}
