//! What operations cost that does not depend on the moment: `cargo xtask bench counters` builds and
//! runs it. See `cache_benches::counters`.

mod instructions;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use cache_benches::{
    counters::{
        Figures, Mode, Repeat, Tally,
        allocations::{self, Allocator, COUNTED},
        expected, local,
        remote::{self, Servers},
    },
    stacks::url,
};
use clap::Parser;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: Allocator = COUNTED;

/// Count what operations cost that does not depend on the moment
#[derive(Debug, Parser)]
#[command(name = "counters")]
struct Arguments {
    /// Where the figures go, as JSON
    #[arg(long)]
    output: PathBuf,
    /// Figures that an earlier run has written, to compare with
    #[arg(long)]
    against: Option<PathBuf>,
    /// Where to write the portable figures as those that are expected from now on
    #[arg(long)]
    accept: Option<PathBuf>,
    /// Leave out instructions, which take a minute
    #[arg(long)]
    quick: bool,
    /// Do one operation and nothing else: for whoever counts its instructions
    #[arg(long, hide = true, requires = "times")]
    repeat: Option<String>,
    /// How often
    #[arg(long, hide = true)]
    times: Option<usize>,
}

/// The content of a file: see docs/bench-schema.md.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    environment: serde_json::Value,
    #[serde(flatten)]
    figures: Figures,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some((operation, times)) = arguments.repeat.clone().zip(arguments.times) {
        count_local(&mut Tally::new(Mode::Repeat(Repeat { operation, times })))?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(allocations::are_counted(), "this program does not count its allocations");
    let mut tally = Tally::new(Mode::Count);
    count_local(&mut tally)?;
    let local = tally.operations();
    count_remote(&mut tally)?;
    let mut figures = tally.figures().clone();
    if !arguments.quick {
        figures.figures.extend(instructions::count(&local)?);
    }
    print!("{}", figures.table());
    let environment = std::env::var("CACHE_ENVIRONMENT_JSON").ok();
    let environment = environment.map(|json| serde_json::from_str(&json)).transpose()?;
    let saved = Saved { environment: environment.unwrap_or_default(), figures };
    write(&arguments.output, &saved)?;
    if let Some(path) = &arguments.accept {
        write(path, &saved.figures.portable())?;
        return Ok(ExitCode::SUCCESS);
    }
    judge(&saved.figures, arguments.against.as_deref())
}

/// On one thread, so that the order of tasks is the same each time.
fn count_local(tally: &mut Tally) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(local::count(tally))
}

fn count_remote(tally: &mut Tally) -> Result<()> {
    for variable in ["REDIS_URL", "DATABASE_URL"] {
        if url(variable).is_none() {
            eprintln!("left out: what needs {variable}, which is not set");
        }
    }
    let schema = format!("counters_{}", std::process::id());
    let postgres = url("DATABASE_URL").map(|url| (url, schema));
    let servers = Servers { redis: url("REDIS_URL"), postgres };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(async {
        let counted = remote::count(tally, &servers).await;
        servers.clean().await?;
        counted
    })
}

/// Compares with what is expected and with what was kept, and tells what became worse.
fn judge(figures: &Figures, against: Option<&Path>) -> Result<ExitCode> {
    let mut kept = vec![("expected", expected()?)];
    if let Some(path) = against {
        let text = fs::read_to_string(path)
            .with_context(|| format!("nothing is kept there: cannot read {}", path.display()))?;
        let saved: Saved = serde_json::from_str(&text)
            .with_context(|| format!("{} does not hold counters", path.display()))?;
        kept.push(("kept", saved.figures));
    }
    let mut is_good = true;
    for (name, kept) in kept {
        let worse = figures.worse_than(&kept);
        println!("\nAgainst what was {name}: {} of {} worse", worse.len(), kept.figures.len());
        worse.iter().for_each(|worse| println!("  {worse}"));
        for operation in figures.left_out(&kept) {
            println!("  not counted now: {operation}");
        }
        is_good &= worse.is_empty();
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(content)?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}
