//! A process that measures one cache.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::{
    Node, Pace, Peer, Question, Turns, held, herd,
    keys::keys,
    near,
    remote::{self, Ground},
};

/// How many keys a near tier holds.
const WIDE: usize = 100_000;

/// How many of them are hot.
const HOT: usize = 1_000;

/// How long a question may take: beyond that its cache hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Measures one cache, and prints its answers as JSON, one on a line.
#[derive(Debug, Parser)]
struct Arguments {
    /// The Redis to use
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
    /// A word that no other run has: keys begin with it
    #[arg(long)]
    namespace: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Debug, PartialEq, Subcommand)]
enum Task {
    /// Answers questions, one after the other
    Answer {
        /// Fewer and shorter windows
        #[arg(long)]
        quick: bool,
        /// Which ones
        #[arg(required = true)]
        questions: Vec<Question>,
    },
    /// Is one of several nodes whose callers want the same keys, which come on standard input
    Herd,
}

/// What a cache says to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A figure in the question's unit.
    Figure(f64),
    /// None, and why.
    Cannot(String),
    /// None, as this went wrong.
    Failed(String),
}

/// An answer, as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// To what.
    pub question: Question,
    /// The answer.
    pub answer: Answer,
}

/// The `main` of the program of a cache.
///
/// # Errors
///
/// The arguments make no sense, or the cache cannot be opened.
pub fn run<P: Peer>() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    // On one of its threads: the one that blocks on the runtime is not of it.
    let done = runtime.block_on(async { tokio::spawn(carry_out::<P>(arguments)).await });
    // Some caches leave tasks behind that do not end by themselves.
    runtime.shutdown_background();
    done.context("the measurement panicked")?
}

async fn carry_out<P: Peer>(arguments: Arguments) -> Result<()> {
    let Arguments { redis_url, namespace, task } = arguments;
    match task {
        Task::Herd => herd::serve::<P>(&Node { redis_url, namespace, turns: Turns::OfAll }).await,
        Task::Answer { quick, questions } => {
            let node = Node { redis_url, namespace, turns: Turns::OfProcess };
            let pace = if quick { Pace::Quick } else { Pace::Full };
            let ground = Ground { keys: keys(&node.namespace, WIDE), node, pace };
            let mut peer = P::open(&ground.node).await?;
            let filled = tokio::time::timeout(PATIENCE, held::fill(&peer, &ground.keys)).await;
            let held = filled.with_context(|| format!("it is not full after {PATIENCE:?}"))??;
            for question in questions {
                let answer = match P::cannot(question) {
                    Some(reason) => Answer::Cannot(reason.to_owned()),
                    None => {
                        let asked = ask(&mut peer, &ground, held, question);
                        match tokio::time::timeout(PATIENCE, asked).await {
                            Ok(Ok(figure)) => Answer::Figure(figure),
                            Ok(Err(error)) => Answer::Failed(format!("{error:#}")),
                            Err(_) => Answer::Failed(format!("no answer within {PATIENCE:?}")),
                        }
                    }
                };
                println!("{}", serde_json::to_string(&Answered { question, answer })?);
            }
            peer.close().await
        }
    }
}

/// The figure, in the question's unit.
async fn ask<P: Peer>(peer: &mut P, ground: &Ground, held: f64, question: Question) -> Result<f64> {
    let Ground { keys, pace, .. } = ground;
    let us = |took_s: f64| took_s * 1e6;
    let per_s = |took_s: f64| 1.0 / took_s;
    Ok(match question {
        Question::Held => held,
        Question::NearHot => near::hit(peer, &keys[..HOT], *pace).await?,
        Question::NearWide => near::hit(peer, keys, *pace).await?,
        Question::L1One => us(remote::hits::<P>(ground, 1).await?),
        Question::L1Few => per_s(remote::hits::<P>(ground, 64).await?),
        Question::L1Many => per_s(remote::hits::<P>(ground, 1_000).await?),
        Question::SetOne => us(remote::sets::<P>(ground, 1).await?),
        Question::SetMany => per_s(remote::sets::<P>(ground, 1_000).await?),
        Question::Load => us(remote::loads::<P>(ground).await?),
        Question::HerdLoads | Question::HerdTime => {
            anyhow::bail!("this takes several processes: see `herd`")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_what_to_answer() {
        let line = "worker --redis-url redis://h --namespace n answer --quick near-hot l1-many";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let questions = vec![Question::NearHot, Question::L1Many];
        assert_eq!(arguments.task, Task::Answer { quick: true, questions });
        let nothing = "worker --redis-url redis://h --namespace n answer";
        assert!(Arguments::try_parse_from(nothing.split(' ')).is_err());
    }

    #[test]
    fn an_answer_is_read_as_it_was_printed() {
        for answer in [Answer::Figure(1.5), Answer::Cannot("has no key".to_owned())] {
            let answered = Answered { question: Question::SetOne, answer };
            let line = serde_json::to_string(&answered).unwrap();
            assert_eq!(serde_json::from_str::<Answered>(&line).unwrap(), answered);
        }
    }
}
