//! `stats`: what each tier holds, and how fast it answers.

use std::{fmt, time::Instant};

use anyhow::Result;
use cache_core::{Durability, LatencyHistogram, LatencySummary, Pressure, Scope, Tier, Usage};
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    exit::Exit,
    output::{self, Align, Table},
};

/// Print what each configured tier holds and how fast it answers
///
/// The near tier is not listed: each process has its own, and this one's is empty. Counters of hits
/// and misses live in the processes that read, see `Cache::stats`. With `--format json`: an array
/// with one object a tier: `name`, `scope`, `durability`, `usage`, `pressure`, `ping`. Evictions of
/// PostgreSQL and SQLite count since their tables were made, those of Redis since it started, by the
/// bound that asked for them where the tier evicts by itself.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli stats
  cache-cli stats --pings 200 --format json"
)]
pub(crate) struct Stats {
    /// How often each tier is asked whether it answers
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pings: u32,
}

impl Stats {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let session = context.session().await?;
        let mut tiers = Vec::new();
        for tier in &session.tiers {
            let info = tier.info();
            let usage = tier.usage().await?;
            tiers.push(TierReport {
                name: info.name.to_string(),
                scope: scope(info.scope),
                durability: durability(info.durability),
                pressure: share(usage),
                usage,
                ping: ping(&**tier, self.pings).await?,
            });
        }
        session.close(&[]).await?;
        context.format.print(&Report(tiers))?;
        Ok(Exit::Done)
    }
}

/// How long a tier takes to answer, one ping after the other.
pub(super) async fn ping(tier: &dyn Tier, pings: u32) -> cache_core::Result<LatencySummary> {
    let mut latencies = LatencyHistogram::new();
    for _ in 0..pings {
        let started = Instant::now();
        tier.ping().await?;
        latencies.record(started.elapsed(), 1);
    }
    Ok(latencies.summary())
}

/// Which part of its room a tier uses; nothing where it has no limit.
fn share(usage: Usage) -> Option<f64> {
    let pressure = Pressure { used: usage.bytes?, limit: usage.bytes_max? };
    Some(pressure.share())
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Report(Vec<TierReport>);

#[derive(Debug, Serialize)]
struct TierReport {
    name: String,
    scope: &'static str,
    durability: &'static str,
    usage: Usage,
    /// Which part of its room is used.
    pressure: Option<f64>,
    ping: LatencySummary,
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Process => "process",
        Scope::Machine => "machine",
        Scope::Network => "network",
    }
}

const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Volatile => "volatile",
        Durability::Relaxed => "relaxed",
        Durability::Full => "full",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("tier", Align::Left),
            ("scope", Align::Left),
            ("durability", Align::Left),
            ("entries", Align::Right),
            ("bytes", Align::Right),
            ("of", Align::Right),
            ("evicted", Align::Right),
            ("for bytes/entries/pressure", Align::Right),
            ("pressure", Align::Right),
            ("ping p50, µs", Align::Right),
            ("p95", Align::Right),
            ("p99", Align::Right),
            ("max", Align::Right),
        ]);
        let us = |us: f64| format!("{us:.0}");
        for TierReport { name, scope, durability, usage, pressure, ping } in &self.0 {
            table.row(&[
                name.clone(),
                (*scope).to_owned(),
                (*durability).to_owned(),
                output::number(usage.entries),
                output::size(usage.bytes),
                output::size(usage.bytes_max),
                output::number(usage.evictions),
                usage.evicted.map_or_else(
                    || output::number(None),
                    |by| format!("{}/{}/{}", by.bytes, by.entries, by.pressure),
                ),
                pressure.map_or_else(
                    || output::number(None),
                    |share| format!("{:.0} %", share * 100.0),
                ),
                us(ping.p50_us),
                us(ping.p95_us),
                us(ping.p99_us),
                us(ping.max_us),
            ]);
        }
        fmt::Display::fmt(&table, f)
    }
}
