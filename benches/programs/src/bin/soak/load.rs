//! The load: so many operations a second, of every kind, on more values than the tiers may hold.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use cache_benches::{
    popularity::Zipf,
    stacks::{Kind, url},
};
use cache_core::{ByteSize, Cache, Raw, SystemClock, Tier};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::{SqliteConfig, SqliteTier};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval},
};

/// Operations a second.
const RATE: u64 = 2_000;
const TICK: Duration = Duration::from_millis(10);
/// Beyond so many that have not been answered, an operation is left out and counted.
const UNDER_WAY_MAX: usize = 2_000;
/// Different values, about 1 KiB each: more than fit anywhere.
const KEYS: usize = 40_000;
const NEAR: ByteSize = ByteSize::mib(8);
const SQLITE: ByteSize = ByteSize::mib(24);
/// Short, so that values expire and are loaded again as well.
const TTL: Duration = Duration::from_secs(20);

/// What became of the operations.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    operations: u64,
    failed: u64,
    left_out: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, failed, left_out } = self;
        write!(f, "{operations} operations, {failed} failed, {left_out} left out")
    }
}

#[derive(Debug, Default)]
struct Counts {
    operations: AtomicU64,
    failed: AtomicU64,
    left_out: AtomicU64,
}

/// Loads a stack for so long.
pub(crate) async fn run(kind: Kind, lasting: Duration) -> Result<Done> {
    let soaked = open(kind).await?;
    let (counts, popularity) = (Arc::new(Counts::default()), Zipf::new(KEYS, 0.7));
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut rng = SmallRng::seed_from_u64(42);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let until = Instant::now() + lasting;
    while Instant::now() < until {
        ticks.tick().await;
        for _ in 0..RATE / (1_000 / TICK.as_millis() as u64) {
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                counts.left_out.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (cache, counts) = (soaked.cache.clone(), Arc::clone(&counts));
            let (key, dice) = (popularity.pick(&mut rng), rng.random_range(0..100));
            tokio::spawn(async move {
                let is_good = operation(&cache, key, dice).await;
                counts.operations.fetch_add(1, Ordering::Relaxed);
                counts.failed.fetch_add(u64::from(!is_good), Ordering::Relaxed);
                drop(permit);
            });
        }
    }
    // All that is under way has ended when all permits are back.
    drop(room.acquire_many(UNDER_WAY_MAX as u32).await?);
    soaked.clean().await?;
    let [operations, failed, left_out] = [&counts.operations, &counts.failed, &counts.left_out]
        .map(|count| count.load(Ordering::Relaxed));
    Ok(Done { operations, failed, left_out })
}

/// Four reads in five, of which those that miss load; the rest writes, invalidates and reads many.
async fn operation(cache: &Cache<Bytes>, number: usize, dice: u32) -> bool {
    let key = format!("key-{number}");
    match dice {
        0..80 => {
            let loader = move || async move { Ok::<_, std::convert::Infallible>(value(number)) };
            cache.get_or_load(&key, loader).await.is_ok()
        }
        80..94 => cache.insert(&key, value(number)).await.is_ok(),
        94..97 => cache.invalidate(&key).await.is_ok(),
        _ => {
            let keys: Vec<String> =
                (0..20).map(|next| format!("key-{}", (number + next) % KEYS)).collect();
            cache.get_many(&keys).await.is_ok()
        }
    }
}

/// From 100 to 1,900 bytes.
fn value(number: usize) -> Bytes {
    Bytes::from(vec![number as u8; 100 + number * 7_919 % 1_800].into_boxed_slice())
}

/// A stack under load, and what must be taken away afterwards.
struct Soaked {
    cache: Cache<Bytes>,
    tiers: Vec<Arc<dyn Tier>>,
    schema: Option<(String, String)>,
    /// Where SQLite's file is. Dropped last.
    _directory: TempDir,
}

async fn open(kind: Kind) -> Result<Soaked> {
    let directory = tempfile::tempdir()?;
    let clock = SystemClock::shared();
    let (mut tiers, mut schema): (Vec<Arc<dyn Tier>>, _) = (Vec::new(), None);
    if kind == Kind::Services {
        let redis = url("REDIS_URL").context("REDIS_URL is not set")?;
        let postgres = url("DATABASE_URL").context("DATABASE_URL is not set")?;
        let name = format!("soak_{}", std::process::id());
        tiers.push(RedisTier::connect(&RedisConfig::new(redis), clock.clone()).await?);
        let config = PostgresConfig { schema: name.clone(), ..PostgresConfig::new(&postgres) };
        tiers.push(PostgresTier::connect(&config, clock.clone()).await?);
        schema = Some((postgres, name));
    } else {
        let path = directory.path().join("cache.sqlite");
        let config = SqliteConfig { bytes_max: SQLITE, ..SqliteConfig::new(path) };
        tiers.push(SqliteTier::with_config(&config, clock.clone())?);
    }
    let namespace = format!("soak-{:08x}", rand::random::<u32>());
    let builder = Cache::builder_with(&namespace, Raw).near(NEAR).ttl(TTL).clock(clock);
    let builder = tiers.iter().fold(builder, |builder, tier| builder.tier(Arc::clone(tier)));
    Ok(Soaked { cache: builder.build()?, tiers, schema, _directory: directory })
}

impl Soaked {
    async fn clean(self) -> Result<()> {
        self.cache.shutdown(Duration::from_secs(10)).await?;
        for tier in &self.tiers {
            tier.clear(self.cache.namespace()).await?;
            tier.close().await?;
        }
        if let Some((url, schema)) = &self.schema {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
        }
        Ok(())
    }
}
