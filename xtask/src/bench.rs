//! `cargo xtask bench`: runs the criterion benchmarks and keeps their figures in one file; or
//! answers one of the larger questions, which have programs of their own.

mod against;
mod chart;
mod comparison;
mod counters;
mod curves;
mod growth;
mod limits;
mod peers;
mod publish;
mod results;
mod soak;
mod statistics;

use std::fs;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
    /// Compare with the figures that an earlier run kept under this name
    ///
    /// Says of each benchmark whether it is better, worse, or without a difference. Times are told
    /// and fail nothing: `cargo xtask bench counters --against NAME` judges what does not depend on
    /// the moment.
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub(crate) against: Option<String>,
    #[arg(skip)]
    pub(crate) build: Build,
}

/// How the benchmarks are built.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// As what users run.
    #[default]
    Optimised,
    /// As the tests, whose dependencies are there already: to see that they run.
    AsTests,
}

/// What has a program of its own.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Question {
    Limits(limits::Arguments),
    Peers(peers::Arguments),
    Growth(growth::Arguments),
    Soak(soak::Arguments),
    Counters(counters::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              all that needs no server
  cargo xtask bench near --save before           what has `near` in its id, kept as before.json
  cargo xtask bench near --against before        the same, compared with what was kept
  cargo xtask bench --services --quick           everything, roughly
  cargo xtask bench limits                       ours beside the raw limits of its parts
  cargo xtask bench peers                        ours beside other caches
  cargo xtask bench growth                       memory and speed by the number of entries
  cargo xtask bench soak --minutes 10            whether memory stays the same under load
  cargo xtask bench counters                     allocations, round trips, statements, instructions

Exit codes: 0 all is well (a time that became worse is told, and fails nothing), 1 a benchmark
failed, a target was missed or a counter became worse, 2 the command line is wrong.";

const PACKAGE: &str = "cache-benches";
/// Its benchmark of the machine itself.
const CONTROL: &str = "control";

/// The content of the file: see docs/bench-schema.md.
#[derive(Serialize, Deserialize)]
struct Saved {
    environment: Environment,
    results: Vec<Measurement>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.question {
        None => execute(arguments).map(workspace::exit_code),
        Some(Question::Limits(arguments)) => limits::run(arguments),
        Some(Question::Peers(arguments)) => peers::run(arguments),
        Some(Question::Growth(arguments)) => growth::run(arguments),
        Some(Question::Soak(arguments)) => soak::run(arguments),
        Some(Question::Counters(arguments)) => counters::run(arguments),
    }
}

/// Runs the benchmarks, prints and saves what they measured, and compares it.
///
/// # Errors
///
/// A server is missing, no benchmark ran, its figures cannot be read or written, or there are none
/// to compare with.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitStatus> {
    // Before anything is measured: it may be about to be replaced, and it may not be there.
    let kept: Option<Saved> = arguments.against.as_deref().map(read_kept).transpose()?;
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

    let (control, subjects): (Vec<String>, Vec<String>) =
        benchmark_names()?.into_iter().partition(|name| name == CONTROL);
    // What the machine does itself is measured whatever the filter.
    for (names, filter) in [(subjects, arguments.filter.as_ref()), (control, None)] {
        let mut command = match arguments.build {
            Build::Optimised => cargo(&format!("bench -p {PACKAGE}")),
            Build::AsTests => cargo("bench --profile dev --workspace --all-features"),
        };
        // By name: libraries and programs have test harnesses that refuse criterion's flags.
        for name in names {
            command.args(["--bench", &name]);
        }
        command.arg("--").args(filter);
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
    }
    let results = results::since(&marker, &criterion_home)?;
    if results.iter().all(|result| result.id.starts_with(against::CONTROL)) {
        bail!("no benchmark ran: does the filter match an id?");
    }
    print!("\n{}", results::table(&results));
    let saved = Saved { environment, results };
    save(&format!("{}.json", arguments.save), &saved)?;
    if let Some(kept) = &kept {
        tell_difference(&saved, kept);
    }
    Ok(ExitStatus::default())
}

fn tell_difference(now: &Saved, kept: &Saved) {
    println!("\nAgainst {}\n", kept.environment.describe());
    if let Some(difference) = now.environment.differs_from(&kept.environment) {
        println!("Not the same machine, so read nothing into times: {difference}.\n");
    }
    print!("{}", against::render(&now.results, &kept.results));
}

/// Writes a file of `target/xtask/bench`, and says so.
fn save(file: &str, content: &impl Serialize) -> Result<()> {
    let path = workspace::output(&format!("bench/{file}"))?;
    let json = serde_json::to_string_pretty(content).context("cannot write the figures as JSON")?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nSaved to {}", path.display());
    Ok(())
}

/// What an earlier run kept as `name`.
fn read_kept<T: DeserializeOwned>(name: &str) -> Result<T> {
    let path = workspace::output(&format!("bench/{name}.json"))?;
    let text = fs::read_to_string(&path)
        .with_context(|| format!("nothing is kept as {name}: cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!("{} is not of this version: make it again with --save", path.display())
    })
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
