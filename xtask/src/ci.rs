//! `cargo xtask ci`: what continuous integration runs, here and there alike.

mod features;
mod jobs;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use self::jobs::{Job, Outcome};
use crate::services::Install;
use crate::table;
use crate::test::Totals;

/// Run one job of continuous integration, or all of them in order
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The job; all of them when not given
    #[arg(value_enum)]
    job: Option<Job>,
    /// Install missing servers with the platform's package manager
    #[arg(long)]
    install: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask ci              everything, with a table at the end
  cargo xtask ci clippy       one job
  cargo xtask ci --install    everything, on a machine that has no server yet

A job that fails does not stop the others. After test jobs the last line is `N passed, N failed`,
their sum. Exit codes: 0 every job passed, 1 one failed.";

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let install = Install::from_flag(arguments.install);
    let jobs: Vec<Job> =
        arguments.job.map_or_else(|| Job::value_variants().to_vec(), |job| vec![job]);
    let reports: Vec<Report> = jobs.into_iter().map(|job| Report::of(job, install)).collect();

    let rows: Vec<Vec<String>> = reports.iter().map(Report::row).collect();
    print!("\n{}", table::render(&["job", "result", "duration", "left out"], &rows));
    if let Some(totals) = sum(&reports) {
        println!("{totals}");
    }
    let failed = reports.iter().any(|report| report.outcome.failed);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Report {
    job: Job,
    outcome: Outcome,
    duration: Duration,
}

impl Report {
    /// Runs the job; an error is told at once, since the next job's output would bury it.
    fn of(job: Job, install: Install) -> Self {
        eprintln!("\n=== {job}");
        let start = Instant::now();
        let outcome = job.run(install).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Outcome::failure()
        });
        Self { job, outcome, duration: start.elapsed() }
    }

    fn row(&self) -> Vec<String> {
        let result = if self.outcome.failed { "FAILED" } else { "passed" };
        vec![
            self.job.to_string(),
            result.to_owned(),
            table::duration(self.duration),
            self.outcome.left_out.join("; "),
        ]
    }
}

/// The tests of all jobs; `None` when no job ran any.
fn sum(reports: &[Report]) -> Option<Totals> {
    let counted: Vec<Totals> = reports.iter().filter_map(|report| report.outcome.totals).collect();
    (!counted.is_empty()).then(|| counted.into_iter().sum())
}
