//! The load generator. `cargo xtask loadtest` builds and runs it, with servers where it is asked to.

mod args;
mod environment;
mod tables;

use std::{
    fmt::Display,
    fs,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cache_benches::{
    load::{self, Stop},
    market::Market,
    report::{Report, Run},
    scenario::SCENARIOS,
    stacks::{Kind, Tiers},
    verdict,
};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;

use args::{Arguments, Plan};

/// A verdict failed, or an operation was lost.
const FAILED: u8 = 1;
/// It could not be run.
const BROKEN: u8 = 2;
/// As a shell tells of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(BROKEN)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let plan = arguments.plan()?;
    let market = Arc::new(Market::from_environment()?);
    announce(&plan, &market);
    if arguments.dry_run {
        for (kind, scenario) in &plan.cells {
            tell(format_args!("{kind}, {}", scenario.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let environment = environment::describe(arguments, &plan, &market);
    let stop = stop_on_interrupt();
    let mut runs = Vec::new();
    let measured = measure_all(arguments, &plan, &market, &stop, &mut runs).await;
    if runs.is_empty() {
        measured?;
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let verdicts = verdict::judge(&runs, plan.speed);
    let partial = stop.is_set() || measured.is_err();
    let report = Report { environment, partial, runs, verdicts };
    tell(tables::all(&report));
    if let Some(path) = &arguments.output {
        save(path, &report)?;
    }
    // Only now: what was measured before something broke is kept.
    measured?;
    Ok(ExitCode::from(exit_code(&report)))
}

fn exit_code(report: &Report) -> u8 {
    match report {
        _ if report.partial => INTERRUPTED,
        _ if report.is_good() => 0,
        _ => FAILED,
    }
}

/// A line on standard output. A reader that has gone away does not end the measurement.
fn tell(line: impl Display) {
    _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn list() {
    tell(format_args!("scenarios: {}", SCENARIOS.map(|scenario| scenario.name).join(", ")));
    tell(format_args!("stacks: {}", Kind::ALL.map(tables::describe).join(", ")));
}

fn announce(plan: &Plan, market: &Market) {
    let (cells, planned) = (plan.cells.len(), plan.planned());
    tell(format_args!("{cells} runs of {:?} in all; values: {}", planned, market.origin()));
    for left_out in &plan.left_out {
        tell(format_args!("left out: {left_out}"));
    }
    if cfg!(debug_assertions) {
        tell(format_args!("built without optimisation: no figure of this means anything"));
    }
    tell("");
}

/// The first interrupt ends the load and lets the figures be told; the second ends the program.
fn stop_on_interrupt() -> Stop {
    let stop = Stop::default();
    let set = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            set.set();
            eprintln!("\ninterrupted: what was measured so far follows");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
    stop
}

/// Adds to `runs` one after the other, also when a later one cannot be carried out.
async fn measure_all(
    arguments: &Arguments,
    plan: &Plan,
    market: &Arc<Market>,
    stop: &Stop,
    runs: &mut Vec<Run>,
) -> Result<()> {
    let tiers = Tiers::open(&plan.kinds()).await?;
    let progress = progress(plan);
    for (kind, scenario) in &plan.cells {
        let name = format!("{kind}, {}", scenario.name);
        progress.set_message(name.clone());
        let started = Instant::now();
        let stack = tiers.stack(*kind)?;
        let run = load::measure(&stack, *scenario, market, plan.effort, arguments.seed, stop)
            .await
            .context(name.clone())?;
        progress.inc(1);
        if !std::io::stderr().is_terminal() {
            let rate = tables::thousands(run.throughput_per_s);
            eprintln!("{name}: {rate} per second, in {:.1?}", started.elapsed());
        }
        runs.push(run);
        if stop.is_set() {
            break;
        }
    }
    progress.finish_and_clear();
    tiers.close().await
}

/// On standard error, and nowhere when that is no terminal.
fn progress(plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {msg}")
        .expect("the template is well-formed");
    let bar = ProgressBar::new(plan.cells.len() as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn save(path: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("cannot write the figures as JSON")?;
    let write = || -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, json + "\n")
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    tell(format_args!("Saved to {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_operation_is_told_by_the_exit_code() {
        let report = |lost| {
            let runs = vec![Run { lost, concurrency: 1, throughput_per_s: 1e6, ..Run::default() }];
            let verdicts = verdict::judge(&runs, verdict::Speed::Told);
            Report { environment: serde_json::Value::Null, partial: false, runs, verdicts }
        };
        assert_eq!(exit_code(&report(0)), 0);
        assert_eq!(exit_code(&report(1)), 1);
        assert_eq!(exit_code(&Report { partial: true, ..report(0) }), 130);
    }
}
