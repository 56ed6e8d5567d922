//! `cargo xtask loadtest`: the load generator of `benches`, on the embedded stack or on servers.

use std::process::{ExitCode, ExitStatus};

use anyhow::Result;
use clap::Args;

use crate::environment::{self, Environment};
use crate::services::{Install, Kind, Services};
use crate::workspace::{self, cargo};

/// Run the load test: tables on standard output, figures in target/xtask/loadtest/latest.json
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Also load Redis and PostgreSQL
    ///
    /// Servers that REDIS_URL and DATABASE_URL name are used, else private ones.
    #[arg(long)]
    pub(crate) services: bool,
    /// Fewer rounds: all of it in under a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long, requires = "services")]
    pub(crate) install: bool,
    /// More arguments for the load generator
    #[arg(last = true)]
    pub(crate) extra: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask loadtest                 the embedded stack, no server needed
  cargo xtask loadtest --services      Redis and PostgreSQL as well
  cargo xtask loadtest -- --help       what the load generator understands

Exit codes: the load generator's; 1 when a verdict failed or an operation was lost.";

/// Below `target/xtask`.
const OUTPUT: &str = "loadtest/latest.json";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    execute(arguments).map(workspace::exit_code)
}

/// Builds and runs the load generator.
///
/// # Errors
///
/// A server is missing, or cargo cannot be started.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitStatus> {
    let services = if arguments.services {
        Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?
    } else {
        Services::none("--services was not given")
    };
    if arguments.services {
        services.require_all()?;
    }
    workspace::output(OUTPUT)?;
    let mut command = cargo("run --release -p cache-programs --bin loadgen -- --output");
    // Relative, as it is printed: the child works in the workspace's root.
    command.arg(format!("target/xtask/{OUTPUT}"));
    if arguments.quick {
        command.arg("--quick");
    }
    command.args(&arguments.extra);
    command.env(environment::VARIABLE, Environment::collect(&services).to_json()?);
    services.configure(&mut command);
    workspace::run(&mut command)
}
