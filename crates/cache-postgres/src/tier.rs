//! The tier: its parts, and which calls travel together.

use std::{
    fmt,
    hash::BuildHasher,
    sync::{Arc, atomic::AtomicUsize},
};

use async_trait::async_trait;
use cache_core::{
    ByteSize, Clock, Durability, Error, ErrorKind, Gather, Key, Leases, Log, Lookup, Namespace,
    Pressure, PressureGauge, Put, PutOutcome, Removal, Result, Scope, Shrink, SystemClock, Tier,
    TierInfo, TierRoom, Usage, check_batch,
};
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};

use crate::{
    calls::Calls,
    config::{PostgresConfig, PostgresDurability, PostgresLogging},
    connection::Connections,
    evictor,
    leases::PostgresLeases,
    log::PostgresLog,
    room::Room,
    single::{Puts, Reads, Removals},
    store::Store,
    sweeper, trim, wake,
};

/// A tier in a PostgreSQL database, 14 or later.
///
/// See the [crate](crate) for what it promises. Made as an [`Arc`], which is an `Arc<dyn Tier>`
/// where one is wanted. The sweeper stops when the last one is dropped.
/// A log or leases that are kept keep working.
pub struct PostgresTier {
    info: TierInfo,
    pub(crate) calls: Arc<Calls>,
    reads: Gather<Reads>,
    puts: Gather<Puts>,
    removals: Gather<Removals>,
    log: Option<Arc<PostgresLog>>,
    leases: Arc<PostgresLeases>,
    background: Vec<AbortHandle>,
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
        let connected = tier.calls.store.connections.connect().await;
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
        // A value that takes a good part of the room would only push others out.
        let payload_len_max = config.bytes_max.map_or(payload_len_max, |bytes_max| {
            let part = usize::try_from(bytes_max.as_u64() / 16).unwrap_or(usize::MAX);
            payload_len_max.min(part)
        });
        let seed = std::hash::RandomState::new().hash_one(&*config.name);
        let store = Arc::new(Store {
            connections: Connections::new(config)?,
            clock,
            fence_retention: config.fence_retention.0,
            payload_len_max,
            sweep_batch: config.sweep_batch,
            record_len: AtomicUsize::new(0),
            hasher: ahash::RandomState::with_seed(seed as usize),
            tell: config.log == PostgresLogging::On,
            log_retention: config.log_retention.0,
            log_len_max: config.log_len_max,
            room: Room::new(
                config.bytes_max.map(ByteSize::as_u64),
                config.entries_max,
                config.eviction,
            ),
            changed: Notify::new(),
        });
        let carriers = (config.pool_size as usize).div_ceil(2);
        let calls = Arc::new(Calls::new(Arc::clone(&store), &config.name));
        let mut background = Vec::new();
        if let Some(interval) = config.sweep_interval {
            background.push(sweeper::spawn(Arc::clone(&store), interval.0));
            background.push(trim::spawn(Arc::clone(&store), interval.0));
        }
        if store.room.is_bounded() {
            background.push(evictor::spawn(Arc::clone(&store)));
        }
        if store.tell {
            background.push(wake::spawn(Arc::clone(&store)));
        }
        Ok(Arc::new(Self {
            info: TierInfo {
                name: Arc::clone(&calls.name),
                scope: Scope::Network,
                durability: match config.durability {
                    PostgresDurability::Relaxed => Durability::Relaxed,
                    PostgresDurability::Full => Durability::Full,
                },
                fence_retention: config.fence_retention.0,
                payload_len_max,
                patience: Some(config.patience.0),
            },
            reads: Reads::gather(&store, carriers),
            puts: Puts::gather(&store, carriers),
            removals: Removals::gather(&store, carriers),
            log: store.tell.then(|| PostgresLog::new(Arc::clone(&calls), config.log_poll.0)),
            leases: PostgresLeases::new(Arc::clone(&calls)),
            background,
            calls,
        }))
    }

    /// Deletes every row that nobody can read and whose fence need not be remembered any more, and
    /// answers how many. Shortens the log, and deletes leases that have ended, too. The background
    /// sweeper does the same.
    ///
    /// # Errors
    ///
    /// Those of any call. Rows that were deleted before stay deleted.
    ///
    /// # Cancel safety
    ///
    /// When dropped, it goes on to its end.
    pub async fn sweep(&self) -> Result<u64> {
        self.calls
            .detached("sweep", |store| async move {
                store.trim().await?;
                store.sweep().await
            })
            .await
    }

    fn end_background(&self) {
        for task in &self.background {
            task.abort();
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for PostgresTier {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.calls.gathered("get", &self.reads, key.clone()).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.calls.detached("get", |store| async move { store.get_many(&keys).await }).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        if let [put] = puts {
            return Ok(vec![self.calls.gathered("put", &self.puts, put.clone()).await?]);
        }
        if puts.is_empty() {
            return Ok(Vec::new());
        }
        let puts = puts.to_vec();
        self.calls.detached("put", |store| async move { store.put_many(&puts).await }).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        if let [removal] = removals {
            return self.calls.gathered("remove", &self.removals, removal.clone()).await;
        }
        if removals.is_empty() {
            return Ok(());
        }
        let removals = removals.to_vec();
        self.calls
            .detached("remove", |store| async move { store.remove_many(&removals).await })
            .await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let namespace = namespace.clone();
        self.calls.detached("clear", |store| async move { store.clear(&namespace).await }).await
    }

    async fn ping(&self) -> Result<()> {
        self.calls.detached("ping", |store| async move { store.ping().await }).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.calls.detached("usage", |store| async move { store.usage().await }).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.log.clone().map(|log| log as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::clone(&self.leases) as Arc<dyn Leases>)
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        Some(TierRoom::shrunk_by(self).measured_by(self))
    }

    async fn close(&self) -> Result<()> {
        self.end_background();
        self.calls.close().await
    }
}

/// What values take of their part of `bytes_max`, by what all processes have put.
#[async_trait]
impl PressureGauge for PostgresTier {
    fn name(&self) -> &str {
        &self.info.name
    }

    async fn read(&self) -> Result<Pressure> {
        self.calls
            .detached("pressure", |store| async move {
                if store.room.is_bounded() {
                    store.tell_totals(store.room.untold()).await?;
                }
                Ok(store.room.pressure())
            })
            .await
    }
}

/// Of the bounds of this process; others that share the table go by their own.
#[async_trait]
impl Shrink for PostgresTier {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        self.calls
            .detached("shrink", move |store| async move {
                store.room.set_share(fraction);
                store.evict_all().await
            })
            .await
    }
}

impl Drop for PostgresTier {
    fn drop(&mut self) {
        self.end_background();
    }
}

impl fmt::Debug for PostgresTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTier").field("info", &self.info).finish_non_exhaustive()
    }
}
