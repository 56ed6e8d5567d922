//! `sim`: runs seeds, tells what it found, and reruns one with its trace.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cache_sim::{Defect, Report, Trace, run};
use clap::Parser;
use parking_lot::Mutex;

/// Simulate nodes that share tiers, under faults, and judge every answer
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this one alone, and print what happens in it
    #[arg(long, conflicts_with_all = ["seeds", "from", "minutes"])]
    seed: Option<u64>,
    /// Run seeds for as long as this, however many they are
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// Threads, each of which runs one seed at a time
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Build a bug in, which is to be found
    #[arg(long, value_parser = defect)]
    defect: Option<Defect>,
}

fn defect(name: &str) -> Result<Defect, String> {
    Defect::named(name).ok_or_else(|| {
        let names: Vec<_> = Defect::ALL.into_iter().map(Defect::name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return Ok(one(seed, arguments.defect));
    }
    many(&arguments)
}

/// One seed with its trace: the same text each time.
fn one(seed: u64, defect: Option<Defect>) -> ExitCode {
    let report = run(seed, defect, Trace::Kept);
    println!("seed {seed}\n{}\n\n{}", report.plan, report.trace);
    match report.wrong {
        Some(wrong) => {
            println!("WRONG: {wrong}");
            ExitCode::FAILURE
        }
        None => {
            println!("{} operations, nothing wrong", report.operations);
            ExitCode::SUCCESS
        }
    }
}

/// What all threads have found together.
#[derive(Default)]
struct Sum {
    seeds: u64,
    operations: u64,
    copies: u64,
    faults: BTreeMap<&'static str, u64>,
    wrong: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.copies += report.copies;
        for (kind, count) in report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        if let Some(wrong) = report.wrong {
            self.wrong.insert(report.plan.seed, wrong);
        }
    }
}

fn many(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    let end = match arguments.minutes {
        Some(_) => u64::MAX,
        None => arguments.from.saturating_add(arguments.seeds),
    };
    let limit =
        arguments.minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(60 * minutes));
    let (next, found) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for thread in 0..arguments.threads.max(1) {
            let work = || {
                while began.elapsed() < limit && !found.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(seed, arguments.defect, Trace::Off);
                    found.fetch_or(report.wrong.is_some(), Ordering::Relaxed);
                    sum.lock().add(report);
                }
            };
            let builder = std::thread::Builder::new().name(format!("sim {thread}"));
            builder.spawn_scoped(scope, work).context("cannot start a thread")?;
        }
        anyhow::Ok(())
    })?;
    Ok(conclude(&sum.into_inner(), began.elapsed(), arguments.defect))
}

fn conclude(sum: &Sum, took: Duration, defect: Option<Defect>) -> ExitCode {
    println!("seeds          {:>12}", sum.seeds);
    println!("operations     {:>12}", sum.operations);
    println!("keys copied    {:>12}", sum.copies);
    println!("time           {:>10.1} s", took.as_secs_f64());
    println!("faults injected:");
    for (kind, count) in &sum.faults {
        println!("  {count:>12}  {kind}");
    }
    println!("wrong answers  {:>12}", sum.wrong.len());
    for (seed, wrong) in &sum.wrong {
        let with = defect.map_or_else(String::new, |defect| format!(" --defect {defect}"));
        println!("\nseed {seed}: {wrong}\nto see it again: cargo xtask sim --seed {seed}{with}");
    }
    if sum.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
