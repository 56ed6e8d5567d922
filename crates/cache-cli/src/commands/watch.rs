//! `watch`: what processes tell one another of changes, as it is told.

mod follow;
mod line;

use std::future::pending;

use anyhow::{Context as _, Result};
use cache_core::{Error, ErrorKind, Span, Tier};
use clap::Args;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::line::{Kind, Line};
use super::Context;
use crate::{
    exit::{BadInput, Exit},
    output,
    signals::Signals,
    wiring::Session,
};

/// Lines that may wait to be printed before the logs are read no further.
const LINES_MAX: usize = 1_024;

/// Print each change of the configured tiers as it is made, until Ctrl-C
///
/// Follows the logs by which processes hear of one another's changes, each from its present end.
/// A line has the time of the change by the clock of whoever made it, the tier, what was done
/// (`insert`, `removal`, `clear`), the key or the namespace, the mark that it has set, who did it
/// (`cache`, or an `application` by SQL), and how long after it this process heard of it. The
/// generations of tags are keys of a namespace `NAME~tags`.
///
/// Also told are a `gap` (changes were missed), a `cut` (the log cannot be read, and why) and its
/// end (`resumed`). Changes of a cache's fills are none: they change nothing that was true.
/// With `--format json`: one object a line: `at_ms`, `tier`, `event`, and where there is one `key`,
/// `namespace`, `mark`, `author`, `lag_ms`, `error`. A lag below zero means that clocks differ.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli watch
  cache-cli watch --tier redis --for 10s --format json
  cache-cli watch --beats"
)]
pub(crate) struct Watch {
    /// The tier to follow, by the name that `stats` shows [default: each that keeps a log]
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,

    /// How long, such as 10s or 5m [default: until Ctrl-C]
    #[arg(long = "for", value_name = "SPAN")]
    period: Option<Span>,

    /// Print the signs of life, by which readers tell a quiet log from a cut one, too
    #[arg(long)]
    beats: bool,
}

impl Watch {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let session = context.session().await?;
        let mut signals = Signals::new().context("could not watch for signals")?;
        let (sender, mut lines) = mpsc::channel(LINES_MAX);
        let mut followers = JoinSet::new();
        let mut names = Vec::new();
        for tier in self.chosen(&session)? {
            let Some(log) = tier.log() else { continue };
            let from = log.end().await?;
            names.push(tier.info().name.to_string());
            let clock = session.clock.clone();
            followers.spawn(follow::follow(log, from, clock, sender.clone()));
        }
        drop(sender);
        if names.is_empty() {
            return Err(no_log().into());
        }
        output::note(format_args!("watching the changes of {}; Ctrl-C ends it", names.join(", ")));

        let end_at = self.period.map(|Span(period)| Instant::now() + period);
        let mut end = Box::pin(async move {
            match end_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        });
        loop {
            let line: Option<Line> = tokio::select! {
                line = lines.recv() => line,
                () = &mut end => None,
                () = signals.next() => None,
            };
            let Some(line) = line else { break };
            if self.beats || line.kind != Kind::Beat {
                context.format.print(&line)?;
            }
        }
        followers.shutdown().await;
        session.close(&[]).await?;
        Ok(Exit::Done)
    }

    fn chosen<'s>(&self, session: &'s Session) -> Result<Vec<&'s dyn Tier>> {
        let tiers = session.tiers.iter().map(|tier| &**tier);
        let Some(wanted) = &self.tier else { return Ok(tiers.collect()) };
        let chosen: Vec<_> = tiers.filter(|tier| *tier.info().name == **wanted).collect();
        if chosen.is_empty() {
            let names: Vec<&str> = session.tiers.iter().map(|tier| &*tier.info().name).collect();
            let fault = format!("no tier is named {wanted:?}; there are: {}", names.join(", "));
            return Err(BadInput(fault).into());
        }
        Ok(chosen)
    }
}

fn no_log() -> Error {
    Error::new(ErrorKind::Config, "none of the tiers keeps a log of its changes")
        .hint("set `redis.log` or `postgres.log` to \"on\", here and in every process")
}
