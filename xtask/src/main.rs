//! The automation of this workspace: `cargo xtask <command>`.
//!
//! One module is one command. This crate depends on no crate of the cache, so that it builds in
//! seconds and still works when one of them does not compile.

mod bench;
mod chaos;
mod ci;
mod environment;
mod examples;
mod loadtest;
mod services;
mod sim;
mod table;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The automation of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test --install      every test, with Redis and PostgreSQL
  cargo xtask loadtest --quick    the load test, without any server
  cargo xtask ci                  what continuous integration runs

Exit codes: 0 all is well, 1 a check, test or verdict failed, 2 the command line is wrong.";

#[derive(Debug, Subcommand)]
enum Task {
    Services(services::commands::Arguments),
    Test(test::Arguments),
    Loadtest(loadtest::Arguments),
    Chaos(chaos::Arguments),
    Bench(bench::Arguments),
    Sim(sim::Arguments),
    Ci(ci::Arguments),
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Services(arguments) => services::commands::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Loadtest(arguments) => loadtest::run(&arguments),
        Task::Chaos(arguments) => chaos::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Sim(arguments) => sim::run(&arguments),
        Task::Ci(arguments) => Ok(ci::run(&arguments)),
        Task::Tidy(arguments) => tidy::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
