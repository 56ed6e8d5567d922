//! What refilling a tier from the one below it does to live traffic, on real servers: a private
//! Redis that is flushed under load, above a PostgreSQL that keeps everything.

use std::{
    collections::HashMap,
    fmt,
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cache_core::{Cache, Item, LatencyHistogram, LatencySummary, SystemClock, Tier, Version};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_warmer::{Answer, Plan, Report, Source, Warmer, WarmerConfig, load_each};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

/// What is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where PostgreSQL is.
    pub database_url: String,
    /// A schema of its own, which is left behind.
    pub schema: String,
    /// Keys.
    pub keys: usize,
    /// Tasks that read.
    pub readers: usize,
    /// The pause of each between two reads.
    pub think: Duration,
    /// How long the load is watched before the flush, and again after the refill.
    pub watch: Duration,
    /// How long writers, copies and flushes are let loose on each other after that.
    pub fight: Duration,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The share of reads that Redis answered before the flush.
    pub hit_ratio_before: f64,
    /// The same after the refill.
    pub hit_ratio_after: f64,
    /// From the flush until the refill had ended.
    pub refilled_in: Duration,
    /// What the refill did.
    pub refill: Report,
    /// Calls of the source since the flush.
    pub source_calls: u64,
    /// Live reads before the flush.
    pub undisturbed: LatencySummary,
    /// Live reads from the flush to the end of the refill.
    pub during: LatencySummary,
    /// Live reads after it.
    pub after: LatencySummary,
    /// Of the fight: writes that were acknowledged.
    pub writes: u64,
    /// Of the fight: keys that were copied.
    pub copied: u64,
    /// Of the fight: looks at a tier that found a version older than one that had been acknowledged
    /// before.
    pub overwritten: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| ratio * 100.0;
        writeln!(f, "hit ratio of Redis before {:.2} %", percent(self.hit_ratio_before))?;
        writeln!(f, "hit ratio of Redis after  {:.2} %", percent(self.hit_ratio_after))?;
        writeln!(f, "refilled after            {:.2?}", self.refilled_in)?;
        writeln!(f, "calls of the source       {}", self.source_calls)?;
        let phases =
            [("undisturbed", self.undisturbed), ("refill", self.during), ("after", self.after)];
        for (phase, reads) in phases {
            writeln!(
                f,
                "{phase:<12} {:>8} reads, p50 {:>7.0} µs, p99 {:>7.0} µs, {:.2} of undisturbed",
                reads.count,
                reads.p50_us,
                reads.p99_us,
                reads.p99_us / self.undisturbed.p99_us.max(1.0),
            )?;
        }
        writeln!(f, "{}", self.refill)?;
        writeln!(
            f,
            "against writes: {} writes, {} keys copied, {} newer values overwritten",
            self.writes, self.copied, self.overwritten,
        )
    }
}

/// A redis-server on a free port of the loopback interface. It ends with this handle.
struct Redis {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Redis {
    async fn start() -> Result<Self> {
        let directory = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is not on the PATH")?;
        let redis = Self { port, child, _directory: directory };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(redis);
            }
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("redis-server does not answer on port {port}")
    }

    fn flush(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"FLUSHALL\r\n")?;
        let mut answer = [0; 3];
        std::io::Read::read_exact(&mut stream, &mut answer)?;
        ensure!(&answer == b"+OK", "Redis did not flush");
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The truth: the version of each key, and how often it was asked for.
#[derive(Debug, Default)]
struct Truth {
    versions: Mutex<HashMap<String, u64>>,
    calls: AtomicU64,
}

impl Truth {
    fn next(&self, key: &str) -> u64 {
        let mut versions = self.versions.lock();
        let version = versions.entry(key.to_owned()).or_insert(0);
        *version += 1;
        *version
    }

