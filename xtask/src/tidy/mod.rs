//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Each rule is one function from the repository to its problems; the list is [`CHECKS`].

mod dependencies;
mod documents;
mod manifests;
mod promises;
mod repository;
mod rust_text;
mod sources;
mod tiers;
mod time;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

pub(crate) use self::dependencies::NETWORK_CLIENTS;
use self::repository::Repository;

/// Check the rules of the repository: dependencies, time, tiers, promises, documents
///
/// Each problem is told as `file:line: what to do`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well, 1 a rule is broken.")]
pub(crate) struct Arguments {}

type Check = (&'static str, fn(&Repository) -> Vec<Problem>);

const CHECKS: [Check; 18] = [
    ("backends do not know each other", dependencies::backends_do_not_know_each_other),
    ("xtask depends on no crate of the cache", dependencies::xtask_depends_on_no_cache_crate),
    ("the core has no network client", dependencies::the_core_has_no_network_client),
    ("unsafe code is forbidden", manifests::unsafe_code_is_forbidden),
    ("every crate is described", manifests::every_crate_is_described),
    ("only the clock asks for the time", time::only_the_clock_asks_for_the_time),
    ("SQL is given the time", time::sql_is_given_the_time),
    ("tiers forward every method", tiers::every_method_is_written),
    ("every tier runs the conformance suite", tiers::every_tier_runs_the_conformance_suite),
    ("every log runs its conformance suite", tiers::every_log_runs_the_conformance_suite),
    ("all leases run their conformance suite", tiers::all_leases_run_the_conformance_suite),
    ("every promise has its test", promises::every_promise_has_its_test),
    ("nothing is left unfinished", sources::nothing_is_left_unfinished),
    ("no trailing white space", sources::no_trailing_white_space),
    ("no path of a machine", sources::no_path_of_a_machine),
    ("links lead somewhere", documents::links_lead_somewhere),
    ("the README is short", documents::the_readme_is_short),
    ("documented commands exist", documents::documented_commands_exist),
];

/// A rule that is broken, or nearly, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    file: String,
    /// Counted from 1.
    line: usize,
    /// What is wrong and what to do.
    advice: String,
}

impl Problem {
    fn new(file: &str, line: usize, advice: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, advice: advice.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.advice)
    }
}

pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    Ok(if check()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks every rule and prints what is wrong; whether nothing is.
pub(crate) fn check() -> Result<bool> {
    let repository = Repository::load()?;
    for problem in sources::long_files(&repository) {
        eprintln!("advice: {problem}");
    }
    let broken = broken_rules(&repository);
    for (rule, problems) in &broken {
        println!("{rule}:");
        problems.iter().for_each(|problem| println!("  {problem}"));
    }
    if broken.is_empty() {
        println!("tidy: {} rules hold in {} files", CHECKS.len(), repository.files.len());
    }
    Ok(broken.is_empty())
}

fn broken_rules(repository: &Repository) -> Vec<(&'static str, Vec<Problem>)> {
    CHECKS
        .iter()
        .map(|(rule, check)| (*rule, check(repository)))
        .filter(|(_, problems)| !problems.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        assert!(check().unwrap(), "`cargo xtask tidy` says what to do");
    }
}
