//! `cargo xtask bench counters`: what an operation costs that does not depend on the moment.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::environment::{self, Environment};
use crate::services::{Install, Kind, Services};
use crate::workspace::{self, cargo};

/// Count allocations, round trips, commands, statements and instructions of each operation
///
/// They are the same in each run, so that one more is a regression: it is compared with what is
/// committed in benches/counters.json, and fails. Instructions are counted where valgrind is
/// installed, requests where servers are. Figures go to standard output and
/// target/xtask/bench/counters.json.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Arguments {
    /// Leave out instructions, which take a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// Keep the figures as counters-NAME.json as well
    #[arg(long, value_name = "NAME", value_parser = super::file_name)]
    pub(crate) save: Option<String>,
    /// Also compare with the figures that an earlier run kept under this name
    #[arg(long, value_name = "NAME", value_parser = super::file_name)]
    pub(crate) against: Option<String>,
    /// Write what was counted as what is expected from now on
    #[arg(long, conflicts_with = "against")]
    pub(crate) accept: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    pub(crate) install: bool,
}

/// Counts, prints and judges.
///
/// # Errors
///
/// The counting program fails, or its figures cannot be kept.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let services = Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?;
    if arguments.accept {
        // Half of an expectation would leave the rest unchecked.
        services.require_all()?;
    }
    let output = kept("counters")?;
    let mut program = cargo("run --release -p cache-programs --bin counters -- --output");
    program.arg(&output);
    if arguments.quick {
        program.arg("--quick");
    }
    if let Some(name) = &arguments.against {
        program.arg("--against").arg(kept(&format!("counters-{name}"))?);
    }
    if arguments.accept {
        program.arg("--accept").arg(workspace::root().join("benches/counters.json"));
    }
    services.configure(&mut program);
    program.env(environment::VARIABLE, Environment::collect(&services).to_json()?);
    let status = workspace::run(&mut program)?;
    println!("\nSaved to {}", output.display());
    if let Some(name) = &arguments.save {
        let copy = kept(&format!("counters-{name}"))?;
        fs::copy(&output, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        println!("Kept as {}", copy.display());
    }
    Ok(workspace::exit_code(status))
}

fn kept(name: &str) -> Result<PathBuf> {
    workspace::output(&format!("bench/{name}.json"))
}
