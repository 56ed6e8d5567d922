//! What refilling a tier from the one below it does to live traffic, on real servers: a private
//! Redis that is flushed under load, above a PostgreSQL that keeps everything.

mod fight;
mod server;
mod traffic;
mod truth;
mod unwell;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use cache_core::{Cache, LatencySummary, SystemClock, Tier, TierStats};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_warmer::{Plan, Report, Source, Warmer, WarmerConfig};
use tokio::time::sleep;

use self::{
    fight::{Fought, fight},
    server::Redis,
    traffic::Traffic,
    truth::{Truth, value},
    unwell::Ailment,
};

/// The longest that a refill may take.
const REFILL_MAX: Duration = Duration::from_secs(180);

/// What is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where PostgreSQL is.
    pub database_url: String,
    /// A schema of its own, which is left behind.
    pub schema: String,
    /// Keys.
    pub keys: usize,
    /// Which of them are read how often.
    pub reads: Reads,
    /// Tasks that read.
    pub readers: usize,
    /// The pause of each between two reads.
    pub think: Duration,
    /// How long the load is watched before the flush, and again after the refill.
    pub watch: Duration,
    /// For how long a warmer then asks each of the sources that are not well.
    pub unwell: Duration,
    /// How long writers, copies and flushes are let loose on each other after that.
    pub fight: Duration,
}

/// Which keys are read how often. The plan has them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All alike.
    Uniform,
    /// By Zipf's law with YCSB's exponent of 0.99.
    Zipf,
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
    /// Live reads by phase, the undisturbed ones first.
    pub phases: Vec<(String, LatencySummary)>,
    /// What became of the keys of each source that was not well.
    pub unwell: Vec<(String, Report)>,
    /// What came of the fight.
    pub fought: Fought,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| ratio * 100.0;
        writeln!(f, "hit ratio of Redis before {:.2} %", percent(self.hit_ratio_before))?;
        writeln!(f, "hit ratio of Redis after  {:.2} %", percent(self.hit_ratio_after))?;
        writeln!(f, "refilled after            {:.2?}", self.refilled_in)?;
        writeln!(f, "calls of the source       {}", self.source_calls)?;
        let undisturbed = self.phases[0].1.p99_us.max(1.0);
        for (phase, reads) in &self.phases {
            writeln!(
                f,
                "{phase:<24} {:>8} reads, p50 {:>6.0} µs, p99 {:>6.0} µs, {:.2} of undisturbed",
                reads.count,
                reads.p50_us,
                reads.p99_us,
                reads.p99_us / undisturbed,
            )?;
        }
        writeln!(f, "{}", self.refill)?;
        for (ailment, report) in &self.unwell {
            writeln!(f, "source, {ailment}:\n{report}")?;
        }
        writeln!(f, "{}", self.fought)
    }
}

/// The tiers and what is built of them.
struct Bench<'a> {
    settings: &'a Settings,
    server: Redis,
    tiers: [Arc<dyn Tier>; 2],
    cache: Cache<String>,
    truth: Arc<Truth>,
    warmer: Warmer<String>,
    plan: Plan,
    phases: Vec<(String, LatencySummary)>,
}

/// Runs it all.
///
/// # Errors
///
/// When a server is not there or fails, or a false value is found.
///
/// # Cancel safety
///
/// A dropped future ends the private Redis, and leaves the schema behind.
pub async fn run(settings: &Settings) -> Result<Figures> {
    let mut bench = Bench::begin(settings).await?;
    let traffic = Traffic::begin(settings, &bench.cache, &bench.truth, &bench.plan);
    sleep(settings.watch / 4).await;
    let hit_ratio_before = bench.watch("undisturbed", &traffic).await;
    let calls = bench.truth.calls.load(Ordering::Relaxed);
    let (refill, refilled_in) = bench.refill(&traffic).await?;
    let hit_ratio_after = bench.watch("after it", &traffic).await;
    bench.server.flush()?;
    bench.watch("flushed, not refilled", &traffic).await;
    let source_calls = bench.truth.calls.load(Ordering::Relaxed) - calls;
    let mut unwell = Vec::new();
    if !settings.unwell.is_zero() {
        bench.warmer.refill(&bench.plan, "redis").await;
        for ailment in Ailment::ALL {
            traffic.take();
            let report = unwell::warm(&bench.cache, ailment, settings.unwell).await?;
            bench.phases.push((format!("source, {ailment}"), traffic.take().summary()));
            unwell.push((ailment.to_string(), report));
        }
    }
    let fought = fight(&bench).await?;
    traffic.end().await?;
    bench.cache.shutdown(Duration::from_secs(10)).await?;
    for tier in &bench.tiers {
        tier.close().await?;
    }
    let phases = bench.phases;
    Ok(Figures {
        hit_ratio_before,
        hit_ratio_after,
        refilled_in,
        refill,
        source_calls,
        phases,
        unwell,
        fought,
    })
}

impl<'a> Bench<'a> {
    /// Servers with all keys in them.
    async fn begin(settings: &'a Settings) -> Result<Self> {
        let server = Redis::start().await?;
        let clock = SystemClock::shared();
        let redis = RedisConfig::new(format!("redis://127.0.0.1:{}", server.port));
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
            .load_timeout(Duration::from_secs(1))
            .build()?;
        let truth = Arc::new(Truth::default());
        let source = Arc::clone(&truth) as Arc<dyn Source<String>>;
        let warmer = Warmer::new(cache.clone(), source, WarmerConfig::default())?;
        let plan = Plan::new((0..settings.keys).map(|i| format!("k{i}")))?;
        for keys in plan.keys().chunks(1_000) {
            let items = keys.iter().map(|key| (key.clone(), value(key, truth.next(key))));
            cache.insert_many(items).await?;
        }
        Ok(Self { settings, server, tiers, cache, truth, warmer, plan, phases: Vec::new() })
    }

    /// Watches live reads for a while: the share that Redis answered.
    async fn watch(&mut self, phase: &str, traffic: &Traffic) -> f64 {
        traffic.take();
        let before = self.redis().await;
        sleep(self.settings.watch).await;
        self.phases.push((phase.to_owned(), traffic.take().summary()));
        let now = self.redis().await;
        let (hits, misses) = (now.hits - before.hits, now.misses - before.misses);
        hits as f64 / (hits + misses).max(1) as f64
    }

    async fn redis(&self) -> TierStats {
        self.cache.stats().await.tiers[0].clone()
    }

    /// Flushes Redis, and waits until it was refilled.
    async fn refill(&mut self, traffic: &Traffic) -> Result<(Report, Duration)> {
        let refilling = self.warmer.spawn_refill(&self.plan, "redis");
        traffic.take();
        self.server.flush()?;
        let flushed = Instant::now();
        let report = loop {
            if let Some(report) = self.warmer.stats().plans.get("refill of redis") {
                break report.clone();
            }
            ensure!(flushed.elapsed() < REFILL_MAX, "not refilled within {REFILL_MAX:?}");
            sleep(Duration::from_millis(5)).await;
        };
        let refilled_in = flushed.elapsed();
        self.phases.push(("refill".to_owned(), traffic.take().summary()));
        drop(refilling);
        Ok((report, refilled_in))
    }
}
