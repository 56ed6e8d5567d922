//! `limits`: the cache beside the raw limits of what it stands on, in one run.
//!
//! What users call takes turns with what they would call instead: bare clients of the same servers,
//! those servers' own benchmarks, bare maps. Every ratio is of two turns that followed each other.

mod allocations;
mod bare;
mod batches;
mod callers;
mod near;
mod ours;
mod postgres;
mod programs;
mod redis;
mod seed;
mod turns;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use cache_benches::{
    comparison::{Comparison, Row},
    loopback::is_loopback,
};
use cache_core::Span;
use clap::Parser;

use self::{programs::Programs, turns::Pace};

/// Measure the cache beside the raw limits of its parts
///
/// The servers are those that REDIS_URL and DATABASE_URL name. Rows go to the file that --rows names,
/// as JSON; `cargo xtask bench limits` prints and judges them.
#[derive(Debug, Parser)]
#[command(name = "limits")]
struct Arguments {
    /// Only the rows whose name has this in it
    #[arg(default_value = "")]
    filter: String,
    /// Two short turns: for orientation
    #[arg(long)]
    quick: bool,
    /// How many turns each subject has
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    repeats: usize,
    /// How long a turn lasts
    #[arg(long, value_name = "SPAN", default_value = "400ms")]
    turn: Span,
    /// Where the rows go
    #[arg(long, value_name = "PATH")]
    rows: PathBuf,
    /// The program redis-benchmark, where it is not on PATH
    #[arg(long, value_name = "PATH", default_value = "redis-benchmark")]
    redis_benchmark: PathBuf,
    /// The program pgbench, where it is not on PATH
    #[arg(long, value_name = "PATH", default_value = "pgbench")]
    pgbench: PathBuf,
}

/// What every question needs to know.
#[derive(Debug)]
struct Setting {
    filter: String,
    pace: Pace,
    redis_url: String,
    postgres_url: String,
    programs: Programs,
}

impl Setting {
    /// Whether a row may be asked for whose name begins with one of `begins`.
    fn asks_about(&self, begins: &[&str]) -> bool {
        let filter = self.filter.as_str();
        begins.iter().any(|begin| filter.starts_with(begin) || begin.contains(filter))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (redis_url, postgres_url) = (address("REDIS_URL")?, address("DATABASE_URL")?);
    let pace = if arguments.quick {
        Pace { repeats: 2, turn: Duration::from_millis(200) }
    } else {
        Pace { repeats: arguments.repeats, turn: arguments.turn.0 }
    };
    let setting = Setting {
        filter: arguments.filter,
        pace,
        redis_url,
        postgres_url,
        programs: Programs { redis: arguments.redis_benchmark, postgres: arguments.pgbench },
    };
    // What a user gets from `#[tokio::main]`.
    let runtime = tokio::runtime::Runtime::new().context("threads cannot be started")?;
    let rows = runtime.block_on(measure(&setting))?;
    let json = serde_json::to_vec_pretty(&Comparison { rows })?;
    std::fs::write(&arguments.rows, json)
        .with_context(|| format!("cannot write {}", arguments.rows.display()))
}

async fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // What a filter leaves out is not prepared either.
    if setting.asks_about(&["near hit"]) {
        rows.extend(near::rows(setting).await?);
        rows.extend(allocations::rows(setting)?);
    }
    if setting.asks_about(&["L1 ", "get_many of 100 through Redis"]) {
        rows.extend(redis::rows(setting).await?);
    }
    if setting.asks_about(&["L2 "]) {
        rows.extend(postgres::rows(setting).await?);
    }
    if setting.asks_about(&["get_many of 100 through the stack"]) {
        rows.extend(batches::rows(setting).await?);
    }
    if setting.asks_about(&["seed system"]) {
        rows.extend(seed::rows(setting).await?);
    }
    Ok(rows)
}

/// The address of a server on this machine: what is measured is written to it by the thousands.
fn address(variable: &str) -> Result<String> {
    let url = cache_benches::stacks::url(variable)
        .with_context(|| format!("{variable} is not set: see `cargo xtask bench limits`"))?;
    ensure!(is_loopback(&url), "{variable} does not name a server on this machine");
    Ok(url)
}
