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
    /// What befalls the live reads then, one after the other.
    pub parts: Vec<Part>,
}

/// What befalls live reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Redis is flushed: so often and refilled with heed of live reads, then once and not refilled,
    /// and once and refilled without heed.
    Refill(usize),
    /// For so long each a warmer asks sources that are not well.
    Unwell(Duration),
    /// For so long writers, copies and flushes are let loose on each other.
    Fight(Duration),
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
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Live reads by phase, the undisturbed ones first.
    pub phases: Vec<(String, LatencySummary)>,
    /// What came of the flushes.
    pub refilled: Option<Refilled>,
    /// What became of the keys of each source that was not well.
    pub unwell: Vec<(String, Report)>,
    /// What came of the fight.
    pub fought: Option<Fought>,
}

/// What came of the flushes.
#[derive(Clone, Debug)]
pub struct Refilled {
    /// The share of reads that Redis answered before the first one.
    pub hit_ratio_before: f64,
    /// What each refill came to.
    pub rounds: Vec<Round>,
    /// The time of a refill that lets live reads become a thousand times slower.
    pub heedlessly_within: Duration,
    /// Calls of the source since the first flush.
    pub source_calls: u64,
}

/// What one refill came to.
#[derive(Clone, Debug)]
pub struct Round {
    /// The 99th percentile of live reads while it lasted, of the mean of those right before the
    /// flush and right after the refill: what else the machine does in these seconds meets both.
    pub slowdown: f64,
    /// The share of reads that Redis answered after it.
    pub hit_ratio_after: f64,
    /// From the flush until the refill had ended.
    pub within: Duration,
    /// What it did.
    pub report: Report,
}

impl Refilled {
    /// The slowdown of the round in the middle.
    #[must_use]
    pub fn median_slowdown(&self) -> f64 {
        let mut slowdowns: Vec<f64> = self.rounds.iter().map(|round| round.slowdown).collect();
        slowdowns.sort_unstable_by(f64::total_cmp);
        slowdowns.get(slowdowns.len() / 2).copied().unwrap_or(1.0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undisturbed = self.phases.first().map_or(1.0, |(_, reads)| reads.p99_us.max(1.0));
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
        if let Some(refilled) = &self.refilled {
            writeln!(f, "{refilled}")?;
        }
        for (ailment, report) in &self.unwell {
            writeln!(f, "source, {ailment}:\n{report}")?;
        }
        match &self.fought {
            Some(fought) => writeln!(f, "{fought}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hit ratio of Redis before {:.2} %", self.hit_ratio_before * 100.0)?;
        for round in &self.rounds {
            let Round { slowdown, hit_ratio_after, within, report } = round;
            writeln!(
                f,
                "refilled within {within:.2?}, hit ratio then {:.2} %, p99 meanwhile {slowdown:.2} of \
                 before and after\n{report}",
                hit_ratio_after * 100.0,
            )?;
        }
        writeln!(f, "median p99 meanwhile      {:.2}", self.median_slowdown())?;
        writeln!(f, "without heed within       {:.2?}", self.heedlessly_within)?;
        write!(f, "calls of the source       {}", self.source_calls)
    }
}

/// The tiers and what is built of them.
struct Bench<'a> {
    settings: &'a Settings,
    server: Redis,
    tiers: [Arc<dyn Tier>; 2],
    cache: Cache<String>,
    truth: Arc<Truth>,
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
    let hit_ratio = bench.watch("undisturbed", &traffic).await;
    let mut figures = Figures::default();
    for part in &settings.parts {
        match part {
            Part::Refill(rounds) => {
                figures.refilled = Some(bench.flushes(*rounds, hit_ratio, &traffic).await?);
            }
            Part::Unwell(time) => figures.unwell = bench.unwell(*time, &traffic).await?,
            Part::Fight(time) => figures.fought = Some(fight(&bench, *time).await?),
        }
    }
    traffic.end().await?;
    bench.cache.shutdown(Duration::from_secs(10)).await?;
    for tier in &bench.tiers {
        tier.close().await?;
    }
    Ok(Figures { phases: bench.phases, ..figures })
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
        let plan = Plan::new((0..settings.keys).map(|i| format!("k{i}")))?;
        for keys in plan.keys().chunks(1_000) {
            let items = keys.iter().map(|key| (key.clone(), value(key, truth.next(key))));
            cache.insert_many(items).await?;
        }
        Ok(Self { settings, server, tiers, cache, truth, plan, phases: Vec::new() })
    }

    async fn flushes(
        &mut self,
        rounds: usize,
        hit_ratio_before: f64,
        traffic: &Traffic,
    ) -> Result<Refilled> {
        let calls = self.truth.calls.load(Ordering::Relaxed);
        let mut done = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let before = self.last_p99();
            let (report, within) = self.refill(&self.warmer(1.5)?, "refill", traffic).await?;
            let during = self.last_p99();
            let hit_ratio_after = self.watch("after it", traffic).await;
            let slowdown = during / f64::midpoint(before, self.last_p99());
            done.push(Round { slowdown, hit_ratio_after, within, report });
        }
        self.server.flush()?;
        self.watch("flushed, not refilled", traffic).await;
        let heedless = self.warmer(1_000.0)?;
        let (_, heedlessly_within) = self.refill(&heedless, "refill, heedless", traffic).await?;
        let source_calls = self.truth.calls.load(Ordering::Relaxed) - calls;
        Ok(Refilled { hit_ratio_before, rounds: done, heedlessly_within, source_calls })
    }

    /// That of the reads of the phase before.
    fn last_p99(&self) -> f64 {
        self.phases.last().map_or(1.0, |(_, reads)| reads.p99_us.max(1.0))
    }

    async fn unwell(&mut self, time: Duration, traffic: &Traffic) -> Result<Vec<(String, Report)>> {
        let mut reports = Vec::new();
        for ailment in Ailment::ALL {
            traffic.take();
            let report = unwell::warm(&self.cache, ailment, time).await?;
            self.phases.push((format!("source, {ailment}"), traffic.take().summary()));
            reports.push((ailment.to_string(), report));
        }
        Ok(reports)
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

    fn warmer(&self, live_slowdown_max: f64) -> Result<Warmer<String>> {
        let source = Arc::clone(&self.truth) as Arc<dyn Source<String>>;
        let config = WarmerConfig { live_slowdown_max, ..WarmerConfig::default() };
        Ok(Warmer::new(self.cache.clone(), source, config)?)
    }

    /// Flushes Redis, and waits until it was refilled.
    async fn refill(
        &mut self,
        warmer: &Warmer<String>,
        phase: &str,
        traffic: &Traffic,
    ) -> Result<(Report, Duration)> {
        let refilling = warmer.spawn_refill(&self.plan, "redis");
        traffic.take();
        self.server.flush()?;
        let flushed = Instant::now();
        let report = loop {
            if let Some(report) = warmer.stats().plans.get("refill of redis") {
                break report.clone();
            }
            ensure!(flushed.elapsed() < REFILL_MAX, "not refilled within {REFILL_MAX:?}");
            sleep(Duration::from_millis(5)).await;
        };
        let refilled_in = flushed.elapsed();
        self.phases.push((phase.to_owned(), traffic.take().summary()));
        drop(refilling);
        Ok((report, refilled_in))
    }
}
