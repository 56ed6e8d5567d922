//! The tiers below the near one.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use cache_benches::{resident::resident, stacks::url};
use cache_core::{
    ByteSize, Clock, CodecId, Condition, Entry, Key, MemoryTier, Namespace, Put, PutOutcome,
    SystemClock, Tier, Ttl,
};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::{SqliteConfig, SqliteTier};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::subject::{Growing, Subject, anywhere, payload, text};

/// Entries of one call.
const BATCH: u64 = 500;
/// Who read at the same time, and how much together.
const READERS: u64 = 64;
const HITS: u64 = 40_000;

/// A tier, and where its bytes are.
pub(crate) struct TierSubject {
    tier: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
    namespace: Namespace,
    place: Place,
}

enum Place {
    Process,
    Files(TempDir),
    Redis,
    Postgres { client: tokio_postgres::Client, schema: String },
}

impl TierSubject {
    pub(crate) async fn open(subject: Subject) -> Result<Self> {
        let clock = SystemClock::shared();
        let room = ByteSize::mib(16 << 10);
        let address = subject.variable().map(|variable| url(variable).context(variable));
        let address = address.transpose()?.unwrap_or_default();
        let (tier, place): (Arc<dyn Tier>, Place) = match subject {
            Subject::Sqlite => {
                let directory = tempfile::tempdir()?;
                let path = directory.path().join("cache.sqlite");
                let config = SqliteConfig { bytes_max: room, ..SqliteConfig::new(path) };
                (SqliteTier::with_config(&config, clock.clone())?, Place::Files(directory))
            }
            Subject::Redis => {
                let config = RedisConfig::new(address);
                (RedisTier::connect(&config, clock.clone()).await?, Place::Redis)
            }
            Subject::Postgres => {
                let schema = format!("growth_{}", std::process::id());
                let config = PostgresConfig {
                    schema: schema.clone(),
                    ..PostgresConfig::new(address.clone())
                };
                let tier = PostgresTier::connect(&config, clock.clone()).await?;
                let (client, connection) =
                    tokio_postgres::connect(&address, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                (tier, Place::Postgres { client, schema })
            }
            Subject::Near | Subject::Moka | Subject::Memory => {
                (Arc::new(MemoryTier::new(room, clock.clone())), Place::Process)
            }
        };
        let namespace = Namespace::new(&format!("growth-{:08x}", rand::random::<u32>()))?;
        Ok(Self { tier, clock, namespace, place })
    }

    fn key(&self, buffer: &mut String, number: u64) -> Result<Key> {
        Ok(self.namespace.key(text(buffer, number))?)
    }
}

#[async_trait]
impl Growing for TierSubject {
    /// As a cache fills what it has loaded: on the condition that nothing has moved.
    async fn insert(&self, from: u64, to: u64) -> Result<()> {
        let mut buffer = String::new();
        for first in (from..to).step_by(BATCH as usize) {
            let fence = self.tier.get(&self.key(&mut buffer, first)?).await?.fence;
            let condition = Condition::Unmoved(fence);
            let mut puts = Vec::with_capacity(BATCH as usize);
            for number in first..to.min(first + BATCH) {
                let ttl = Ttl::fresh(Duration::from_secs(3_600));
                let entry = Entry::new(payload(number), CodecId(3), self.clock.now(), ttl);
                let key = self.key(&mut buffer, number)?;
                puts.push(Put { key, entry, condition: condition.clone() });
            }
            let outcomes = self.tier.put_many(&puts).await?;
            let refused = outcomes.iter().find(|outcome| **outcome != PutOutcome::Stored);
            ensure!(refused.is_none(), "an entry was answered by {refused:?}");
        }
        Ok(())
    }

    async fn hit(&self, entries: u64, count: u64) -> Result<()> {
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let (tier, namespace) = (Arc::clone(&self.tier), self.namespace.clone());
            readers.spawn(async move {
                let mut buffer = String::new();
                let numbers = anywhere(entries, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(reader + 1));
                for number in numbers.take((count / READERS) as usize) {
                    let key = namespace.key(text(&mut buffer, number))?;
                    let entry = tier.get(&key).await?.entry;
                    ensure!(entry.is_some(), "{key} is gone");
                }
                Ok(())
            });
        }
        while let Some(read) = readers.join_next().await {
            read??;
        }
        Ok(())
    }

    fn hits(&self) -> u64 {
        HITS
    }

    async fn bytes(&self) -> Result<u64> {
        match &self.place {
            Place::Process => resident("self"),
            Place::Files(directory) => on_disk(directory.path()),
            Place::Redis => self.tier.usage().await?.bytes.context("Redis tells its used_memory"),
            Place::Postgres { client, schema } => {
                let size = format!("SELECT pg_total_relation_size('{schema}.entries')");
                let bytes: i64 = client.query_one(&size, &[]).await?.get(0);
                Ok(bytes.unsigned_abs())
            }
        }
    }

    async fn clean(&self) -> Result<()> {
        self.tier.clear(&self.namespace).await?;
        self.tier.close().await?;
        if let Place::Postgres { client, schema } = &self.place {
            client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
        }
        Ok(())
    }
}

/// What the files of a directory take.
fn on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(directory)? {
        bytes += file?.metadata().map_or(0, |file| file.len());
    }
    Ok(bytes)
}
