//! What is measured: each tier alone, and the stacks that users build of them.

use std::{
    collections::BTreeMap,
    env, fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use cache_core::{Cache, SystemClock, Tier};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::SqliteTier;
use tempfile::TempDir;

use crate::{bar::Bar, warm};

/// A stack, by what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The near tier alone.
    Near,
    /// SQLite alone, without a near tier.
    Sqlite,
    /// Redis alone, without a near tier.
    Redis,
    /// PostgreSQL alone, without a near tier.
    Postgres,
    /// What needs no server: near and SQLite.
    Embedded,
    /// What a service has: near, Redis and PostgreSQL.
    Services,
}

/// A tier below the near one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// One file.
    Sqlite,
    /// The server that `REDIS_URL` names.
    Redis,
    /// The server that `DATABASE_URL` names.
    Postgres,
}

impl Kind {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 6] =
        [Self::Near, Self::Sqlite, Self::Redis, Self::Postgres, Self::Embedded, Self::Services];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Embedded => "near+sqlite",
            Self::Services => "near+redis+postgres",
        }
    }

    /// Its tiers below the near one, the fastest first.
    #[must_use]
    pub const fn backends(self) -> &'static [Backend] {
        match self {
            Self::Near => &[],
            Self::Sqlite | Self::Embedded => &[Backend::Sqlite],
            Self::Redis => &[Backend::Redis],
            Self::Postgres => &[Backend::Postgres],
            Self::Services => &[Backend::Redis, Backend::Postgres],
        }
    }

    /// Whether it has a near tier.
    #[must_use]
    pub const fn has_near(self) -> bool {
        matches!(self, Self::Near | Self::Embedded | Self::Services)
    }

    /// The environment variables that it needs and that are not set.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        let variables = self.backends().iter().filter_map(|backend| backend.variable());
        variables.filter(|variable| url(variable).is_none()).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.with_context(|| format!("there is no stack `{name}`; choose one of {names}"))
    }
}

impl Backend {
    /// The variable with the address of its server, if it needs one.
    #[must_use]
    pub const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Redis => Some("REDIS_URL"),
            Self::Postgres => Some("DATABASE_URL"),
        }
    }

    async fn open(self, directory: &TempDir) -> Result<Arc<dyn Tier>> {
        let address = self.variable().map_or_else(|| Ok(String::new()), required)?;
        Ok(match self {
            Self::Sqlite => SqliteTier::open(directory.path().join("cache.sqlite"))?,
            Self::Redis => {
                RedisTier::connect(&RedisConfig::new(address), SystemClock::shared()).await?
            }
            Self::Postgres => {
                let config = PostgresConfig::new(address);
                PostgresTier::connect(&config, SystemClock::shared()).await?
            }
        })
    }
}

/// The value of an environment variable; an empty one counts as none.
#[must_use]
pub fn url(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|url| !url.is_empty())
}

fn required(variable: &str) -> Result<String> {
    url(variable).with_context(|| format!("{variable} is not set"))
}

/// Opened tiers. Caches that are built of them share connections, and nothing else: each has a
/// namespace of its own.
#[derive(Debug)]
pub struct Tiers {
    opened: BTreeMap<Backend, Arc<dyn Tier>>,
    /// What namespaces begin with, different for every process.
    prefix: String,
    namespaces: AtomicU32,
    /// Where SQLite's file is. Dropped last.
    _directory: TempDir,
}

impl Tiers {
    /// Opens what `kinds` need.
    ///
    /// # Errors
    ///
    /// A variable is not set, or a tier cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// Leaves nothing behind when dropped.
    pub async fn open(kinds: &[Kind]) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut opened = BTreeMap::new();
        for backend in kinds.iter().flat_map(|kind| kind.backends()) {
            if !opened.contains_key(backend) {
                opened.insert(*backend, backend.open(&directory).await?);
            }
        }
        let prefix = format!("bench-{:08x}", rand::random::<u32>());
        Ok(Self { opened, prefix, namespaces: AtomicU32::new(0), _directory: directory })
    }

    /// One opened tier.
    #[must_use]
    pub fn tier(&self, backend: Backend) -> Option<&Arc<dyn Tier>> {
        self.opened.get(&backend)
    }

    /// A namespace that nobody else uses.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("{}-{}", self.prefix, self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    /// A stack in a namespace of its own.
    ///
    /// # Errors
    ///
    /// One of its tiers was not opened.
    pub fn stack(&self, kind: Kind) -> Result<Stack> {
        let namespace = self.namespace();
        let mut tiers = Vec::new();
        for backend in kind.backends() {
            match self.tier(*backend) {
                Some(tier) => tiers.push(Arc::clone(tier)),
                None => bail!("{kind} needs {backend:?}, which was not opened"),
            }
        }
        let cache = cache(&namespace, kind.has_near(), &tiers)?;
        Ok(Stack { kind, namespace, tiers, cache })
    }

    /// Closes every tier.
    ///
    /// # Errors
    ///
    /// A tier could not finish what it had accepted.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves some tiers open.
    pub async fn close(&self) -> Result<()> {
        for tier in self.opened.values() {
            tier.close().await?;
        }
        Ok(())
    }
}

/// One stack: a cache, and ways around it.
#[derive(Debug)]
pub struct Stack {
    kind: Kind,
    namespace: String,
    tiers: Vec<Arc<dyn Tier>>,
    cache: Cache<Bar>,
}

impl Stack {
    /// Which one it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its users call.
    #[must_use]
    pub const fn cache(&self) -> &Cache<Bar> {
        &self.cache
    }

    /// The cache, and each tier below the near one alone: an acknowledged write must be found in the first and the last.
    ///
    /// # Errors
    ///
    /// A cache cannot be built.
    pub fn views(&self) -> Result<Vec<Cache<Bar>>> {
        let alone = |tier| cache(&self.namespace, false, std::slice::from_ref(tier));
        let mut views = vec![self.cache.clone()];
        for tier in &self.tiers {
            views.push(alone(tier)?);
        }
        Ok(views)
    }
}

fn cache(namespace: &str, has_near: bool, tiers: &[Arc<dyn Tier>]) -> Result<Cache<Bar>> {
    let builder = Cache::builder(namespace).ttl(warm::ttl());
    let builder = if has_near { builder } else { builder.without_near() };
    let builder = tiers.iter().fold(builder, |builder, tier| builder.tier(Arc::clone(tier)));
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_found_by_its_name_and_another_name_lists_them() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        }
        let error = "disk".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("`disk`") && error.contains("near+redis+postgres"), "{error}");
    }

    #[tokio::test]
    async fn two_stacks_of_one_tier_share_nothing() {
        let tiers = Tiers::open(&[Kind::Sqlite, Kind::Embedded]).await.unwrap();
        let [a, b] = [Kind::Sqlite, Kind::Embedded].map(|kind| tiers.stack(kind).unwrap());
        let bar = crate::market::Market::shipped().unwrap().bars()[0].clone();
        a.cache().insert("AAPL", bar.clone()).await.unwrap();
        assert!(b.cache().get("AAPL").await.unwrap().is_none());
        for view in a.views().unwrap() {
            assert_eq!(*view.get("AAPL").await.unwrap().unwrap(), bar);
        }
        assert!(tiers.stack(Kind::Redis).is_err());
        tiers.close().await.unwrap();
    }
}
