//! A tier that fails when it is told to.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    layers::Layer,
    lease::Leases,
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
}

/// The handle on a fault-injecting layer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
enum Plan {
    #[default]
    Healthy,
    Always(Fault),
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

    /// The layer. Every tier that it wraps obeys this handle.
    #[must_use]
    pub fn layer(&self) -> impl Layer + use<> {
        let faults = self.clone();
        move |inner: Arc<dyn Tier>| {
            Arc::new(Faulty { faults: faults.clone(), inner }) as Arc<dyn Tier>
        }
    }

    /// Every call meets `fault` from now on.
    pub fn always(&self, fault: Fault) {
        *self.0.lock() = Plan::Always(fault);
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
        match &mut *self.0.lock() {
            Plan::Healthy => None,
            Plan::Always(fault) => Some(*fault),
            Plan::Random { rng, probability, fault } => {
                rng.random_bool(*probability).then_some(*fault)
            }
        }
    }

    async fn meet<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.next() {
            None => call.await,
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
        self.faults.meet(self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.faults.meet(self.inner.remove_many(removals)).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.faults.meet(self.inner.clear(namespace)).await
    }

    async fn ping(&self) -> Result<()> {
        self.faults.meet(self.inner.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.faults.meet(self.inner.usage()).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.inner.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
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
