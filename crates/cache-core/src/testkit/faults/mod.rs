//! A tier that fails when it is told to.

mod leases;
mod log;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use self::{leases::FaultyLeases, log::FaultyLog};
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    layers::Layer,
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// A way in which a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is not carried out and fails.
    Fail(ErrorKind),
    /// The call is carried out, but its answer is lost: a timeout that may have happened.
    LoseAnswer,
    /// The call never returns.
    Hang,
    /// The call is carried out after this long, by tokio's clock.
    Delay(Duration),
    /// The call is carried out at once, and its answer comes after this long, by tokio's clock.
    DelayAnswer(Duration),
    /// A log tells each notice of the page twice, as it may. Other calls are carried out.
    Duplicate,
    /// A log tells the notices of a page in another order, as it may: those of one key keep theirs.
    /// Other calls are carried out.
    Reorder,
}

/// The handle on a fault-injecting layer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
enum Plan {
    #[default]
    Healthy,
    Once(Fault),
    Always(Fault),
    Writes(Fault),
    Random {
        rng: SmallRng,
        probability: f64,
        fault: Fault,
    },
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer. Every tier that it wraps obeys this handle, and so do its log and its leases.
    #[must_use]
    pub fn layer(&self) -> impl Layer + use<> {
        let faults = self.clone();
        move |inner: Arc<dyn Tier>| {
            Arc::new(Faulty { faults: faults.clone(), inner }) as Arc<dyn Tier>
        }
    }

    /// The next call meets `fault`, and those after it none.
    pub fn once(&self, fault: Fault) {
        *self.0.lock() = Plan::Once(fault);
    }

    /// Every call meets `fault` from now on.
    pub fn always(&self, fault: Fault) {
        *self.0.lock() = Plan::Always(fault);
    }

    /// Every put, removal and clear meets `fault` from now on, and nothing else does: a server that
    /// can only be read.
    pub fn writes(&self, fault: Fault) {
        *self.0.lock() = Plan::Writes(fault);
    }

    /// Each call meets `fault` with `probability` (0 to 1) from now on, the same ones for the same
    /// `seed`.
    pub fn randomly(&self, seed: u64, probability: f64, fault: Fault) {
        let rng = SmallRng::seed_from_u64(seed);
        *self.0.lock() = Plan::Random { rng, probability, fault };
    }

    /// No faults any more.
    pub fn heal(&self) {
        *self.0.lock() = Plan::Healthy;
    }

    fn next(&self) -> Option<Fault> {
        let mut plan = self.0.lock();
        match &mut *plan {
            Plan::Healthy | Plan::Writes(_) => None,
            Plan::Once(fault) => {
                let fault = *fault;
                *plan = Plan::Healthy;
                Some(fault)
            }
            Plan::Always(fault) => Some(*fault),
            Plan::Random { rng, probability, fault } => {
                rng.random_bool(*probability).then_some(*fault)
            }
        }
    }

    async fn meet<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        Self::suffer(self.next(), call).await
    }

    async fn meet_write<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = match &*self.0.lock() {
            Plan::Writes(fault) => Some(*fault),
            _ => None,
        };
        Self::suffer(fault.or_else(|| self.next()), call).await
    }

    async fn suffer<T>(
        fault: Option<Fault>,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match fault {
            None | Some(Fault::Duplicate | Fault::Reorder) => call.await,
            Some(Fault::Delay(span)) => {
                tokio::time::sleep(span).await;
                call.await
            }
            Some(Fault::DelayAnswer(span)) => {
                let answer = call.await;
                tokio::time::sleep(span).await;
                answer
            }
            Some(Fault::Fail(kind)) => Err(Error::new(kind, "an injected fault")),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseAnswer) => {
                call.await?;
                Err(Error::new(ErrorKind::Timeout, "an injected loss of the answer")
                    .indeterminate())
            }
        }
    }
}

struct Faulty {
    faults: Faults,
    inner: Arc<dyn Tier>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Faulty {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.faults.meet(self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.faults.meet(self.inner.get_many(keys)).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.faults.meet_write(self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.faults.meet_write(self.inner.remove_many(removals)).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.faults.meet_write(self.inner.clear(namespace)).await
    }

    async fn ping(&self) -> Result<()> {
        self.faults.meet(self.inner.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.faults.meet(self.inner.usage()).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        let faults = self.faults.clone();
        self.inner.log().map(|inner| Arc::new(FaultyLog { faults, inner }) as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        let faults = self.faults.clone();
        let faulty = |inner| Arc::new(FaultyLeases { faults, inner }) as Arc<dyn Leases>;
        self.inner.leases().map(faulty)
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.faults.meet(self.inner.close()).await
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faulty").field(&self.inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        bus::{Change, Notice, Position},
        clock::ManualClock,
        memory::MemoryTier,
        tier::TierExt,
        units::ByteSize,
    };

    fn faulty() -> (Faults, Arc<dyn Tier>) {
        let memory = MemoryTier::shared(ByteSize::mib(1), Arc::new(ManualClock::new()));
        let faults = Faults::new();
        let tier = faults.layer().wrap(memory);
        (faults, tier)
    }

    fn key(text: &str) -> Key {
        Namespace::new("n").unwrap().key(text).unwrap()
    }

    #[tokio::test]
    async fn a_log_may_tell_twice_and_in_another_order_but_keeps_that_of_each_key() {
        let (faults, tier) = faulty();
        let log = tier.log().unwrap();
        let start: Position = log.end().await.unwrap();
        for text in ["a", "b", "a"] {
            tier.remove(key(text)).await.unwrap();
        }
        let told = async || {
            let text = |notice: Notice| match notice.change {
                Change::Key(key) => format!("{}{}", key.text(), notice.mark),
                other => panic!("{other:?}"),
            };
            let page = log.read(&start, Duration::ZERO).await.unwrap();
            page.notices.into_iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told().await, "a1 b2 a3");
        faults.always(Fault::Duplicate);
        assert_eq!(told().await, "a1 a1 b2 b2 a3 a3");
        faults.always(Fault::Reorder);
        assert_eq!(told().await, "b2 a1 a3");
    }

    #[tokio::test(start_paused = true)]
    async fn log_and_leases_obey_the_handle_of_their_tier() {
        let (faults, tier) = faulty();
        let (log, leases) = (tier.log().unwrap(), tier.leases().unwrap());
        faults.always(Fault::Fail(ErrorKind::Unavailable));
        assert!(log.end().await.is_err() && log.beat().await.is_err());
        let period = Duration::from_secs(60);
        assert!(leases.acquire(&key("k"), period).await.is_err());
        faults.always(Fault::LoseAnswer);
        assert!(leases.acquire(&key("k"), period).await.is_err());
        faults.always(Fault::Delay(Duration::from_secs(2)));
        let began = Instant::now();
        assert_eq!(leases.acquire(&key("k"), period).await.unwrap(), None, "it was carried out");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        faults.heal();
        assert!(log.end().await.is_ok());
    }
}
