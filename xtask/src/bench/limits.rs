//! `cargo xtask bench limits`: ours beside the raw limits of what it stands on.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::comparison;
use super::publish::Publishing;
use crate::environment::Environment;
use crate::services::{Install, Kind, Services};
use crate::workspace::{cargo, run_checked};

/// Measure the cache beside the raw limits of its parts, in one run on private servers
///
/// redis-benchmark, pgbench, bare redis-rs, bare diesel-async, bare moka and quick_cache take turns
/// with the cache. Rows go to standard output and target/xtask/bench/limits.json.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Arguments {
    /// Only the rows whose name has this in it
    pub(crate) filter: Option<String>,
    /// Fewer and shorter repeats: for orientation, its verdicts mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) publishing: Publishing,
}

/// Measures, prints and judges.
///
/// # Errors
///
/// A server is missing, or the measuring program fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let services = Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?;
    services.require_all()?;
    // It counts allocations by a program of its own, which lies beside it.
    let mut build = cargo("build --release -p cache-programs --bin limits --bin allocations");
    run_checked(&mut build)?;
    let mut program = cargo("run --release -p cache-programs --bin limits --");
    for (kind, tool) in [(Kind::Redis, "redis-benchmark"), (Kind::Postgres, "pgbench")] {
        let found = kind.tool(tool).with_context(|| {
            format!("{tool} was not found on PATH or beside {kind}: install what {kind} comes with")
        })?;
        program.arg(format!("--{tool}")).arg(found);
    }
    program.args(&arguments.filter);
    if arguments.quick {
        program.arg("--quick");
    }
    services.configure(&mut program);
    comparison::run("limits", &mut program, &Environment::collect(&services), &arguments.publishing)
}
