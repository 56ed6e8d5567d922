//! `clear`: a whole namespace out of every tier.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use anyhow::{Context as _, Result};
use cache_core::Namespace;
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    exit::{BadInput, Exit},
    wiring::Session,
};

/// Remove everything of a namespace from every tier
///
/// Asks first, on a terminal. Elsewhere it needs --yes.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli clear price
  cache-cli clear price --yes"
)]
pub(crate) struct Clear {
    /// What stands before the colon of the keys
    namespace: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Clear {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        Namespace::new(&self.namespace)?;
        let session = context.session().await?;
        if !self.yes && !self.confirmed(&session)? {
            context.format.print(&Answer { namespace: self.namespace, cleared: false })?;
            return Ok(Exit::No);
        }
        let cache = session.cache(&self.namespace)?;
        cache.clear().await?;
        session.close(&[cache]).await?;
        context.format.print(&Answer { namespace: self.namespace, cleared: true })?;
        Ok(Exit::Done)
    }

    fn confirmed(&self, session: &Session) -> Result<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let fault = "there is no terminal to ask at; add --yes to clear without a question";
            return Err(BadInput(fault.to_owned()).into());
        }
        let tiers: Vec<&str> = session.tiers.iter().map(|tier| &*tier.info().name).collect();
        let (namespace, tiers) = (&self.namespace, tiers.join(" and "));
        let mut terminal = io::stderr();
        write!(terminal, "Remove everything of `{namespace}` from {tiers}? [y/N] ")
            .and_then(|()| terminal.flush())
            .context("could not ask at the terminal")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("could not read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    namespace: String,
    cleared: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.cleared { "" } else { "not " };
        write!(f, "{} is {not}cleared", self.namespace)
    }
}
