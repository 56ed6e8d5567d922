//! The tier itself.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bb8_redis::redis;
use cache_core::{
    Clock, Durability, Gather, Key, Leases, Log, Lookup, Misfit, Namespace, Pressure,
    PressureGauge, Put, PutOutcome, Removal, Result, Scope, Shrink, SystemClock, Tier, TierInfo,
    TierRoom, Usage, check_batch,
};
use futures::future::try_join;

use crate::{
    config::{LogMode, RedisConfig},
    connection::Server,
    error::{Access, expect},
    fit::Disagreement,
    layout::Layout,
    lease::RedisLeases,
    log::{RedisLog, Scribe},
    single::{Puts, Reads, Removals},
    store::Store,
    sweep::Sweeper,
    tracker::Tracker,
    write::Change,
};

/// A tier in a Redis server, shared by every process that reaches it.
///
/// See the [crate documentation](crate) for how to make one, and for what it wants of the server.
pub struct RedisTier {
    pub(crate) server: Arc<Server>,
    store: Arc<Store>,
    // Calls for one key travel together. Batches are many already, and travel alone.
    reads: Gather<Reads>,
    puts: Gather<Puts>,
    removals: Gather<Removals>,
    sweeper: Sweeper,
    log: Option<Arc<RedisLog>>,
    leases: Arc<RedisLeases>,
    /// What was found of the server's policy when it was first reached.
    misfit: OnceLock<Misfit>,
}

impl RedisTier {
    /// The tier in the server at `url` with the machine's clock and all other settings at their
    /// defaults: [`connect`](Self::connect) in one line.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// Leaves nothing behind when dropped.
    pub async fn open(url: &str) -> Result<Arc<Self>> {
        Self::connect(&RedisConfig::new(url), SystemClock::shared()).await
    }

    /// The tier in the server that `config` names, after asking that server for a sign of life.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) for a setting or an address that cannot be used,
    /// [`Unavailable`](cache_core::ErrorKind::Unavailable) or
    /// [`Timeout`](cache_core::ErrorKind::Timeout) when the server cannot be reached,
    /// [`Denied`](cache_core::ErrorKind::Denied) when it refuses user or password.
    ///
    /// # Cancel safety
    ///
    /// Leaves nothing behind when dropped.
    pub async fn connect(config: &RedisConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let tier = Self::connect_lazy(config, clock)?;
        tier.ping().await?;
        // Who may not ask is told nothing.
        if let Ok(report) = tier.inspect().await
            && let Some(disagreement) = report.disagreement(config)
        {
            let Disagreement { found, change } = disagreement;
            tracing::warn!(tier = %config.name, found, change, "Redis does not evict as it is set");
            let _ = tier.misfit.set(Misfit { found: found.into(), change: change.into() });
        }
        Ok(tier)
    }

    /// The tier in the server that `config` names, which need not be up: the first call connects.
    /// For services that start while Redis is down.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) for a setting or an address that cannot be used.
    pub fn connect_lazy(config: &RedisConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        config.validate()?;
        let server = Arc::new(Server::new(config)?);
        let layout = Layout::new(config.prefix.clone());
        // A value must leave room for others.
        let payload_len_max = config.tracked_bytes_max.map_or(u64::MAX, |max| max.as_u64() / 4);
        let payload_len_max = payload_len_max.min(config.payload_len_max.as_u64());
        let info = TierInfo {
            name: config.name.as_str().into(),
            scope: Scope::Network,
            durability: Durability::Volatile,
            fence_retention: config.fence_retention.0,
            payload_len_max: usize::try_from(payload_len_max).unwrap_or(usize::MAX),
            patience: Some(config.patience.0),
        };
        let sweeper = Sweeper::new(Arc::clone(&server), layout.clone());
        let scribe = Scribe::new(config);
        let leases = RedisLeases::new(Arc::clone(&server), layout.clone());
        let tracker = Tracker::new(config, clock.now());
        let store = Store::new(info, layout, clock, Arc::clone(&server), scribe, tracker);
        let store = Arc::new(store);
        let log = (config.log == LogMode::On).then(|| Arc::new(RedisLog::new(Arc::clone(&store))));
        Ok(Arc::new(Self {
            server,
            log,
            leases: Arc::new(leases),
            misfit: OnceLock::new(),
            reads: Reads::gather(Arc::clone(&store)),
            puts: Puts::gather(Arc::clone(&store)),
            removals: Removals::gather(Arc::clone(&store)),
            store,
            sweeper,
        }))
    }

