//! From a configuration to tiers and caches.

use std::{sync::Arc, time::Duration};

use cache_core::{
    Cache, Clock, Compression, Error, ErrorKind, Layer, PressureConfig, Result, SystemClock, Tier,
    Ttl, compress,
};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::{SqliteConfig, SqliteTier};
use serde_json::Value;

use crate::config::{CompressionConfig, Config};

/// How long the end of a command waits for writes that are under way.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// A tier that is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend<'a> {
    Redis(&'a RedisConfig),
    Postgres(&'a PostgresConfig),
    Sqlite(&'a SqliteConfig),
}

impl<'a> Backend<'a> {
    /// The tiers below the near one, in the order in which they are read: Redis, then PostgreSQL,
    /// or else the SQLite file.
    pub(crate) fn configured(config: &'a Config) -> Vec<Self> {
        let redis = config.redis.as_ref().map(Self::Redis);
        let bottom = match &config.postgres {
            Some(postgres) => Some(Self::Postgres(postgres)),
            None => config.sqlite.as_ref().filter(|_| config.embedded).map(Self::Sqlite),
        };
        redis.into_iter().chain(bottom).collect()
    }

    /// What its payloads are compressed by.
    const fn compression(self, config: &CompressionConfig) -> Compression {
        config.by(match self {
            Self::Redis(_) => config.redis,
            Self::Postgres(_) => config.postgres,
            Self::Sqlite(_) => config.sqlite,
        })
    }

    /// Connects, and makes sure that the tier answers.
    async fn connect(
        self,
        compression: &CompressionConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Tier>> {
        let clock = Arc::clone(clock);
        let tier: Arc<dyn Tier> = match self {
            Self::Redis(config) => {
                // `connect` would also say how the server evicts, at each command; `doctor` does.
                let tier = RedisTier::connect_lazy(config, clock)?;
                tier.ping().await?;
                tier
            }
            Self::Postgres(config) => PostgresTier::connect(config, clock).await?,
            Self::Sqlite(config) => SqliteTier::with_config(config, clock)?,
        };
        Ok(compress(self.compression(compression)).wrap(tier))
    }
}

/// The connected tiers of one run.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tiers: Vec<Arc<dyn Tier>>,
}

impl Session {
    /// Connects to everything that `config` names.
    ///
    /// # Errors
    ///
    /// What the first tier that cannot be used says, and [`ErrorKind::Config`] when there is none
    /// that outlives this process.
    pub(crate) async fn open(config: Config) -> Result<Self> {
        let backends = Backend::configured(&config);
        if backends.is_empty() {
            return Err(no_tier(&config));
        }
        let clock = SystemClock::shared();
        let mut tiers = Vec::with_capacity(backends.len());
        for backend in backends {
            tiers.push(backend.connect(&config.compression, &clock).await?);
        }
        Ok(Self { clock, tiers, config })
    }

    /// The cache of one namespace over these tiers.
    ///
    /// # Errors
    ///
    /// Those of [`cache_core::Builder::build`].
    pub(crate) fn cache(&self, namespace: &str) -> Result<Cache<Value>> {
        self.builder(namespace, self.config.ttl()).build()
    }

    /// The same, for values with another time to live, and of a cache that lives for long or has
    /// much put into it: it gives way while memory is short.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache).
    pub(crate) fn cache_with(&self, namespace: &str, ttl: Ttl) -> Result<Cache<Value>> {
        let pressure = PressureConfig::above(self.config.cache_memory_pressure_threshold);
        self.builder(namespace, ttl).memory_pressure(pressure).build()
    }

    fn builder(&self, namespace: &str, ttl: Ttl) -> cache_core::Builder<Value> {
        let near = &self.config.near;
        let builder = Cache::builder(namespace)
            .near(near.bytes_max)
            .near_eviction(self.config.cache_eviction_policy)
            .near_ttl(near.ttl.0)
            .ttl(ttl.fresh)
            .max_stale(ttl.stale)
            .clock(Arc::clone(&self.clock));
        let tiers = self.tiers.iter().map(Arc::clone);
        tiers.fold(builder, cache_core::Builder::tier)
    }

    /// Finishes what is under way in `caches`, then gives up the connections.
    ///
    /// # Errors
    ///
    /// When a write is not finished in its time: it may be lost.
    pub(crate) async fn close(self, caches: &[Cache<Value>]) -> Result<()> {
        for cache in caches {
            cache.shutdown(SHUTDOWN_DEADLINE).await?;
        }
        for tier in &self.tiers {
            // Everything was acknowledged; what a tier says while it closes changes none of it.
            if let Err(error) = tier.close().await {
                tracing::warn!(tier = %tier.info().name, %error, "a tier did not close cleanly");
            }
        }
        Ok(())
    }
}

fn no_tier(config: &Config) -> Error {
    let (message, hint) = if config.embedded {
        (
            "there is no place for the SQLite file: the environment names no home directory",
            "set HOME, or name the file by --data-file or `sqlite.path`",
        )
    } else {
        (
            "no tier outlives this process: `embedded` is off, and no server is configured",
            "add one by --redis-url or --database-url, or leave out --no-embedded",
        )
    };
    Error::new(ErrorKind::Config, message).hint(hint)
}
