//! `remove`: keys, or what carries tags, from every tier.

use std::fmt;

use anyhow::Result;
use cache_core::{Namespace, TagQuery, Version};
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    exit::Exit,
    keys::{Name, by_namespace},
};

/// Remove keys, or all that carries certain tags, from every tier
///
/// A load that began before does not bring the old value back. A removal is one also where nothing
/// was there. Every process that shares a tier hears of it, and drops its own copies.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli remove price:AAPL price:MSFT
  cache-cli remove price:AAPL --before-version 42
  cache-cli remove --namespace price --tag nasdaq --tag nyse
  cache-cli remove --namespace price --tag nasdaq --tag tech --all-of"
)]
pub(crate) struct Remove {
    /// `namespace:text`; without a colon, a key of the namespace `default`
    #[arg(required_unless_present = "tags", conflicts_with = "tags", value_name = "KEY")]
    keys: Vec<String>,

    /// Refuse versions older than this one from now on: the version that the source has now
    #[arg(long, conflicts_with = "tags", value_name = "NUMBER")]
    before_version: Option<u64>,

    /// Remove what carries this tag; with several, what carries at least one of them
    #[arg(long = "tag", requires = "namespace", value_name = "TAG")]
    tags: Vec<String>,

    /// Remove only what carries every --tag
    #[arg(long, requires = "tags", conflicts_with = "keys")]
    all_of: bool,

    /// Where the tags are: what stands before the colon of the keys
    #[arg(long, requires = "tags", conflicts_with = "keys", value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        match self.namespace.clone() {
            Some(namespace) => self.remove_tagged(namespace, context).await,
            None => self.remove_keys(context).await,
        }
    }

    async fn remove_keys(self, context: &Context) -> Result<Exit> {
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
        context.format.print(&Removed { removed: names.iter().map(Name::to_string).collect() })?;
        Ok(Exit::Done)
    }

    async fn remove_tagged(self, namespace: String, context: &Context) -> Result<Exit> {
        Namespace::new(&namespace)?;
        let tags = self.tags.iter().map(String::as_str);
        let query = if self.all_of { TagQuery::all_of(tags) } else { TagQuery::any_of(tags) };
        query.validate()?;
        let session = context.session().await?;
        let cache = session.cache(&namespace)?;
        cache.invalidate_tagged(query).await?;
        session.close(&[cache]).await?;
        context.format.print(&RemovedTagged { namespace, tags: self.tags, all_of: self.all_of })?;
        Ok(Exit::Done)
    }
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.removed.iter().try_for_each(|key| writeln!(f, "{key} is removed"))
    }
}

#[derive(Debug, Serialize)]
struct RemovedTagged {
    namespace: String,
    tags: Vec<String>,
    all_of: bool,
}

impl fmt::Display for RemovedTagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = self.tags.join(if self.all_of { " and " } else { " or " });
        write!(f, "what carries {tags} in {} is removed", self.namespace)
    }
}
