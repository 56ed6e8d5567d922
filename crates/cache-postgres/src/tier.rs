//! The tier: who may call, alone or together with others.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{
    Carry, Clock, Durability, Error, ErrorKind, Gather, Key, Leases, Log, Lookup, Namespace, Put,
    PutOutcome, Removal, Result, Scope, SystemClock, Tier, TierInfo, Usage, check_batch,
};
use tokio::{
    runtime::Handle,
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    config::{PostgresConfig, PostgresDurability},
    connection::{Connections, closed},
    single::{Puts, Reads, Removals, to_its_end},
    store::Store,
    sweeper,
};

/// Calls that may wait at the same time. More is a sign that nothing comes back.
const CALLS_MAX: u32 = 1 << 16;

/// How long a healthy server says nothing while it is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long [`PostgresTier::close`] waits for calls that were accepted.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A tier in a PostgreSQL database, 14 or later.
///
/// See the [crate](crate) for what it promises. Made as an [`Arc`], which is an `Arc<dyn Tier>`
/// where one is wanted. The sweeper stops when the last one is dropped.
pub struct PostgresTier {
    info: TierInfo,
    store: Arc<Store>,
    reads: Gather<Reads>,
    puts: Gather<Puts>,
    removals: Gather<Removals>,
    /// One permit for each call that is not answered yet.
    calls: Arc<Semaphore>,
    is_closing: AtomicBool,
    sweeper: Option<AbortHandle>,
}

