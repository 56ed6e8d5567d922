//! The jobs of `cargo xtask ci`, each one variant and one function.

use std::fmt;
use std::process::{Command, ExitStatus};

use anyhow::Result;
use clap::ValueEnum;

use super::features;
use crate::services::Install;
use crate::test::{self, Totals};
use crate::workspace::{cargo, in_ci, run_checked};
use crate::{bench, chaos, examples, loadtest, sim, tidy};

/// Cheap jobs come first. Those that compile for debugging use the same features and flags, so
/// that each builds on what the others have built; only `features` differs, and it only checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Formatting
    Fmt,
    /// The rules of the repository, as `cargo xtask tidy`
    Tidy,
    /// Clippy, with warnings as errors
    Clippy,
    /// Every test, with servers
    Test,
    /// Every test that needs no server
    TestNoServices,
    /// What threads share, under thousands of orders of their turns
    Shuttle,
    /// 10,000 seeds of the simulation with each of its mixes
    Sim,
    /// The documentation, with warnings as errors
    Doc,
    /// Each library without its default features, and what it must not depend on
    Features,
    /// Licences, bans and sources of dependencies, where cargo-deny is installed
    Deny,
    /// Every example runs to its end
    Examples,
    /// The quick load test, without and with servers
    LoadtestSmoke,
    /// The benchmarks of the wire format in quick mode
    BenchSmoke,
    /// A few faults on real servers, each answer judged
    Chaos,
}

/// How a job went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) left_out: Vec<String>,
    /// Of jobs that run tests.
    pub(crate) totals: Option<Totals>,
}

impl Outcome {
    pub(crate) fn failure() -> Self {
        Self { failed: true, ..Self::default() }
    }

    fn success() -> Self {
        Self::default()
    }

    fn without(left_out: Vec<String>) -> Self {
        Self { left_out, ..Self::default() }
    }
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Self {
        if status.success() { Self::success() } else { Self::failure() }
    }
}

impl Job {
    pub(crate) fn run(self, install: Install) -> Result<Outcome> {
        match self {
            Self::Fmt => plain(&mut cargo("fmt --all --check")),
            Self::Tidy => Ok(if tidy::check()? { Outcome::success() } else { Outcome::failure() }),
            Self::Clippy => {
                plain(&mut cargo("clippy --workspace --all-targets --all-features -- -D warnings"))
            }
            Self::Test => {
                tests(&test::Arguments { install: install == Install::Missing, no_services: false })
            }
            Self::TestNoServices => tests(&test::Arguments { install: false, no_services: true }),
            Self::Shuttle => shuttle(),
            Self::Sim => simulation(),
            Self::Doc => plain(
                cargo("doc --workspace --no-deps --all-features").env("RUSTDOCFLAGS", "-Dwarnings"),
            ),
            Self::Features => features::check().map(|()| Outcome::success()),
            Self::Deny => deny(),
            Self::Examples => examples::run_all(install).map(Outcome::without),
            Self::LoadtestSmoke => loadtest_smoke(install),
            Self::BenchSmoke => bench_smoke(),
            Self::Chaos => chaos_smoke(install),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no job is hidden from the command line");
        f.write_str(value.get_name())
    }
}

fn plain(command: &mut Command) -> Result<Outcome> {
    run_checked(command).map(|()| Outcome::success())
}

fn tests(arguments: &test::Arguments) -> Result<Outcome> {
    let report = test::execute(arguments)?;
    let totals = Some(report.totals);
    Ok(Outcome { failed: !report.succeeded, left_out: report.left_out, totals })
}

/// Flags change every dependency, so this has a directory of its own beside the other jobs'.
fn shuttle() -> Result<Outcome> {
    let arguments = "test -p cache-core --lib --target-dir target/shuttle schedules";
    plain(cargo(arguments).env("RUSTFLAGS", "--cfg shuttle -Dwarnings"))
}

/// What clients do most in a service, and then copies and warming against writes.
fn simulation() -> Result<Outcome> {
    let status = sim::execute(&sim::Arguments::default())?;
    if !status.success() {
        return Ok(status.into());
    }
    let copies = sim::Arguments { mix: Some("copies".to_owned()), ..Default::default() };
    sim::execute(&copies).map(Outcome::from)
}

/// Advisories need the network, and so are checked by a workflow of their own.
fn deny() -> Result<Outcome> {
    if !cargo("deny --version").output().is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::without(vec!["cargo-deny is not installed".to_owned()]));
    }
    plain(&mut cargo("deny --offline check licenses bans sources"))
}

fn loadtest_smoke(install: Install) -> Result<Outcome> {
    let quick = loadtest::Arguments { quick: true, ..Default::default() };
    let status = loadtest::execute(&quick)?;
    if !status.success() {
        return Ok(status.into());
    }
    let install = install == Install::Missing;
    match loadtest::execute(&loadtest::Arguments { services: true, install, ..quick }) {
        Ok(status) => Ok(status.into()),
        Err(error) if in_ci() => Err(error),
        Err(error) => Ok(Outcome::without(vec![format!("{error:#}")])),
    }
}

/// One fault of each kind: a server is killed, frozen, and a node is killed.
fn chaos_smoke(install: Install) -> Result<Outcome> {
    let names = ["redis-killed", "postgres-frozen", "node-killed"].map(str::to_owned).to_vec();
    let install = install == Install::Missing;
    let arguments = chaos::Arguments { names, quick: true, install, ..Default::default() };
    match chaos::execute(&arguments) {
        Ok(status) => Ok(status.into()),
        Err(error) if in_ci() => Err(error),
        Err(error) => Ok(Outcome::without(vec![format!("{error:#}")])),
    }
}

/// That the benchmarks still run, and that their figures are found; not what they measure.
fn bench_smoke() -> Result<Outcome> {
    let arguments = bench::Arguments {
        filter: Some("wire".to_owned()),
        quick: true,
        save: "smoke".to_owned(),
        build: bench::Build::AsTests,
        ..Default::default()
    };
    bench::execute(&arguments).map(Outcome::from)
}
