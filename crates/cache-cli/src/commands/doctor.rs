//! `doctor`: what is well, what could be better, and what is wrong, with what to change.

mod check;
mod coherence;
mod postgres;
mod redis;
mod settings;
mod sqlite;

use std::sync::Arc;

use anyhow::Result;
use cache_core::{ByteSize, Clock, PressureGauge, SystemClock, Tier};
use cache_postgres::PostgresTier;
use cache_redis::RedisTier;
use cache_sqlite::SqliteTier;
use clap::Args;

use self::check::{Check, Examination};
use super::{Context, stats};
use crate::{exit::Exit, wiring::Backend};

/// How often each tier is asked whether it answers.
const PINGS: u32 = 20;

/// The median answer from which on a cache may cost more than it saves.
const PING_SLOW_US: f64 = 5_000.0;

/// Check the configuration and every configured tier, and say what to change
///
/// Each check is ok, an advice (it works, and could be better) or a fault (it does not work, or a
/// promise of the cache does not hold). With `--format json`: an array of `part`, `check`,
/// `verdict`, `found`, `change`.
///
/// Looks only, with two exceptions: a database or a file without the cache's tables is given them,
/// as by every other command, and each tier is given a sign of life and a lease that ends at once,
/// to see that other processes would hear of a change and wait for a load. Exits with 4 when there
/// is a fault.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli doctor
  cache-cli --redis-url redis://127.0.0.1 doctor --format json"
)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let config = context.config()?;
        let backends = Backend::configured(&config);
        let clock = SystemClock::shared();
        let mut examination = Examination::default();
        settings::examine(&config, &backends, &mut examination);
        for backend in backends {
            let threshold = config.cache_memory_pressure_threshold;
            examine(backend, threshold, &clock, &mut examination).await;
        }
        context.format.print(&examination)?;
        Ok(if examination.has_fault() { Exit::Tier } else { Exit::Done })
    }
}

/// Looks at one tier. One that cannot be made or reached is a fault like others.
async fn examine(
    backend: Backend<'_>,
    threshold: f64,
    clock: &Arc<dyn Clock>,
    examination: &mut Examination,
) {
    let (part, result) = match backend {
        Backend::Redis(config) => ("redis", examine_redis(config, threshold, clock).await),
        Backend::Postgres(config) => ("postgres", examine_postgres(config, threshold, clock).await),
        Backend::Sqlite(config) => ("sqlite", examine_sqlite(config, threshold, clock).await),
    };
    match result {
        Ok(checks) => examination.add(part, checks),
        Err(error) => examination.add(part, vec![Check::fault("reachable", error.to_string(), "")]),
    }
}

async fn examine_redis(
    config: &cache_redis::RedisConfig,
    threshold: f64,
    clock: &Arc<dyn Clock>,
) -> cache_core::Result<Vec<Check>> {
    let tier = RedisTier::connect_lazy(config, Arc::clone(clock))?;
    let report = tier.inspect().await?;
    let mut checks = vec![reachable(&*tier, &config.url.to_string()).await?];
    checks.extend(redis::judge(&report, config));
    checks.push(pressure(&*tier, threshold).await?);
    let kept = format!("{} changes are kept", config.log_len_max);
    checks.extend(coherence::examine(&*tier, &kept).await);
    tier.close().await?;
    Ok(checks)
}

async fn examine_postgres(
    config: &cache_postgres::PostgresConfig,
    threshold: f64,
    clock: &Arc<dyn Clock>,
) -> cache_core::Result<Vec<Check>> {
    let tier = PostgresTier::connect(config, Arc::clone(clock)).await?;
    let report = tier.inspect().await?;
    let mut checks = vec![reachable(&*tier, &config.url.to_string()).await?];
    checks.extend(postgres::judge(&report, config));
    checks.push(pressure(&*tier, threshold).await?);
    let kept = format!("{} changes of {} are kept", config.log_len_max, config.log_retention);
    checks.extend(coherence::examine(&*tier, &kept).await);
    tier.close().await?;
    Ok(checks)
}

async fn examine_sqlite(
    config: &cache_sqlite::SqliteConfig,
    threshold: f64,
    clock: &Arc<dyn Clock>,
) -> cache_core::Result<Vec<Check>> {
    let tier = SqliteTier::with_config(config, Arc::clone(clock))?;
    let report = tier.inspect().await?;
    let mut checks = vec![reachable(&*tier, &config.path.display().to_string()).await?];
    checks.extend(sqlite::judge(&report, config));
    checks.push(pressure(&*tier, threshold).await?);
    let kept = format!("looked for every {}", config.log_poll);
    checks.extend(coherence::examine(&*tier, &kept).await);
    tier.close().await?;
    Ok(checks)
}

/// How near a tier is to the end of its room.
async fn pressure(gauge: &dyn PressureGauge, threshold: f64) -> cache_core::Result<Check> {
    let pressure = gauge.read().await?;
    if pressure.limit == 0 {
        return Ok(Check::ok("pressure", "none, as there is no limit"));
    }
    let (used, limit) = (ByteSize::bytes(pressure.used), ByteSize::bytes(pressure.limit));
    let found = format!("{used} of {limit}, {:.0} %", pressure.share() * 100.0);
    Ok(if pressure.share() > threshold {
        let change = "give it more room, or let entries live for a shorter time; \
                      `cache_memory_pressure_threshold` says from where on this is told";
        Check::advice("pressure", found, change)
    } else {
        Check::ok("pressure", found)
    })
}

/// How fast a tier answers that does.
async fn reachable(tier: &dyn Tier, place: &str) -> cache_core::Result<Check> {
    let latency = stats::ping(tier, PINGS).await?;
    let found = format!(
        "{place} answers in {:.0} µs (p50), {:.0} µs (p99)",
        latency.p50_us, latency.p99_us
    );
    Ok(if latency.p50_us > PING_SLOW_US {
        let change = "move it nearer to the programs that use it, or look at its load";
        Check::advice("reachable", found, change)
    } else {
        Check::ok("reachable", found)
    })
}