    fn item(&self, key: &str) -> Item<String> {
        let version = self.versions.lock().get(key).copied().unwrap_or(0);
        value(key, version)
    }
}

fn value(key: &str, version: u64) -> Item<String> {
    Item::new(format!("{key} {version} {}", "x".repeat(200))).version(Version(version))
}

#[async_trait::async_trait]
impl Source<String> for Truth {
    async fn load(&self, key: &str) -> Answer<String> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Some(self.item(key)))
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
        load_each(self, keys, 8).await
    }

    fn batch_len_max(&self) -> usize {
        1
    }
}

/// Live reads, and what they took in the present phase.
struct Traffic {
    phase: Mutex<LatencyHistogram>,
    over: AtomicBool,
}

impl Traffic {
    fn begin_phase(&self) -> LatencyHistogram {
        std::mem::take(&mut *self.phase.lock())
    }
}

/// Runs it all.
///
/// # Errors
///
/// When a server is not there or fails.
pub async fn run(settings: &Settings) -> Result<Figures> {
    let redis_server = Redis::start().await?;
    let clock = SystemClock::shared();
    let redis = RedisConfig::new(format!("redis://127.0.0.1:{}", redis_server.port));
    let redis = RedisTier::connect(&redis, Arc::clone(&clock)).await?;
    let mut postgres = PostgresConfig::new(settings.database_url.clone());
    postgres.schema.clone_from(&settings.schema);
    let postgres = PostgresTier::connect(&postgres, clock).await?;
    let tiers: [Arc<dyn Tier>; 2] = [redis, postgres];
    let cache: Cache<String> = tiers
        .iter()
        .fold(Cache::builder("refill"), |builder, tier| builder.tier(Arc::clone(tier)))
        .without_near()
        .ttl(Duration::from_secs(3_600))
        .build()?;
    let truth = Arc::new(Truth::default());
    let source = Arc::clone(&truth) as Arc<dyn Source<String>>;
    let warmer = Warmer::new(cache.clone(), source, WarmerConfig::default())?;
    let plan = Plan::new((0..settings.keys).map(|i| format!("k{i}")))?;
    for keys in plan.keys().chunks(1_000) {
        let items = keys.iter().map(|key| (key.clone(), value(key, truth.next(key))));
        cache.insert_many(items).await?;
    }

    let traffic = Arc::new(Traffic { phase: Mutex::default(), over: AtomicBool::new(false) });
    let mut readers = JoinSet::new();
    for number in 0..settings.readers {
        let (cache, truth, traffic) = (cache.clone(), Arc::clone(&truth), Arc::clone(&traffic));
        let (plan, think) = (plan.clone(), settings.think);
        readers.spawn(async move {
            let mut rng = SmallRng::seed_from_u64(number as u64);
            while !traffic.over.load(Ordering::Relaxed) {
                let key = &plan.keys()[rng.random_range(0..plan.len())];
                let (source, name) = (Arc::clone(&truth), key.clone());
                let began = Instant::now();
                let read = cache.get_or_load(key, || async move {
                    source.load(&name).await.map(|item| item.expect("it has every key"))
                });
                read.await.map_err(|error| anyhow::anyhow!("{error}"))?;
                traffic.phase.lock().record(began.elapsed(), 1);
                sleep(think).await;
            }
            anyhow::Ok(())
        });
    }
    sleep(settings.watch / 4).await;
    traffic.begin_phase();
    let before = cache.stats().await.tiers[0].clone();
    sleep(settings.watch).await;
    let undisturbed = traffic.begin_phase();
    let hit_ratio_before = ratio_since(&before, &cache).await;

    let refilling = warmer.spawn_refill(&plan, "redis");
    let calls = truth.calls.load(Ordering::Relaxed);
    redis_server.flush()?;
    let flushed = Instant::now();
    let limit = Duration::from_secs(120);
    let refill = loop {
        if let Some(report) = warmer.stats().plans.get("refill of redis") {
            break report.clone();
        }
        ensure!(flushed.elapsed() < limit, "Redis was not refilled within {limit:?}");
        sleep(Duration::from_millis(5)).await;
    };
    let refilled_in = flushed.elapsed();
    let during = traffic.begin_phase();
    let before = cache.stats().await.tiers[0].clone();
    sleep(settings.watch).await;
    let after = traffic.begin_phase();
    let hit_ratio_after = ratio_since(&before, &cache).await;
    let source_calls = truth.calls.load(Ordering::Relaxed) - calls;
    drop(refilling);

    let (writes, copied, overwritten) =
        fight(settings, &redis_server, &cache, &tiers, &warmer, &truth, &plan).await?;
    traffic.over.store(true, Ordering::Relaxed);
    while let Some(reader) = readers.join_next().await {
        reader??;
    }
    cache.shutdown(Duration::from_secs(10)).await?;
    for tier in &tiers {
        tier.close().await?;
    }
    Ok(Figures {
        hit_ratio_before,
        hit_ratio_after,
        refilled_in,
        refill,
        source_calls,
        undisturbed: undisturbed.summary(),
        during: during.summary(),
        after: after.summary(),
        writes,
        copied,
        overwritten,
    })
}

