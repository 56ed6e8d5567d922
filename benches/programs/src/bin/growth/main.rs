//! Memory and speed by the number of entries: `cargo xtask bench growth` builds and runs it.
//!
//! Each subject grows in a process of its own, so that its memory is nobody else's.

mod in_process;
mod points;
mod subject;
mod tiers;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use cache_benches::{
    comparison::{Row, median},
    curve::{Curve, Measured},
    stacks::url,
};
use clap::{Parser, ValueEnum};

use self::{
    points::Point,
    subject::{PAYLOAD_LEN, Subject, TEXT_LEN},
};

/// Let each tier grow, and measure its memory and its speed on the way
#[derive(Debug, Parser)]
#[command(name = "growth")]
struct Arguments {
    /// Only the subjects whose name has this in it
    filter: Option<String>,
    /// Where the rows go, as JSON
    #[arg(long, required_unless_present = "one")]
    rows: Option<PathBuf>,
    /// A tenth of the entries, and fewer repeats
    #[arg(long)]
    quick: bool,
    /// Let one subject grow in this process, and print its points as JSON
    #[arg(long, hide = true, requires = "most")]
    one: Option<Subject>,
    /// Up to so many entries
    #[arg(long, hide = true)]
    most: Option<u64>,
}

/// Of the near tier and of moka, for what an entry of each takes.
const REPEATS: usize = 5;
/// What the near tier may take an entry beside what moka takes.
const ABOVE_MOKA_BYTES_MAX: f64 = 64.0;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some((subject, most)) = arguments.one.zip(arguments.most) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let points = runtime.block_on(points::grow(subject, most))?;
        println!("{}", serde_json::to_string(&points)?);
        return Ok(());
    }
    let path = arguments.rows.clone().context("clap requires --rows")?;
    let measured = measure(&arguments)?;
    fs::write(&path, serde_json::to_string_pretty(&measured)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn measure(arguments: &Arguments) -> Result<Measured> {
    let is_asked = |subject: Subject| {
        arguments.filter.as_ref().is_none_or(|filter| subject.name().contains(filter))
    };
    let mut measured = Measured::default();
    if is_asked(Subject::Near) {
        measured.rows.push(beside_moka(arguments)?);
    }
    let mut grown = Vec::new();
    for subject in Subject::value_variants().iter().copied().filter(|subject| is_asked(*subject)) {
        if let Some(variable) = subject.variable().filter(|variable| url(variable).is_none()) {
            let name = format!("{}: overhead an entry", subject.name());
            let note = format!("{variable} is not set");
            measured.rows.push(Row::untold(name, "bytes", "").noted(note));
            continue;
        }
        eprintln!("growing: {}", subject.name());
        let points = in_a_process(subject, subject.most(arguments.quick))?;
        if subject != Subject::Moka {
            measured.rows.push(overhead_row(subject, &points));
        }
        grown.push((subject, points));
    }
    measured.curves = curves(&grown);
    Ok(measured)
}

/// The near tier's overhead an entry above moka's: the median of repeats that take turns.
fn beside_moka(arguments: &Arguments) -> Result<Row> {
    let (repeats, most) = if arguments.quick { (1, 100_000) } else { (REPEATS, 1_000_000) };
    let (mut ours, mut moka) = (Vec::new(), Vec::new());
    for repeat in 1..=repeats {
        eprintln!("near tier beside moka: {repeat} of {repeats}");
        ours.push(last_overhead(&in_a_process(Subject::Near, most)?)?);
        moka.push(last_overhead(&in_a_process(Subject::Moka, most)?)?);
    }
    let above: Vec<f64> = ours.iter().zip(&moka).map(|(ours, moka)| ours - moka).collect();
    let note = format!(
        "near tier {:.0}, moka {:.0} bytes above key and value, from {} to {most} entries",
        median(&ours),
        median(&moka),
        most / 10,
    );
    let row = Row::alone("near: overhead an entry above moka's", "bytes", &above);
    Ok(row.at_most(ABOVE_MOKA_BYTES_MAX).noted(note))
}

fn overhead_row(subject: Subject, points: &[Point]) -> Row {
    let name = format!("{}: overhead an entry", subject.name());
    let note = format!("{}, above key ({TEXT_LEN}) and value ({PAYLOAD_LEN})", subject.measured());
    match last_overhead(points) {
        Ok(bytes) => Row::alone(name, "bytes", &[bytes]).noted(note),
        Err(error) => Row::untold(name, "bytes", "").noted(error.to_string()),
    }
}

fn last_overhead(points: &[Point]) -> Result<f64> {
    let overheads = points::overheads(points);
    overheads.last().map(|(_, bytes)| *bytes).context("it takes two sizes to tell an entry's bytes")
}

/// What a curve shows of the points of a subject.
type Figures = fn(&[Point]) -> Vec<(f64, f64)>;

const MEASURES: [(&str, Figures); 4] = [
    ("memory taken, bytes", |points| points::each(points, |point| point.bytes as f64)),
    ("overhead of an entry, bytes (of those added since the size before)", points::overheads),
    ("hits, per second", |points| points::each(points, |point| point.hits_per_s)),
    ("inserts, per second", |points| points::each(points, |point| point.inserts_per_s)),
];

fn curves(grown: &[(Subject, Vec<Point>)]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (measure, figures) in MEASURES {
        curves.extend(grown.iter().map(|(subject, points)| Curve {
            measure: measure.to_owned(),
            subject: subject.name().to_owned(),
            by: "entries".to_owned(),
            points: figures(points),
        }));
    }
    curves
}

fn in_a_process(subject: Subject, most: u64) -> Result<Vec<Point>> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--one", subject.name(), "--most", &most.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(child.status.success(), "{} ended with {}", subject.name(), child.status);
    Ok(serde_json::from_slice(&child.stdout)?)
}
