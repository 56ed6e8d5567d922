//! `cargo xtask chaos`: several processes on private servers, real faults, and an oracle.

use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::Result;
use clap::Args;

use crate::environment::{self, Environment};
use crate::services::{self, Cluster, Install, Kind};
use crate::workspace::{self, cargo};

/// Kill, freeze and starve real servers and nodes under load, and judge every answer
///
/// Each scenario has a Redis, a PostgreSQL and several processes of its own, on loopback, which end
/// with it. Tables go to standard output, everything to target/xtask/chaos/results.json.
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Scenarios and shows; all of them when none is named
    pub(crate) names: Vec<String>,
    /// Look less long before and after each fault
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the results go, instead of target/xtask/chaos/results.json
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the names of scenarios and shows
    #[arg(long)]
    pub(crate) list: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    pub(crate) install: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask chaos                             everything, in less than ten minutes
  cargo xtask chaos redis-frozen node-killed    two scenarios
  cargo xtask chaos --list                      what there is

Exit codes: 0 no answer was wrong, 1 one was, or a scenario broke, 2 it could not be run.";

/// Below `target/xtask`.
const OUTPUT: &str = "chaos/results.json";

const DRIVER: &str = "run --release -p cache-programs --bin chaos --";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    execute(arguments).map(workspace::exit_code)
}

/// Builds and runs the driver. It starts the servers itself, since it kills and restarts them in
/// the midst of its work; their programs, and a cluster to copy, it has from here.
///
/// # Errors
///
/// A server is not installed, or cargo cannot be started.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitStatus> {
    if arguments.list {
        return workspace::run(cargo(DRIVER).arg("list"));
    }
    let install = Install::from_flag(arguments.install);
    let redis = services::find_or_install(Kind::Redis, install)?;
    let postgres = services::find_or_install(Kind::Postgres, install)?;
    let cluster = Cluster::make(&postgres)?;
    let output = match &arguments.json {
        // Relative to where this was called from: the child works in the workspace's root.
        Some(path) => std::path::absolute(path)?,
        None => workspace::output(OUTPUT)?,
    };
    let mut command = cargo(DRIVER);
    command.arg("drive").args(&arguments.names);
    command.arg("--redis").arg(&redis.program).arg("--postgres").arg(&postgres.program);
    command.arg("--cluster").arg(cluster.data()).arg("--output").arg(output);
    if let Some(owner) = cluster.owner() {
        command.arg("--account").args(owner.map(|id| id.to_string()));
    }
    if arguments.quick {
        command.arg("--quick");
    }
    let environment = Environment::of(Some(redis.version), Some(postgres.version));
    command.env(environment::VARIABLE, environment.to_json()?);
    workspace::run(&mut command)
}