impl PostgresTier {
    /// Connects to the server at `url` with default settings and the system's clock.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub async fn open(url: &str) -> Result<Arc<Self>> {
        Self::connect(&PostgresConfig::new(url), SystemClock::shared()).await
    }

    /// Connects, makes or updates the tables, and starts the sweeper.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting, an address or a database that is not there;
    /// [`ErrorKind::Unavailable`] when the server cannot be reached or is starting,
    /// [`ErrorKind::Timeout`] when it does not answer; [`ErrorKind::Denied`] for the user, the
    /// password, or the right to make the tables; [`ErrorKind::ReadOnly`] for a standby without
    /// the tables; [`ErrorKind::Incompatible`] for tables of a later version.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the tables are either not made or whole.
    pub async fn connect(config: &PostgresConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let tier = Self::connect_lazy(config, clock)?;
        let connected = tier.store.connections.connect().await;
        connected.map_err(|e| e.context(&tier.info.name))?;
        Ok(tier)
    }

    /// The same without asking the server: it need not be up. Whichever call finds it first makes
    /// or updates the tables; until then calls fail as [`connect`](Self::connect) would.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting or an address, or outside of a tokio runtime.
    pub fn connect_lazy(config: &PostgresConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        config.validate()?;
        if Handle::try_current().is_err() {
            let message = "the PostgreSQL tier was made outside of a tokio runtime";
            return Err(Error::new(ErrorKind::Config, message)
                .hint("make it within one, as under #[tokio::main]"));
        }
        let payload_len_max =
            usize::try_from(config.payload_len_max.as_u64()).unwrap_or(usize::MAX);
        let store = Arc::new(Store {
            connections: Connections::new(config)?,
            clock,
            fence_retention: config.fence_retention.0,
            payload_len_max,
            sweep_batch: config.sweep_batch,
            record_len: AtomicUsize::new(0),
        });
        let carriers = (config.pool_size as usize).div_ceil(2);
        Ok(Arc::new(Self {
            info: TierInfo {
                name: config.name.as_str().into(),
                scope: Scope::Network,
                durability: match config.durability {
                    PostgresDurability::Relaxed => Durability::Relaxed,
                    PostgresDurability::Full => Durability::Full,
                },
                fence_retention: config.fence_retention.0,
                payload_len_max,
                patience: Some(PATIENCE),
            },
            reads: Reads::gather(&store, carriers),
            puts: Puts::gather(&store, carriers),
            removals: Removals::gather(&store, carriers),
            calls: Arc::new(Semaphore::new(CALLS_MAX as usize)),
            is_closing: AtomicBool::new(false),
            sweeper: config.sweep_interval.map(|span| sweeper::spawn(Arc::clone(&store), span.0)),
            store,
        }))
    }

    /// Deletes every row that nobody can read and whose fence need not be remembered any more, and
    /// answers how many. The background sweeper does the same.
    ///
    /// # Errors
    ///
    /// Those of any call. Rows that were deleted before stay deleted.
    ///
    /// # Cancel safety
    ///
    /// When dropped, it goes on to its end.
    pub async fn sweep(&self) -> Result<u64> {
        self.detached("sweep", |store| async move { store.sweep().await }).await
    }

    /// Runs a call as a task of its own: when the caller is dropped it comes to its end, and its
    /// connection goes back without an answer pending on it.
    pub(crate) async fn detached<T, F>(
        &self,
        operation: &str,
        call: impl FnOnce(Arc<Store>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self.admit()?;
        let call = call(Arc::clone(&self.store));
        let done = to_its_end(async move {
            let done = call.await;
            drop(permit);
            done
        });
        self.named(operation, done.await)
    }

    /// Runs a call of one key together with those of the same moment.
    async fn gathered<C: Carry>(
        &self,
        operation: &str,
        gather: &Gather<C>,
        ask: C::Ask,
    ) -> Result<C::Answer> {
        let _permit = self.admit()?;
        self.named(operation, gather.ask(ask).await)
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(closed());
        }
        Arc::clone(&self.calls).try_acquire_owned().map_err(|e| match e {
            // A close that waits takes the permits too.
            TryAcquireError::NoPermits if !self.is_closing.load(Ordering::Acquire) => {
                let message = format!("{CALLS_MAX} calls wait for PostgreSQL already");
                Error::new(ErrorKind::Unavailable, message)
                    .hint("limit the concurrency above, or raise `pool_size`")
            }
            TryAcquireError::NoPermits | TryAcquireError::Closed => closed(),
        })
    }

    fn named<T>(&self, operation: &str, done: Result<T>) -> Result<T> {
        done.map_err(|e| e.context(format!("{operation} in {}", self.info.name)))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for PostgresTier {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.gathered("get", &self.reads, key.clone()).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.detached("get", |store| async move { store.get_many(&keys).await }).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        if let [put] = puts {
            return Ok(vec![self.gathered("put", &self.puts, put.clone()).await?]);
        }
        if puts.is_empty() {
            return Ok(Vec::new());
        }
        let puts = puts.to_vec();
        self.detached("put", |store| async move { store.put_many(&puts).await }).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        if let [removal] = removals {
            return self.gathered("remove", &self.removals, removal.clone()).await;
        }
        if removals.is_empty() {
            return Ok(());
        }
        let removals = removals.to_vec();
        self.detached("remove", |store| async move { store.remove_many(&removals).await }).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let namespace = namespace.clone();
        self.detached("clear", |store| async move { store.clear(&namespace).await }).await
    }

    async fn ping(&self) -> Result<()> {
        self.detached("ping", |store| async move { store.ping().await }).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.detached("usage", |store| async move { store.usage().await }).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        None
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.is_closing.store(true, Ordering::Release);
        if let Some(sweeper) = &self.sweeper {
            sweeper.abort();
        }
        let finished = timeout(CLOSE_WITHIN, self.calls.acquire_many(CALLS_MAX)).await;
        let unanswered = CALLS_MAX as usize - self.calls.available_permits();
        self.calls.close();
        self.store.connections.close();
        match finished {
            // An error: it was closed before.
            Ok(Ok(_) | Err(AcquireError { .. })) => Ok(()),
            Err(_) => {
                let message =
                    format!("{unanswered} calls were not answered within {CLOSE_WITHIN:?}");
                self.named("close", Err(Error::new(ErrorKind::Timeout, message)))
            }
        }
    }
}

impl Drop for PostgresTier {
    fn drop(&mut self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.abort();
        }
    }
}

impl fmt::Debug for PostgresTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTier").field("info", &self.info).finish_non_exhaustive()
    }
}
