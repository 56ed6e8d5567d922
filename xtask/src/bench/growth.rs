//! `cargo xtask bench growth`: memory and speed by the number of entries.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::comparison;
use super::publish::Publishing;
use crate::environment::Environment;
use crate::services::{Install, Kind, Services};
use crate::workspace::cargo;

/// Measure memory and speed of each tier by the number of its entries
///
/// Up to 10,000,000 in the near tier and 1,000,000 in the others, each in a process of its own, up
/// to 6 GiB. Figures go to standard output and target/xtask/bench/growth.json and growth.svg.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Arguments {
    /// Only the tiers whose name has this in it
    pub(crate) filter: Option<String>,
    /// A tenth of the entries, and fewer repeats: for orientation
    #[arg(long)]
    pub(crate) quick: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) publishing: Publishing,
}

/// Measures, prints and judges. A server that is missing is left out.
///
/// # Errors
///
/// The measuring program fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let services = Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?;
    let mut program = cargo("run --release -p cache-programs --bin growth --");
    program.args(&arguments.filter);
    if arguments.quick {
        program.arg("--quick");
    }
    services.configure(&mut program);
    let environment = Environment::collect(&services);
    comparison::run("growth", &mut program, &environment, &arguments.publishing)
}
