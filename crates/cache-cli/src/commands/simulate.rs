//! `simulate`: which policy and size suit the reads of a trace.

mod answer;
mod work;

use std::path::{Path, PathBuf};

use anyhow::Result;
use cache_core::{Error, ErrorKind};
use cache_trace::{Advice, Contender, Plan, Sampling, Size, Trace, Weight};
use clap::{Args, ValueEnum};

use self::{
    answer::{Answer, Sizes},
    work::Work,
};
use super::Context;
use crate::{
    exit::{BadInput, Exit},
    output::{self, Format},
};

/// Replay a trace of reads under each eviction policy, and say which one suits it
///
/// FILE is one key a line, CSV whose heading names a column `key` and any of `time` and `ttl` (in
/// seconds; or `time_ms`, `ttl_ms`, `time_us`, `ttl_us`), `size` (bytes) and `cost` (in any unit), or
/// an access log that a cache has recorded (see `record`); plain or Zstandard. `-` is standard input.
/// Each read is a hit, or a miss that is followed by a fill. Where there are times and times to live,
/// what has expired is a miss.
///
/// A size is a percentage of the different keys (rounded down) or a number of values, each of which
/// weighs one; or bytes such as 64MiB, where the trace tells sizes. `opt` is Belady's optimum, which
/// knows the future: no policy is above it (by bytes it is a rule of thumb, and hardly ever beaten).
///
/// All reads are replayed unless that would take minutes: then a sample of the keys in a cache that
/// is smaller by as much, and it is said how far off that may be.
///
/// With --format json: an array of `policy`, `size` (as asked for), `capacity`, `requests`, `hits`,
/// `hit_ratio`, and nothing else; with --weight bytes or cost, `requests` and `hits` are sums of
/// those. Reads no server, and needs no configuration.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli simulate reads.keys.zst
  cache-cli simulate reads.csv --html curves.html --current lru@64MiB
  cache-cli simulate reads.csv --policies lru,s3-fifo,opt --sizes 1%,5%,10% --format json
  zcat reads.gz | cache-cli simulate - --sample 0.01"
)]
pub(crate) struct Simulate {
    /// The trace, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The policies, with commas between them [default: all of them, and opt]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = contender)]
    policies: Vec<Contender>,

    /// The sizes: 5%, 1000 or 64MiB [default: 20 from a thousandth of all values to all]
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = size)]
    sizes: Vec<Size>,

    /// By what a hit counts
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    weight: WeightBy,

    /// What part of the keys is replayed: auto, off (all of them), or a number up to 1
    #[arg(long, value_name = "RATE", default_value = "auto", value_parser = sampling)]
    sample: Sampling,

    /// What is set now, such as lru@64MiB [default: the near tier, if FILE tells sizes]
    #[arg(long, value_name = "POLICY@SIZE", value_parser = setting)]
    current: Option<Setting>,

    /// Write one page with chart, advice and figures, which needs no network
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,

    /// Write the chart of hit ratio against size
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
}

/// By what a hit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum WeightBy {
    /// Each as one
    #[default]
    Count,
    /// By the bytes of its value
    Bytes,
    /// By what its load costs
    Cost,
}

/// A policy at a size.
#[derive(Clone, Debug)]
struct Setting {
    policy: Contender,
    size: Size,
}

