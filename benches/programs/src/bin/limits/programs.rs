//! The benchmarks that come with the servers.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{Setting, ours, turns::Figures};

/// Where they are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) redis: PathBuf,
    pub(crate) postgres: PathBuf,
}

/// redis-benchmark with 50 connections, each of which sends `pipeline` requests at once.
///
/// # Errors
///
/// It cannot be started, or says something else than a figure.
pub(crate) async fn redis_benchmark(
    setting: &Setting,
    test: &str,
    pipeline: u32,
    lasting: Duration,
) -> Result<Figures> {
    // What it does in about that time: it is told a number.
    let per_s = match pipeline {
        1 => 70_000,
        2..=16 => 500_000,
        _ => 700_000,
    };
    let requests = (f64::from(per_s) * lasting.as_secs_f64()) as u64;
    let url = &setting.redis_url;
    let said = said(
        Command::new(&setting.programs.redis)
            .args(["-u", url, "-t", test, "-c", "50", "--csv"])
            .args(["-P", &pipeline.to_string(), "-n", &requests.to_string()])
            .args(["-d", &ours::VALUE_LEN.to_string(), "-r", &ours::KEYS.to_string()]),
    )
    .await?;
    // "GET","651465.81","0.613", ...
    let line = said.lines().find(|line| line.to_lowercase().starts_with(&format!("\"{test}\"")));
    let per_s = line.and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok());
    let per_s = per_s.with_context(|| format!("redis-benchmark said no figure: {said}"))?;
    Ok(Figures { per_s, ..Figures::default() })
}

/// Fills the tables of pgbench: 100,000 rows.
///
/// # Errors
///
/// It cannot be started, or fails.
pub(crate) async fn fill_pgbench(setting: &Setting) -> Result<()> {
    said(
        Command::new(&setting.programs.postgres)
            .args(["-i", "-q", "-s", "1"])
            .arg(&setting.postgres_url),
    )
    .await
    .map(drop)
}

/// `pgbench -S`: reads of one row by primary key, prepared. A second: it takes nothing shorter.
///
/// # Errors
///
/// As [`redis_benchmark`].
pub(crate) async fn pgbench(setting: &Setting, clients: u32) -> Result<Figures> {
    let said = said(
        Command::new(&setting.programs.postgres)
            .args(["-n", "-S", "-M", "prepared", "-T", "1", "-j", "2"])
            .args(["-c", &clients.to_string()])
            .arg(&setting.postgres_url),
    )
    .await?;
    // tps = 53123.456789 (without initial connection time)
    let line = said.lines().find(|line| line.starts_with("tps = "));
    let per_s = line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
    let per_s = per_s.with_context(|| format!("pgbench said no figure: {said}"))?;
    Ok(Figures { per_s, ..Figures::default() })
}

async fn said(command: &mut Command) -> Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.output().await.with_context(|| format!("cannot start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
