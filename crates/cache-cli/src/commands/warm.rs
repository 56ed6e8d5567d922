//! `warm`: values from a source into every tier, once or for as long as it runs.

mod job;
mod keys;
mod origin;
mod plan;
mod watch;

use anyhow::Result;
use cache_core::{Cache, Span, Ttl};
use cache_warmer::{DataKind, JobEnd, Mode, Plan, Report, Start, Warmer, WarmerConfig};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

pub(crate) use self::origin::Origin;
use self::{
    keys::{Keys, Wanted},
    origin::{Columns, Source},
};
use super::Context;
use crate::{
    config::{Config, WarmConfig},
    exit::Exit,
    output,
    wiring::Session,
};

/// How many values are read at once to see whether they were written.
const READ_BACK_LEN: usize = 1_000;

/// Load values from a source and write them to every tier
///
/// Written is under `kind:key`, which is what readers read: `price:AAPL`. What the tiers have fresh
/// is left alone, unless --forced.
///
/// A live source (http) is asked for the market preset unless keys are named, and its values live
/// as long as their kind of data does: a price 10 s, technical data 5 min, news 10 min, fundamentals
/// 1 h, macro data 24 h, other data 5 min. A file is asked for all keys that it has, and its values
/// live for 24 h: they are daily bars of the past, which do not get older by the second, and a price
/// that is gone after 10 s would be of no use to the next command.
///
/// With --format json: the report as an object; with --watch the report of the first round, and at
/// the end the statistics of all of them. Exits with 1 when the source has none of the keys, and
/// with 4 when some could not be loaded, or written to every tier.
///
/// A single run keeps its place in the bottom tier, every 1,000 keys. Ctrl-C ends it in order, with
/// exit code 6, and --resume goes on there, as it does after a crash; of several processes that
/// warm one namespace one works at a time.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cache-cli warm
  cache-cli warm --preset market --source https://quotes.example/{key}.json
  cache-cli warm --source csv:prices.csv --key-column Symbol --order-column Date --ttl 1h
  cache-cli warm --keys AAPL,MSFT --forced
  cache-cli warm --keys-file keys.txt --rate 500 --source https://quotes.example/{key}.json
  cache-cli warm --keys-file keys.txt --rate 500 --source https://quotes.example/{key}.json --resume
  cache-cli warm --learned --max-keys 5000 --source https://quotes.example/{key}.json
  cache-cli warm --query \"SELECT key FROM popular\" --source https://quotes.example/{key}.json
  cache-cli warm plan --keys-file keys.txt --source https://quotes.example/{key}.json
  cache-cli warm status --kind price
  cache-cli warm --watch --source https://quotes.example/{key}.json"
)]
pub(crate) struct Warm {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    what: What,

    /// Load also what the tiers have fresh
    #[arg(long)]
    forced: bool,

    /// Go on where an earlier run of the same keys was stopped, or died
    #[arg(long, conflicts_with = "watch")]
    resume: bool,

    /// Go on until Ctrl-C, and load each value again shortly before it expires
    #[arg(long, conflicts_with = "forced")]
    watch: bool,
}

/// What is told instead of warming.
#[derive(Subcommand)]
enum Action {
    /// Tell what a run would load, and at what cost, and load nothing
    Plan(Box<What>),
    /// Tell how the last run of a namespace stands
    Status(Status),
}

/// Which run.
#[derive(Args)]
struct Status {
    /// The kind of data, which is the namespace [default: price]
    #[arg(long, value_name = "KIND")]
    kind: Option<DataKind>,
}

/// What is warmed, and how fast.
#[derive(Args)]
struct What {
    /// `sample` (built in), `csv:PATH`, or the URL of an HTTP/JSON source with `{key}` in it
    #[arg(long, value_name = "SOURCE")]
    source: Option<Origin>,

    #[command(flatten)]
    wanted: Wanted,

    /// The kind of data and the namespace: price, technical, news, fundamentals, macro or other
    #[arg(long, value_name = "KIND")]
    kind: Option<DataKind>,

    /// How long a value is fresh
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,

    /// The column of a CSV file that holds the key [default: Ticker]
    #[arg(long, value_name = "NAME")]
    key_column: Option<String>,

    /// The column that tells which of a key's rows is the latest [default: the last row is]
    #[arg(long, value_name = "NAME")]
    order_column: Option<String>,

    /// Ask the source for so many keys a second at most
    #[arg(long, value_name = "KEYS_PER_S")]
    rate: Option<f64>,

    /// How many calls of the source may be under way at the same time
    #[arg(long, value_name = "CALLS")]
    concurrency: Option<usize>,

    /// Stop after this time; --resume goes on
    #[arg(long, value_name = "SPAN")]
    deadline: Option<Span>,
}

/// A named set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Preset {
    Market,
}