impl Simulate {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let mut work = Work::new()?;
        let trace = work.read(self.file.clone()).await?;
        let weight = self.weight(&trace)?;
        let plan = self.plan(&trace);
        let curves = work.simulate(&trace, plan.clone()).await?;
        let is_advised = context.format == Format::Table || self.html.is_some();
        let advice = match is_advised {
            true => {
                let current = self.current(&trace, context);
                let curves_there = match &current {
                    Some(Setting { policy, size }) => {
                        let plan = at_one_size(&plan, *policy, size.clone());
                        Some((*policy, work.simulate(&trace, plan).await?))
                    }
                    None => None,
                };
                let current = curves_there.as_ref().map(|(policy, curves)| (*policy, curves));
                Advice::of(&curves, weight, current)
            }
            false => None,
        };
        let sizes = if self.sizes.is_empty() { Sizes::Spread } else { Sizes::Named };
        let notes = answer::notes(&trace, &plan, &curves, sizes);
        let answer = Answer { notes, curves, weight, advice };
        self.write_files(&answer)?;
        if context.format == Format::Json && answer.curves.sample.is_some() {
            answer.notes.iter().for_each(output::note);
        }
        context.format.print(&answer)?;
        Ok(Exit::Done)
    }

    fn weight(&self, trace: &Trace) -> Result<Weight> {
        let columns = trace.columns();
        let (weight, column, is_known) = match self.weight {
            WeightBy::Count => (Weight::Count, "key", true),
            WeightBy::Bytes => (Weight::Bytes, "size", columns.size),
            WeightBy::Cost => (Weight::Cost, "cost", columns.cost),
        };
        if is_known {
            Ok(weight)
        } else {
            let fault = format!(
                "--weight {weight} needs a column `{column}`, and the trace has none; leave it out, \
                 or give a trace that tells it"
            );
            Err(BadInput(fault).into())
        }
    }

    fn plan(&self, trace: &Trace) -> Plan {
        let all = Plan { sampling: self.sample, ..Plan::all(trace) };
        Plan {
            contenders: if self.policies.is_empty() {
                all.contenders
            } else {
                self.policies.clone()
            },
            sizes: if self.sizes.is_empty() { all.sizes } else { self.sizes.clone() },
            ..all
        }
    }

    /// The setting to compare with: as it was named, else that of the near tier, which is in bytes.
    /// A configuration that cannot be read is not what this command is about.
    fn current(&self, trace: &Trace, context: &Context) -> Option<Setting> {
        self.current.clone().or_else(|| {
            let config = context.config().ok().filter(|_| trace.columns().size)?;
            let policy = config.cache_eviction_policy.to_string().parse().ok()?;
            Some(Setting { policy, size: Size::bytes(config.near.bytes_max.as_u64()) })
        })
    }

    fn write_files(&self, answer: &Answer) -> Result<()> {
        let Answer { curves, notes, weight, advice } = answer;
        if let Some(path) = &self.svg {
            write(path, &curves.chart("Hit ratio against size", *weight).to_svg())?;
        }
        if let Some(path) = &self.html {
            let name = self.file.file_name().unwrap_or(self.file.as_os_str()).to_string_lossy();
            let title = format!("Eviction policies on {name}");
            write(path, &curves.html(&title, notes, *weight, advice.as_ref()))?;
        }
        Ok(())
    }
}

/// All policies of the plan and the present one, at the present size.
fn at_one_size(plan: &Plan, policy: Contender, size: Size) -> Plan {
    let mut contenders = plan.contenders.clone();
    if !contenders.contains(&policy) {
        contenders.push(policy);
    }
    Plan { contenders, sizes: vec![size], ..plan.clone() }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        let fault = format!("cannot write `{}`: {error}; name another file", path.display());
        BadInput(fault).into()
    })
}

/// A trace or an argument that cannot be used is bad input, whatever it is to the library.
fn bad(error: Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::Closed | ErrorKind::Internal => error.into(),
        _ => BadInput(error.to_string()).into(),
    }
}

fn contender(text: &str) -> Result<Contender, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

fn size(text: &str) -> Result<Size, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

fn setting(text: &str) -> Result<Setting, String> {
    let (policy, size) =
        text.split_once('@').ok_or("write a policy and a size, such as lru@64MiB")?;
    match contender(policy)? {
        Contender::Optimum => Err("no cache can have `opt`; name a policy".to_owned()),
        policy @ Contender::Policy(_) => Ok(Setting { policy, size: self::size(size)? }),
    }
}

fn sampling(text: &str) -> Result<Sampling, String> {
    match (text, text.parse::<f64>()) {
        ("auto", _) => Ok(Sampling::Auto),
        ("off", _) => Ok(Sampling::Off),
        (_, Ok(rate)) if rate > 0.0 && rate <= 1.0 => Ok(Sampling::Rate(rate)),
        _ => {
            Err("write auto, off, or a part of the keys above 0 and up to 1, such as 0.01"
                .to_owned())
        }
    }
}
