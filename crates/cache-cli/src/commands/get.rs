//! `get`: values, and where they came from.

use std::{fmt, sync::Arc};

use anyhow::Result;
use cache_core::Hit;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use crate::{
    exit::Exit,
    keys::{Name, by_namespace},
    output::{self, Align, Table},
};

/// Print values, where they came from, how old they are and how long they are fresh
///
/// The keys of one namespace are read as one batch. A value that a lower tier has is promoted to
/// the tiers above it, as for any reader. With `--format json`: an array with one object a key, in
/// the order of the keys: `key`, `found`, and for what was found `value`, `origin`, `age_ms`,
/// `fresh_for_ms`, `stale`, `version`.
///
/// Exits with 1 when a key is not there.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli get price:AAPL
  cache-cli get price:AAPL price:MSFT --format json
  cache-cli get price:AAPL --raw | jq .close"
)]
pub(crate) struct Get {
    /// `namespace:text`; without a colon, a key of the namespace `default`
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// Print the bare values as JSON, one a line, and nothing for a key that is not there
    #[arg(long)]
    raw: bool,
}

impl Get {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let names = Name::parse_all(&self.keys)?;
        let session = context.session().await?;
        let mut found: Vec<Option<Hit<Value>>> = vec![None; names.len()];
        let mut caches = Vec::new();
        for (namespace, members) in by_namespace(&names) {
            let cache = session.cache(namespace)?;
            let hits = cache.get_many(members.iter().map(|(_, text)| *text)).await?;
            for ((at, _), hit) in members.into_iter().zip(hits) {
                found[at] = hit;
            }
            caches.push(cache);
        }
        session.close(&caches).await?;
        let answers: Vec<Answer> =
            names.iter().zip(found).map(|(name, hit)| Answer::new(name, hit)).collect();
        let all_found = answers.iter().all(|answer| answer.found);
        if self.raw {
            output::write(raw(&answers).as_bytes())?;
        } else {
            context.format.print(&Answers(answers))?;
        }
        Ok(if all_found { Exit::Done } else { Exit::No })
    }
}

/// The answers in the order of the keys.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Answers(Vec<Answer>);

#[derive(Debug, Serialize)]
struct Answer {
    key: String,
    found: bool,
    #[serde(flatten)]
    hit: Option<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    value: Arc<Value>,
    origin: String,
    age_ms: u128,
    fresh_for_ms: u128,
    stale: bool,
    version: Option<u64>,
}

impl Answer {
    fn new(name: &Name, hit: Option<Hit<Value>>) -> Self {
        Self { key: name.to_string(), found: hit.is_some(), hit: hit.map(Found::new) }
    }
}

impl Found {
    fn new(hit: Hit<Value>) -> Self {
        Self {
            origin: hit.origin().to_string(),
            age_ms: hit.age().as_millis(),
            fresh_for_ms: hit.fresh_for().as_millis(),
            stale: hit.is_stale(),
            version: hit.version().map(|version| version.0),
            value: hit.into_value(),
        }
    }
}

fn raw(answers: &[Answer]) -> String {
    let found = answers.iter().filter_map(|answer| answer.hit.as_ref());
    found.map(|found| format!("{}\n", found.value)).collect()
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("key", Align::Left),
            ("origin", Align::Left),
            ("age", Align::Right),
            ("fresh for", Align::Right),
            ("version", Align::Right),
            ("value", Align::Left),
        ]);
        let absent = || "-".to_owned();
        for Answer { key, hit, .. } in &self.0 {
            let Some(hit) = hit else {
                let there = "not there".to_owned();
                table.row(&[key.clone(), there, absent(), absent(), absent(), absent()]);
                continue;
            };
            let fresh_for = match hit.stale {
                true => "stale".to_owned(),
                false => output::millis(hit.fresh_for_ms),
            };
            table.row(&[
                key.clone(),
                hit.origin.clone(),
                output::millis(hit.age_ms),
                fresh_for,
                output::number(hit.version),
                hit.value.to_string(),
            ]);
        }
        fmt::Display::fmt(&table, f)
    }
}
