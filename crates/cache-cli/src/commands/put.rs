//! `put`: one value into every tier.

use std::{
    fmt,
    io::{self, Read},
};

use anyhow::{Context as _, Result};
use cache_core::{Item, PAYLOAD_LEN_MAX, PutOutcome, Span, TagQuery, Ttl, Version};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use crate::{
    exit::{BadInput, Exit},
    keys::Name,
};

/// Write a value to every tier
///
/// The value is JSON: a number, a text in quotes, a list, an object. It is fresh for `--ttl`, else
/// for the setting `ttl`, and served as stale for the setting `max_stale` after that.
///
/// Exits with 1 when a tier knows a newer version: then it is not stored.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli put price:AAPL 187.5 --ttl 10s
  cache-cli put price:AAPL '{\"close\": 187.5}' --version 42
  cache-cli put price:AAPL 187.5 --tag nasdaq --tag tech
  cache-cli put greeting hello --string
  curl -s https://example.com/quote.json | cache-cli put price:AAPL -"
)]
pub(crate) struct Put {
    /// `namespace:text`; without a colon, a key of the namespace `default`
    key: String,

    /// The value as JSON; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    value: String,

    /// How long it is fresh, such as 10s or "1h 30m", from 1ms to 366days
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,

    /// The value's version at its source: an older one is refused from then on
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,

    /// By what it can be removed together with others, see `remove --tag`. May be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Take the value as plain text; of standard input, without the last line's end
    #[arg(long)]
    string: bool,
}

impl Put {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let name = Name::parse(&self.key)?;
        let config = context.config()?;
        let fresh = self.ttl.unwrap_or(config.ttl).0;
        Ttl { fresh, stale: config.max_stale.0 }.validate()?;
        if !self.tags.is_empty() {
            TagQuery::any_of(self.tags.iter().map(String::as_str)).validate()?;
        }
        let value = self.value()?;
        let session = context.session().await?;
        let cache = session.cache(&name.namespace)?;
        let mut item = Item::new(value).ttl(fresh).tags(&self.tags);
        if let Some(version) = self.version {
            item = item.version(Version(version));
        }
        let outcome = cache.insert(&name.text, item).await?;
        session.close(&[cache]).await?;
        let answer = Answer { key: name.to_string(), outcome };
        match outcome {
            PutOutcome::TooLarge => Err(too_large(&answer.key).into()),
            _ => {
                context.format.print(&answer)?;
                Ok(if outcome == PutOutcome::Superseded { Exit::No } else { Exit::Done })
            }
        }
    }

    fn value(&self) -> Result<Value> {
        let text = match self.value.as_str() {
            "-" => from_stdin()?,
            text => text.to_owned(),
        };
        if self.string {
            let from_stdin = self.value == "-";
            let line = text.strip_suffix('\n').filter(|_| from_stdin).unwrap_or(&text);
            let line = line.strip_suffix('\r').filter(|_| from_stdin).unwrap_or(line);
            return Ok(Value::from(line));
        }
        Ok(serde_json::from_str(&text).map_err(|fault| {
            BadInput(format!(
                "the value is no JSON: {fault}; correct it, or add --string for a text"
            ))
        })?)
    }
}

/// Reads no more than could be stored.
fn from_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let limit = PAYLOAD_LEN_MAX as u64;
    io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .context("could not read the value from standard input")?;
    if bytes.len() as u64 > limit {
        let fault = format!("the value is longer than {limit} bytes; cache a smaller one");
        return Err(BadInput(fault).into());
    }
    Ok(String::from_utf8(bytes)
        .map_err(|_| BadInput("the value on standard input is not UTF-8".to_owned()))?)
}

fn too_large(key: &str) -> BadInput {
    BadInput(format!(
        "the value of {key} is above what a tier can hold, and an old one is removed; cache a \
         smaller one, or raise the tier's `payload_len_max`"
    ))
}

#[derive(Debug, Serialize)]
struct Answer {
    key: String,
    outcome: PutOutcome,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            PutOutcome::Stored => write!(f, "{} is stored", self.key),
            PutOutcome::Superseded => {
                write!(f, "{} is not stored: a newer version of it is known", self.key)
            }
            _ => write!(f, "{} is not stored", self.key),
        }
    }
}
