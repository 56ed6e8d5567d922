//! `cargo xtask test`: every test, with servers where they can be had.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::iter::Sum;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::{fmt, fs};

use anyhow::{Context, Result};
use clap::Args;

use crate::services::{Install, Kind, Services};
use crate::workspace::{self, cargo};

/// Run every test of the workspace, with Redis and PostgreSQL where they can be had
///
/// Says at the end what ran, with which servers, and what was left out and why.
/// With the variable CI set, a missing server is a failure.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Install missing servers with the platform's package manager
    #[arg(long, conflicts_with = "no_services")]
    pub(crate) install: bool,
    /// Use no server, not even one that REDIS_URL or DATABASE_URL names
    #[arg(long)]
    pub(crate) no_services: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                  with the servers that are installed
  cargo xtask test --install        install the missing ones first
  cargo xtask test --no-services    what can be tested without any

The last line is `N passed, N failed`. Exit codes: 0 all passed, 1 something failed.";

/// The variable that names the file to which each test that leaves itself out adds a line.
const LEFT_OUT_VARIABLE: &str = "CACHE_TEST_LEFT_OUT";

/// How the tests went.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) totals: Totals,
    pub(crate) succeeded: bool,
    /// What was not tested for want of a server, in short.
    pub(crate) left_out: Vec<String>,
}

/// Tests counted over all test binaries and doc tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: u64,
    failed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = execute(arguments)?;
    println!("{}", report.totals);
    Ok(if report.succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests and prints the summary, all but its last line.
///
/// # Errors
///
/// A server is missing and `CI` is set; cargo cannot be started.
pub(crate) fn execute(arguments: &Arguments) -> Result<Report> {
    let services = if arguments.no_services {
        Services::none("--no-services was given")
    } else {
        Services::acquire(Install::from_flag(arguments.install), &Kind::ALL)?
    };
    if workspace::in_ci() && !arguments.no_services {
        services.require_all().context(
            "CI is set, so that a missing server is a failure (--no-services tests without)",
        )?;
    }
    let left_out = workspace::output("left-out.txt")?;
    remove_if_present(&left_out)?;

    let mut command = cargo("test --workspace --all-features --no-fail-fast");
    command.env(LEFT_OUT_VARIABLE, &left_out);
    services.configure(&mut command);
    if arguments.no_services && workspace::in_ci() {
        eprintln!("CI is hidden from the tests: with it they would fail for want of a server");
    }
    if arguments.no_services || !workspace::in_ci() {
        command.env_remove("CI");
    }
    let (totals, status) = stream(&mut command, &mut io::stdout())?;
    let report = Report {
        totals,
        succeeded: status.success(),
        left_out: services.missing().iter().map(|(kind, _)| format!("{kind}")).collect(),
    };
    print_summary(&services, &left_out, &report)?;
    Ok(report)
}

/// Passes the output of `cargo test` through and counts what it says.
fn stream(command: &mut Command, print_to: &mut impl Write) -> Result<(Totals, ExitStatus)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().expect("standard output was piped a line above");
    let mut totals = Totals::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    // Lines are bytes: a test may print what is not UTF-8.
    while reader.read_until(b'\n', &mut line).context("cannot read what cargo test prints")? > 0 {
        print_to.write_all(&line).context("cannot print what cargo test prints")?;
        totals = totals + Totals::parse(&String::from_utf8_lossy(&line)).unwrap_or_default();
        line.clear();
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok((totals, status))
}

fn print_summary(services: &Services, left_out: &Path, report: &Report) -> Result<()> {
    println!("\nRan: the unit, integration and doc tests of every package, with all features.");
    for service in services.describe() {
        println!("With: {service}.");
    }
    for (kind, reason) in services.missing() {
        println!("Without {kind}: {reason}.");
    }
    let lines = distinct_lines(left_out)?;
    if lines.is_empty() {
        println!("Left out: nothing that says so itself.");
    } else {
        println!("Left out:");
        lines.iter().for_each(|line| println!("  {line}"));
    }
    if !report.succeeded && report.totals.failed == 0 {
        println!("No test failed, but cargo did: see above for what did not build or crashed.");
    }
    Ok(())
}

fn distinct_lines(path: &Path) -> Result<BTreeSet<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text
            .lines()
            .map(|line| line.trim().trim_start_matches("left out: ").to_owned())
            .filter(|line| !line.is_empty())
            .collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

impl Totals {
    /// What a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …` counts.
    fn parse(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        Some(Self {
            passed: number_before(counts, " passed")?,
            failed: number_before(counts, " failed")?,
        })
    }
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    let (before, _) = text.split_once(word)?;
    before.rsplit(' ').next()?.parse().ok()
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |sum, totals| sum + totals)
    }
}

/// The line that machines read; its form must not change.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let output = "\
running 3 tests
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
a test may print: test result: ok. 9 passed; 9 failed;
test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out
";
        let totals: Totals = output.lines().filter_map(Totals::parse).sum();
        assert_eq!(totals, Totals { passed: 14, failed: 2 });
        assert_eq!(totals.to_string(), "14 passed, 2 failed");
    }

    #[test]
    fn the_output_of_a_child_is_counted_and_its_exit_code_is_kept() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 3";
        let mut printed = Vec::new();
        let (totals, status) =
            stream(Command::new("sh").args(["-c", script]), &mut printed).unwrap();
        assert_eq!(printed, b"test result: ok. 2 passed; 0 failed; 0 ignored\n");
        assert_eq!(totals, Totals { passed: 2, failed: 0 });
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_test_left_out_twice_is_named_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left-out.txt");
        assert!(distinct_lines(&path).unwrap().is_empty());
        fs::write(&path, "left out: b (X is not set)\nleft out: a\nb (X is not set)\n").unwrap();
        let lines: Vec<String> = distinct_lines(&path).unwrap().into_iter().collect();
        assert_eq!(lines, ["a", "b (X is not set)"]);
    }
}
