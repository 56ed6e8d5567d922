//! `cargo xtask bench soak`: whether memory stays the same under constant load.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::comparison;
use super::publish::Publishing;
use crate::environment::Environment;
use crate::services::{Install, Kind, Services};
use crate::workspace::cargo;

/// Put stacks under constant load, and judge whether their processes grow
///
/// near + SQLite, and near + Redis + PostgreSQL where both servers can be had, side by side. The
/// first third of the time is for warming up. Rows go to standard output and
/// target/xtask/bench/soak.json.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Only the stacks whose name has this in it
    pub(crate) filter: Option<String>,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// Half a minute: for orientation, its verdicts mean little
    #[arg(long, conflicts_with = "minutes")]
    pub(crate) quick: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) publishing: Publishing,
}

/// Measures, prints and judges. A stack whose servers are missing is left out.
///
/// # Errors
///
/// The measuring program fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let services = Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?;
    let minutes = if arguments.quick { 0.5 } else { arguments.minutes };
    let mut program = cargo("run --release -p cache-programs --bin soak --");
    program.args(&arguments.filter).args(["--minutes", &minutes.to_string()]);
    services.configure(&mut program);
    let environment = Environment::collect(&services);
    comparison::run("soak", &mut program, &environment, &arguments.publishing)
}