    async fn info_section(&self, section: &str) -> Result<String> {
        let command = redis::cmd("INFO").arg(section).take();
        expect(self.server.query(&command, Access::Read).await?)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for RedisTier {
    fn info(&self) -> &TierInfo {
        &self.store.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.reads.ask(key.clone()).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        match keys {
            [] => Ok(Vec::new()),
            [key] => Ok(vec![self.get(key).await?]),
            keys => self.store.look_up(&keys.iter().collect::<Vec<_>>()).await,
        }
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        match puts {
            [put] => match Change::put(put, self.store.info.payload_len_max) {
                Ok(_) => Ok(vec![self.puts.ask(put.clone()).await?]),
                Err(outcome) => Ok(vec![outcome]),
            },
            puts => self.store.put(puts).await,
        }
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        match removals {
            [removal] => self.removals.ask(removal.clone()).await,
            removals => self.store.remove(removals).await,
        }
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.store.clear(namespace).await?;
        self.sweeper.sweep(namespace);
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        self.server.query(&redis::cmd("PING"), Access::Read).await?;
        Ok(())
    }

    /// What the whole server holds, the data of others included: Redis does not count by prefix.
    /// What the tier holds where it evicts by itself.
    async fn usage(&self) -> Result<Usage> {
        if let Some(tracker) = &self.store.tracker {
            let tracked = self.store.tracked().await?;
            return Ok(Usage {
                entries: Some(tracked.entries),
                bytes: Some(tracked.bytes),
                bytes_max: tracker.bytes_max(),
                evictions: Some(tracked.evicted.total()),
                evicted: Some(tracked.evicted),
            });
        }
        let (memory, stats) =
            try_join(self.info_section("memory"), self.info_section("stats")).await?;
        Ok(Usage {
            entries: None,
            bytes: info_field(&memory, "used_memory"),
            bytes_max: info_field(&memory, "maxmemory").filter(|max| *max > 0),
            evictions: info_field(&stats, "evicted_keys"),
            evicted: None,
        })
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.log.clone().map(|log| log as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::clone(&self.leases) as Arc<dyn Leases>)
    }

    /// A server that evicts by itself is full when all is well, and can be told nothing.
    fn room(&self) -> Option<TierRoom<'_>> {
        let room = match self.store.tracker {
            Some(_) => TierRoom::shrunk_by(self).measured_by(self),
            None => TierRoom::of_the_server(),
        };
        Some(room.with_misfit(self.misfit.get().cloned()))
    }

    async fn close(&self) -> Result<()> {
        self.sweeper.close().await;
        self.leases.close().await;
        if let Some(log) = &self.log {
            log.close();
        }
        self.server.close().await;
        Ok(())
    }
}

/// The server's memory, that of others who use it included, against its `maxmemory`.
#[async_trait]
impl PressureGauge for RedisTier {
    fn name(&self) -> &str {
        &self.store.info.name
    }

    async fn read(&self) -> Result<Pressure> {
        let memory = self.info_section("memory").await?;
        Ok(Pressure {
            used: info_field(&memory, "used_memory").unwrap_or(0),
            limit: info_field(&memory, "maxmemory").unwrap_or(0),
        })
    }
}

/// Where the tier evicts by itself. Where the server does, only it knows what goes first, and 0 is
/// answered.
#[async_trait]
impl Shrink for RedisTier {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        match &self.store.tracker {
            Some(tracker) => self.store.shrink(tracker, fraction).await,
            None => Ok(0),
        }
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &self.server)
            .field("layout", &self.store.layout)
            .finish_non_exhaustive()
    }
}

/// A number in what INFO answers: lines of `name:value`.
fn info_field(info: &str, name: &str) -> Option<u64> {
    let field = info.lines().filter_map(|line| line.split_once(':')).find(|(n, _)| *n == name);
    field?.1.trim().parse().ok()
}
