//! `cargo xtask bench peers`: ours beside the caches that a user would pick instead.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::comparison;
use super::publish::Publishing;
use crate::environment::Environment;
use crate::services::{Install, Kind, Services};
use crate::workspace::cargo;

/// Measure the cache beside other tiered caches, each in a process of its own, on the same Redis
///
/// The peers are built in a workspace of their own, benches/peers, so that nobody else pays for them.
/// Rows go to standard output and target/xtask/bench/peers.json.
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
    let services = Services::acquire(Install::from_flag(arguments.install), &[Kind::Redis])?;
    services.require_all()?;
    let manifest = "--manifest-path benches/peers/Cargo.toml --target-dir target/peers";
    let mut program = cargo(&format!("run --release --locked {manifest} --"));
    program.args(&arguments.filter);
    if arguments.quick {
        program.arg("--quick");
    }
    services.configure(&mut program);
    comparison::run("peers", &mut program, &Environment::collect(&services), &arguments.publishing)
}
