//! Rounds in which every cache has its turn, and what they brought.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use cache_peers_measure::{
    Pace, Question,
    worker::{Answer, Answered, PATIENCE},
};

use crate::{
    programs::{OURS, PEERS, Programs, Subject},
    rows::{Pairs, Selection},
};

/// All rounds so far.
pub(crate) struct Rounds<'a> {
    programs: &'a Programs,
    selection: &'a Selection<'a>,
    pace: Pace,
    pairs: BTreeMap<(Subject, Question), Pairs>,
}

impl<'a> Rounds<'a> {
    /// None yet.
    pub(crate) fn new(programs: &'a Programs, selection: &'a Selection<'a>, pace: Pace) -> Self {
        Self { programs, selection, pace, pairs: BTreeMap::new() }
    }

    /// What was measured of `peer` and of ours beside it, if it was asked.
    pub(crate) fn pairs(&self, peer: Subject, question: Question) -> Option<&Pairs> {
        self.pairs.get(&(peer, question))
    }

    /// One more: each peer has its turn, and ours between the two of every pair of them.
    pub(crate) async fn run(&mut self) -> Result<()> {
        for pair in PEERS.chunks(2) {
            let of_any = self.selection.questions_of(pair);
            if of_any.is_empty() {
                continue;
            }
            let first = self.turn(pair[0]).await;
            let ours = self.answers(OURS, &of_any).await?;
            self.note(pair[0], &ours, first)?;
            if let Some(second) = pair.get(1) {
                let answers = self.turn(*second).await;
                self.note(*second, &ours, answers)?;
            }
        }
        Ok(())
    }

    /// What a peer says to what it is asked. Where its program fails, that is its answer.
    async fn turn(&self, peer: Subject) -> Vec<Answered> {
        let questions = self.selection.questions_of(&[peer]);
        self.answers(peer, &questions).await.unwrap_or_else(|error| {
            let answer = Answer::Failed(format!("{error:#}"));
            let failed = |question| Answered { question, answer: answer.clone() };
            questions.into_iter().map(failed).collect()
        })
    }

    async fn answers(&self, subject: Subject, questions: &[Question]) -> Result<Vec<Answered>> {
        eprintln!("  {}", subject.name);
        let (of_herd, of_one): (Vec<_>, Vec<_>) =
            questions.iter().partition(|question| question.is_of_herd());
        let mut answers = Vec::new();
        if !of_one.is_empty() {
            answers.extend(self.programs.ask(subject, &of_one, self.pace).await?);
        }
        if !of_herd.is_empty() {
            let herds = tokio::time::timeout(PATIENCE, self.programs.herds(subject, self.pace));
            let both = herds.await.with_context(|| format!("no end within {PATIENCE:?}"))??;
            answers.extend(both.into_iter().filter(|both| of_herd.contains(&both.question)));
        }
        Ok(answers)
    }

    fn note(&mut self, peer: Subject, ours: &[Answered], its: Vec<Answered>) -> Result<()> {
        for Answered { question, answer } in its {
            let same = ours.iter().find(|ours| ours.question == question);
            let ours = match same.map(|ours| &ours.answer) {
                Some(Answer::Figure(figure)) => *figure,
                other => bail!("ours has no figure for {}: {other:?}", question.name()),
            };
            let pairs = self.pairs.entry((peer, question)).or_default();
            pairs.add(ours, answer);
        }
        Ok(())
    }
}
