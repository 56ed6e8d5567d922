//! `sim`: runs seeds, tells what it found, and reruns one with its trace.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cache_sim::{Defect, Mix, Plan, Report, Trace, run};
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
    /// What clients do most: `reads`, or `copies`, which are copies and warming against writes
    #[arg(long, value_parser = mix, default_value = "reads")]
    mix: Mix,
}

impl Arguments {
    fn plan(&self, seed: u64) -> Plan {
        Plan::of(seed, self.defect).with_mix(self.mix)
    }

    /// What shows a seed again, beside its number.
    fn again(&self) -> String {
        let mix = match self.mix {
            Mix::Reads => String::new(),
            mix @ Mix::Copies => format!(" --mix {}", mix.name()),
        };
        let defect = self.defect.map_or_else(String::new, |defect| format!(" --defect {defect}"));
        mix + &defect
    }
}

fn mix(name: &str) -> Result<Mix, String> {
    Mix::named(name).ok_or_else(|| {
        let names: Vec<_> = Mix::ALL.into_iter().map(Mix::name).collect();
        format!("there are {}", names.join(", "))
    })
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
        return Ok(one(seed, arguments.plan(seed)));
    }
    many(&arguments)
}

/// One seed with its trace: the same text each time.
fn one(seed: u64, plan: Plan) -> ExitCode {
    let report = run(plan, Trace::Kept);
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
    contended: u64,
    faults: BTreeMap<&'static str, u64>,
    wrong: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.copies += report.copies;
        self.contended += report.contended;
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
                    let report = run(arguments.plan(seed), Trace::Off);
                    found.fetch_or(report.wrong.is_some(), Ordering::Relaxed);
                    sum.lock().add(report);
                }
            };
            let builder = std::thread::Builder::new().name(format!("sim {thread}"));
            builder.spawn_scoped(scope, work).context("cannot start a thread")?;
        }
        anyhow::Ok(())
    })?;
    Ok(conclude(&sum.into_inner(), began.elapsed(), &arguments.again()))
}

fn conclude(sum: &Sum, took: Duration, again: &str) -> ExitCode {
    println!("seeds          {:>12}", sum.seeds);
    println!("operations     {:>12}", sum.operations);
    println!("copied, warmed {:>12}", sum.copies);
    println!("  under writes {:>12}", sum.contended);
    println!("time           {:>10.1} s", took.as_secs_f64());
    println!("faults injected:");
    for (kind, count) in &sum.faults {
        println!("  {count:>12}  {kind}");
    }
    println!("wrong answers  {:>12}", sum.wrong.len());
    for (seed, wrong) in &sum.wrong {
        println!("\nseed {seed}: {wrong}\nto see it again: cargo xtask sim --seed {seed}{again}");
    }
    if sum.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
