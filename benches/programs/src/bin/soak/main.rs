//! Whether memory stays the same under constant load: `cargo xtask bench soak` builds and runs it.
//!
//! Each stack has a process of its own, which this one watches from outside.

mod load;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cache_benches::{
    comparison::{Row, median},
    curve::Measured,
    resident::resident,
    stacks::Kind,
    trend::slope,
};
use clap::Parser;

/// Put stacks under constant load, and watch the memory of their processes
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Arguments {
    /// Only the stacks whose name has this in it
    filter: Option<String>,
    /// Where the rows go, as JSON
    #[arg(long, required_unless_present = "one")]
    rows: Option<PathBuf>,
    /// How long, in minutes; the first third is for warming up
    #[arg(long)]
    minutes: f64,
    /// Put one stack under load in this process
    #[arg(long, hide = true)]
    one: Option<Kind>,
}

/// The stacks that are soaked, where their servers are.
const KINDS: [Kind; 2] = [Kind::Embedded, Kind::Services];
/// By how much of itself memory may have grown over the time that is judged.
const GROWTH_PERCENT_MAX: f64 = 5.0;
/// More would make the slope slow to compute, and no better.
const SAMPLES_MAX: f64 = 1_000.0;
const SAMPLES_EVERY_MIN: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let lasting = Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?;
    if let Some(kind) = arguments.one {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let done = runtime.block_on(load::run(kind, lasting))?;
        println!("{}", serde_json::to_string(&done)?);
        return Ok(());
    }
    let path = arguments.rows.context("clap requires --rows")?;
    let mut measured = Measured::default();
    let mut soaking = Vec::new();
    for kind in KINDS {
        if arguments.filter.as_ref().is_some_and(|filter| !kind.name().contains(filter)) {
            continue;
        }
        match kind.missing()[..] {
            [] => soaking.push(Soaked::start(kind, arguments.minutes)?),
            ref missing => {
                let note = format!("{} is not set", missing.join(", "));
                let row = Row::untold(title(kind), "% of RSS", "");
                measured.rows.push(row.noted(note));
            }
        }
    }
    watch(&mut soaking, lasting);
    for soaked in soaking {
        measured.rows.push(soaked.row()?);
    }
    fs::write(&path, serde_json::to_string_pretty(&measured)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A process under load, and what it took at which second.
struct Soaked {
    kind: Kind,
    child: Child,
    samples: Vec<(f64, f64)>,
}

/// Samples all of them until the time is over.
fn watch(soaking: &mut [Soaked], lasting: Duration) {
    let every = (lasting.div_f64(SAMPLES_MAX)).max(SAMPLES_EVERY_MIN);
    let started = Instant::now();
    while started.elapsed() < lasting {
        thread::sleep(every);
        for soaked in &mut *soaking {
            // What has ended says why at the end.
            if let Ok(bytes) = resident(&soaked.child.id().to_string()) {
                soaked.samples.push((started.elapsed().as_secs_f64(), bytes as f64));
            }
        }
    }
}

impl Soaked {
    fn start(kind: Kind, minutes: f64) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["--one", kind.name(), "--minutes", &minutes.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the process of {kind}"))?;
        Ok(Self { kind, child, samples: Vec::new() })
    }

    /// The growth over the last two thirds, at the most that the samples allow for.
    fn row(self) -> Result<Row> {
        let Self { kind, child, samples } = self;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the process of {kind} ended with {}", output.status);
        let done: load::Done = serde_json::from_slice(&output.stdout)?;
        let warm = &samples[samples.len() / 3..];
        let bytes: Vec<f64> = warm.iter().map(|(_, bytes)| *bytes).collect();
        let slope = slope(warm).context("a soak takes longer: give it more --minutes")?;
        let seconds = warm[warm.len() - 1].0 - warm[0].0;
        let percent = slope.high * seconds / median(&bytes) * 100.0;
        let an_hour = |slope: f64| slope * 3_600.0 / f64::from(1 << 20);
        let note = format!(
            "RSS {:.1} MiB; slope {:.2} MiB/h (95 %: {:.2} to {:.2}) in {} samples of {seconds:.0} s; \
             {done}",
            median(&bytes) / f64::from(1 << 20),
            an_hour(slope.median),
            an_hour(slope.low),
            an_hour(slope.high),
            warm.len(),
        );
        let row = Row::alone(title(kind), "% of RSS", &[percent]);
        Ok(row.at_most(GROWTH_PERCENT_MAX).noted(note))
    }
}

fn title(kind: Kind) -> String {
    format!("{kind}: growth, at most")
}
