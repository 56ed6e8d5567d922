//! The cache beside the caches that a user would pick instead: `cargo xtask bench peers`.
//!
//! Each of them is a program of its own, which is asked [`Question`]s. They take turns: a peer,
//! ours, the next peer, and so on, so that each has a run of ours right beside its own.

mod programs;
mod rounds;
mod rows;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use cache_peers_measure::{Pace, Question, comparison::Comparison};
use clap::Parser;

use programs::{PEERS, Programs};
use rounds::Rounds;
use rows::{Selection, row};

/// Measures this cache beside others, on the Redis that `REDIS_URL` names.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the rows whose name has this in it
    filter: Option<String>,
    /// Fewer and shorter repeats: for orientation
    #[arg(long)]
    quick: bool,
    /// Where the rows go, as JSON; otherwise to standard output
    #[arg(long)]
    rows: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { filter, quick, rows: path } = Arguments::parse();
    let (pace, repeats) = if quick { (Pace::Quick, 2) } else { (Pace::Full, 5) };
    let selection = Selection::new(filter.as_deref());
    let programs = Programs::build()?;
    let mut rounds = Rounds::new(&programs, &selection, pace);
    for repeat in 1..=repeats {
        eprintln!("repeat {repeat} of {repeats}");
        rounds.run().await?;
    }
    let asked = Question::ALL.into_iter().flat_map(|question| PEERS.map(|peer| (question, peer)));
    let rows = asked.filter_map(|(question, peer)| {
        rounds.pairs(peer, question).map(|pairs| row(peer, question, pairs))
    });
    let mut comparison = Comparison::default();
    comparison.rows.extend(rows);
    let json = serde_json::to_string_pretty(&comparison)?;
    match path {
        Some(path) => {
            fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
        }
        None => {
            println!("{json}");
            Ok(())
        }
    }
}