/// What the flags and the configuration come to.
struct Chosen {
    config: Config,
    kind: DataKind,
    source: Source,
    keys: Keys,
    ttl: Ttl,
    warmer: WarmerConfig,
}

impl Warm {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        match self.action {
            Some(Action::Plan(what)) => return plan::run(what.choose(context)?, context).await,
            Some(Action::Status(status)) => return job::status(&status, context).await,
            None => {}
        }
        let Chosen { config, kind, source, keys, ttl, warmer } = self.what.choose(context)?;
        let session = Session::open(config).await?;
        let plan = keys.plan(&session, kind).await?;
        let cache = session.cache_with(kind.namespace(), ttl)?;
        let warmer = Warmer::new(cache.clone(), source.into_shared(), warmer)?;
        let exit = if self.watch {
            watch::run(&warmer, &plan, context.format).await?
        } else {
            let mode = if self.forced { Mode::Forced } else { Mode::Due };
            let start = if self.resume { Start::Resume } else { Start::Anew };
            let job = job::of(&session, kind, plan.clone())?.mode(mode);
            let end = job::run(&warmer, &job, start).await?;
            let report = end.report();
            let is_written = is_written(&session, &cache, &plan, &end).await?;
            context.format.print(report)?;
            match &end {
                JobEnd::Done(report) if is_written => exit(report),
                JobEnd::Done(_) => Exit::Tier,
                _ => Exit::Stopped,
            }
        };
        session.close(&[cache]).await?;
        Ok(exit)
    }
}

impl What {
    fn choose(self, context: &Context) -> Result<Chosen> {
        let config = context.config()?;
        let source = self.source(&config.warm)?;
        let kind = self.kind.or(config.warm.kind).unwrap_or(DataKind::Price);
        let keys = self.wanted.keys(&config, &source, kind)?;
        let fresh = self.ttl.or(config.warm.ttl).map_or(source.ttl(kind), |ttl| ttl.0);
        let ttl = Ttl { fresh, stale: config.max_stale.0 }.validate()?;
        let warmer = self.warmer_config(&config);
        Ok(Chosen { config, kind, source, keys, ttl, warmer })
    }

    fn source(&self, config: &WarmConfig) -> Result<Source> {
        let origin = self.source.clone().or_else(|| config.source.clone()).unwrap_or_default();
        let columns = Columns {
            key: self.key_column.clone().or_else(|| config.key_column.clone()),
            order: self.order_column.clone().or_else(|| config.order_column.clone()),
        };
        origin.open(columns, config)
    }

    fn warmer_config(&self, config: &Config) -> WarmerConfig {
        let defaults = WarmerConfig::default();
        let WarmConfig { concurrency, refresh_ahead, deadline, keys_per_s_max, .. } = &config.warm;
        let slowdown = config.warm.live_slowdown_max;
        WarmerConfig {
            cache_warming_enabled: config.cache_warming_enabled,
            cache_warming_interval_seconds: config.cache_warming_interval_seconds,
            concurrency: self.concurrency.or(*concurrency).unwrap_or(defaults.concurrency),
            refresh_ahead: refresh_ahead.unwrap_or(defaults.refresh_ahead),
            deadline: self.deadline.or(*deadline),
            keys_per_s_max: self.rate.or(*keys_per_s_max),
            live_slowdown_max: slowdown.unwrap_or(defaults.live_slowdown_max),
            ..defaults
        }
    }
}

/// Whether every tier has what the report says: a cache that a tier fails still answers its readers,
/// so the run does not tell.
async fn is_written(
    session: &Session,
    cache: &Cache<Value>,
    plan: &Plan,
    end: &JobEnd,
) -> Result<bool> {
    let JobEnd::Done(report) = end else { return Ok(true) };
    let wanted = report.warmed() + report.already_fresh;
    let mut is_written = true;
    for tier in &session.tiers {
        let mut present = 0;
        for texts in plan.keys().chunks(READ_BACK_LEN) {
            let keys = texts.iter().map(|text| cache.namespace().key(text));
            let lookups = tier.get_many(&keys.collect::<cache_core::Result<Vec<_>>>()?).await?;
            present += lookups.iter().filter(|lookup| lookup.entry.is_some()).count() as u64;
        }
        if present < wanted {
            let (name, absent) = (&tier.info().name, wanted - present);
            output::note(format_args!(
                "error: {absent} of {wanted} values are not in {name}; see `cache-cli doctor`, and \
                 whether they are above its `payload_len_max`"
            ));
            is_written = false;
        }
    }
    Ok(is_written)
}

fn exit(report: &Report) -> Exit {
    if report.failed_keys() > 0 {
        Exit::Tier
    } else if report.missing_at_source == report.planned {
        Exit::No
    } else {
        Exit::Done
    }
}
