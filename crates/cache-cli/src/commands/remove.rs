//! `remove`: keys from every tier.

use std::fmt;

use anyhow::Result;
use cache_core::Version;
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    exit::Exit,
    keys::{Name, by_namespace},
};

/// Remove keys from every tier
///
/// A load that began before does not bring the old value back. A removal is one also where the key
/// was not there.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli remove price:AAPL price:MSFT
  cache-cli remove price:AAPL --before-version 42"
)]
pub(crate) struct Remove {
    /// `namespace:text`; without a colon, a key of the namespace `default`
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// Refuse versions older than this one from now on: the version that the source has now
    #[arg(long, value_name = "NUMBER")]
    before_version: Option<u64>,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let names = Name::parse_all(&self.keys)?;
        let session = context.session().await?;
        let mut caches = Vec::new();
        for (namespace, members) in by_namespace(&names) {
            let cache = session.cache(namespace)?;
            let texts = members.iter().map(|(_, text)| *text);
            match self.before_version.map(Version) {
                None => cache.invalidate_many(texts).await?,
                Some(version) => {
                    for text in texts {
                        cache.invalidate_before(text, version).await?;
                    }
                }
            }
            caches.push(cache);
        }
        session.close(&caches).await?;
        context.format.print(&Answer { removed: names.iter().map(Name::to_string).collect() })?;
        Ok(Exit::Done)
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    removed: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.removed.iter().try_for_each(|key| writeln!(f, "{key} is removed"))
    }
}
