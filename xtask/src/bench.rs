//! `cargo xtask bench`: runs the criterion benchmarks and keeps their figures in one file; or
//! answers one of the larger questions, which have programs of their own.

mod comparison;
mod limits;
mod peers;
mod results;

use std::fs;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use self::results::Measurement;
use crate::environment::{self, Environment};
use crate::services::{Install, Kind, Services};
use crate::workspace::{self, cargo};

/// Run the benchmarks: a table on standard output, figures in target/xtask/bench/NAME.json
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) question: Option<Question>,
    /// Only the benchmarks whose id matches this regular expression
    pub(crate) filter: Option<String>,
    /// Criterion's quick mode: seconds instead of minutes, figures for orientation only
    #[arg(long)]
    pub(crate) quick: bool,
    /// Also measure the tiers on Redis and PostgreSQL
    ///
    /// Servers that REDIS_URL and DATABASE_URL name are used, else private ones.
    /// Without this flag only what these variables name is measured.
    #[arg(long)]
    pub(crate) services: bool,
    /// Install missing servers with the platform's package manager
    #[arg(long, requires = "services")]
    pub(crate) install: bool,
    /// Keep the figures under this name
    #[arg(long, value_name = "NAME", default_value = "latest", value_parser = file_name)]
    pub(crate) save: String,
}

/// What has a program of its own.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Question {
    Limits(limits::Arguments),
    Peers(peers::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              all that needs no server
  cargo xtask bench near --save before           what has `near` in its id, kept as before.json
  cargo xtask bench --services --quick           everything, roughly
  cargo xtask bench limits                       ours beside the raw limits of its parts
  cargo xtask bench peers                        ours beside other caches

Exit codes: 0 all is well, 1 a benchmark failed or a target was missed, 2 the command line is wrong.";

const PACKAGE: &str = "cache-benches";

/// The content of the file.
#[derive(Serialize)]
struct Saved {
    environment: Environment,
    results: Vec<Measurement>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.question {
        None => execute(arguments).map(workspace::exit_code),
        Some(Question::Limits(arguments)) => limits::run(arguments),
        Some(Question::Peers(arguments)) => peers::run(arguments),
    }
}

/// Runs the benchmarks, prints and saves what they measured.
///
/// # Errors
///
/// A server is missing, no benchmark ran, or its figures cannot be read or written.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitStatus> {
    let services = if arguments.services {
        Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?
    } else {
        Services::given()
    };
    if arguments.services {
        services.require_all()?;
    }
    let environment = Environment::collect(&services);
    let criterion_home = workspace::root().join("target/criterion");
    let marker = workspace::output("bench/.started")?;
    fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;

    let mut command = cargo("bench -p");
    command.arg(PACKAGE);
    // By name: the library and the binaries have test harnesses that refuse criterion's flags.
    for name in benchmark_names()? {
        command.args(["--bench", &name]);
    }
    command.arg("--").args(&arguments.filter);
    if arguments.quick {
        command.arg("--quick");
    }
    command.env("CRITERION_HOME", &criterion_home);
    command.env(environment::VARIABLE, environment.to_json()?);
    services.configure(&mut command);
    let status = workspace::run(&mut command)?;
    if !status.success() {
        return Ok(status);
    }
    let results = results::since(&marker, &criterion_home)?;
    if results.is_empty() {
        bail!("no benchmark ran: does the filter match an id?");
    }
    print!("\n{}", results::table(&results));
    save(&arguments.save, &Saved { environment, results })?;
    Ok(status)
}

fn save(name: &str, saved: &Saved) -> Result<()> {
    let path = workspace::output(&format!("bench/{name}.json"))?;
    let json = serde_json::to_string_pretty(saved).context("cannot write the figures as JSON")?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nSaved to {}", path.display());
    Ok(())
}

fn benchmark_names() -> Result<Vec<String>> {
    let packages = workspace::packages()?;
    let names: Vec<String> = packages
        .into_iter()
        .filter(|package| package.name == PACKAGE)
        .flat_map(|package| package.targets)
        .filter(|target| target.kind.iter().any(|kind| kind == "bench"))
        .map(|target| target.name)
        .collect();
    if names.is_empty() {
        bail!("the package {PACKAGE} has no [[bench]] target");
    }
    Ok(names)
}

fn file_name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err("letters, digits, `-` and `_` only: it names a file".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_the_directory_is_refused() {
        assert_eq!(file_name("2025-01_before").as_deref(), Ok("2025-01_before"));
        assert!(file_name("../escape").is_err());
        assert!(file_name("").is_err());
    }
}