async fn ratio_since(before: &cache_core::TierStats, cache: &Cache<String>) -> f64 {
    let now = &cache.stats().await.tiers[0];
    let (hits, misses) = (now.hits - before.hits, now.misses - before.misses);
    hits as f64 / (hits + misses).max(1) as f64
}

/// Writers, refills and flushes at the same time, and a reader of each tier that knows which version
/// was acknowledged before it looked.
async fn fight(
    settings: &Settings,
    redis: &Redis,
    cache: &Cache<String>,
    tiers: &[Arc<dyn Tier>; 2],
    warmer: &Warmer<String>,
    truth: &Arc<Truth>,
    plan: &Plan,
) -> Result<(u64, u64, u64)> {
    let hot = Plan::new(plan.keys().iter().take(64))?;
    let acked = Mutex::new(HashMap::<String, u64>::new());
    let [writes, copied, overwritten] = [(); 3].map(|()| AtomicU64::new(0));
    let end = Instant::now() + settings.fight;
    let write = async |seed: u64| {
        let mut rng = SmallRng::seed_from_u64(seed);
        while Instant::now() < end {
            let key = &hot.keys()[rng.random_range(0..hot.len())];
            let version = truth.next(key);
            let write = if rng.random_bool(0.7) {
                cache.insert(key, value(key, version)).await.map(drop)
            } else {
                cache.invalidate_before(key, Version(version)).await
            };
            // A flush makes calls fail: whether those came about is not known.
            if write.is_ok() {
                writes.fetch_add(1, Ordering::Relaxed);
                let mut acked = acked.lock();
                let known = acked.entry(key.clone()).or_default();
                *known = version.max(*known);
            }
        }
    };
    let copy = async {
        while Instant::now() < end {
            let report = warmer.refill(&hot, "redis").await;
            copied.fetch_add(report.copied, Ordering::Relaxed);
        }
    };
    let look = async {
        let mut rng = SmallRng::seed_from_u64(99);
        while Instant::now() < end {
            let key = &hot.keys()[rng.random_range(0..hot.len())];
            let known = acked.lock().get(key).copied().unwrap_or(0);
            for tier in tiers {
                let Ok(lookup) = tier.get(&cache.namespace().key(key)?).await else { continue };
                let version = lookup.entry.and_then(|entry| entry.version);
                if version.is_some_and(|Version(version)| version < known) {
                    overwritten.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        anyhow::Ok(())
    };
    let flush = async {
        while Instant::now() < end {
            sleep(Duration::from_millis(500)).await;
            redis.flush()?;
        }
        anyhow::Ok(())
    };
    let (_, _, _, looked, flushed) = tokio::join!(write(1), write(2), copy, look, flush);
    looked?;
    flushed?;
    Ok((writes.into_inner(), copied.into_inner(), overwritten.into_inner()))
}
