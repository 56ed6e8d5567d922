//! `cargo xtask sim`: the deterministic simulation of several nodes.

use std::process::{ExitCode, ExitStatus};

use anyhow::Result;
use clap::Args;

use crate::workspace::{self, cargo};

/// Simulate nodes, servers and their faults, seed by seed, and judge every answer
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How many seeds to run; 10,000 when not given
    #[arg(long)]
    pub(crate) seeds: Option<u64>,
    /// The first of them; 0 when not given
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// Run this one alone, and print what happens in it
    #[arg(long, conflicts_with_all = ["seeds", "from", "minutes"])]
    pub(crate) seed: Option<u64>,
    /// Run seeds for as long as this, however many they are
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) minutes: Option<u64>,
    /// Build a bug in, which is to be found
    #[arg(long)]
    pub(crate) defect: Option<String>,
    /// What clients do most: `reads`, or `copies`, which are copies and warming against writes
    #[arg(long)]
    pub(crate) mix: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask sim                             10,000 seeds
  cargo xtask sim --seed 22                   one seed, with all that happens in it
  cargo xtask sim --minutes 60                as many as an hour allows
  cargo xtask sim --seeds 100 --defect no-fence
  cargo xtask sim --mix copies                copies and warming against writes

Exit codes: 0 no answer was wrong, 1 one was; the seed is printed, and shows it again.";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    execute(arguments).map(workspace::exit_code)
}

/// Builds and runs the simulation.
///
/// # Errors
///
/// Cargo cannot be started.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitStatus> {
    let mut command = cargo("run --release -p cache-sim --bin sim --");
    let numbers = [
        ("--seeds", arguments.seeds),
        ("--from", arguments.from),
        ("--seed", arguments.seed),
        ("--minutes", arguments.minutes),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            command.arg(name).arg(number.to_string());
        }
    }
    for (name, value) in [("--defect", &arguments.defect), ("--mix", &arguments.mix)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    workspace::run(&mut command)
}
