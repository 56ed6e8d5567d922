//! Several sources' candidates as one ranked list.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cache_core::{Error, ErrorKind, Namespace, Result};
use futures::future::join_all;

use super::{Budget, Candidate, KeySource, SourceShare, Worth};
use crate::plan::PLAN_LEN_MAX;

/// Where nobody knows what a load takes, and what a value takes.
const LOAD_COST: Duration = Duration::from_secs(1);
const SIZE: u64 = 1_024;

/// What is kept of a source's keys for each that the budget has room for: others may name the same.
const CANDIDATES_MAX: usize = PLAN_LEN_MAX;

/// A key and why it is there.
pub(crate) type Ranked = (String, Worth);

/// Asks `sources` and ranks what they name. Keys of equal value come in the order of their texts, so
/// that the same candidates give the same plan.
pub(crate) async fn rank(
    sources: &[Arc<dyn KeySource>],
    budget: Budget,
) -> Result<(Vec<Ranked>, Vec<SourceShare>)> {
    let answers = join_all(sources.iter().map(|source| source.candidates(CANDIDATES_MAX))).await;
    let mut pool = Pool::default();
    let mut shares = Vec::new();
    for (source, answer) in sources.iter().zip(answers) {
        let name: Arc<str> = source.name().into();
        let mut share = SourceShare { name, candidates: 0, planned: 0, refused: 0, error: None };
        match answer {
            Ok(candidates) => {
                share.candidates = candidates.len();
                let origin = shares.len();
                for candidate in candidates {
                    share.refused += usize::from(pool.add(candidate, origin).is_err());
                }
            }
            Err(error) => share.error = Some(error),
        }
        shares.push(share);
    }
    if !shares.is_empty() && shares.iter().all(|share| share.error.is_some()) {
        let first = shares.swap_remove(0);
        let error = first.error.expect("each share has one");
        return Err(error.context(format!("no source named a key; {}", first.name)));
    }
    let ranked = pool.best(budget, &mut shares);
    Ok((ranked, shares))
}

/// Candidates, each key once.
#[derive(Debug, Default)]
struct Pool {
    /// With the place of the source that expects the most.
    known: HashMap<String, (Candidate, usize)>,
}

impl Pool {
    fn add(&mut self, candidate: Candidate, origin: usize) -> Result<()> {
        check(&candidate)?;
        match self.known.get_mut(&candidate.key) {
            Some((known, known_origin)) => {
                // What one source does not know another may.
                let load_cost = known.load_cost.or(candidate.load_cost);
                let size = known.size.or(candidate.size);
                let ttl = known.ttl.or(candidate.ttl);
                if candidate.expected_hits > known.expected_hits {
                    *known_origin = origin;
                    *known = Candidate {
                        load_cost: candidate.load_cost.or(load_cost),
                        size: candidate.size.or(size),
                        ttl: candidate.ttl.or(ttl),
                        ..candidate
                    };
                } else {
                    *known = Candidate { load_cost, size, ttl, ..known.clone() };
                }
            }
            None => {
                self.known.insert(candidate.key.clone(), (candidate, origin));
            }
        }
        Ok(())
    }

    fn best(self, budget: Budget, shares: &mut [SourceShare]) -> Vec<Ranked> {
        let all = || self.known.values().map(|(candidate, _)| candidate);
        let load_cost = mean(all().filter_map(|one| Some(one.load_cost?.as_secs_f64())))
            .map_or(LOAD_COST, Duration::from_secs_f64);
        let size =
            mean(all().filter_map(|one| Some(one.size? as f64))).map_or(SIZE, |mean| mean as u64);
        let worth = |(candidate, origin): (Candidate, usize)| {
            let load_cost = candidate.load_cost.unwrap_or(load_cost);
            let size = candidate.size.unwrap_or(size).max(1);
            let kib = size as f64 / 1_024.0;
            let worth = Worth {
                origin: Arc::clone(&shares[origin].name),
                value: candidate.expected_hits * load_cost.as_secs_f64() / kib,
                expected_hits: candidate.expected_hits,
                load_cost,
                size,
                ttl: candidate.ttl,
            };
            (candidate.key, worth, origin)
        };
        let mut ranked: Vec<_> = self.known.into_values().map(worth).collect();
        ranked.sort_unstable_by(|(a_key, a, _), (b_key, b, _)| {
            b.value.total_cmp(&a.value).then_with(|| a_key.cmp(b_key))
        });
        let mut left = budget.bytes_max;
        let mut chosen = Vec::new();
        for (key, worth, origin) in ranked {
            if chosen.len() == budget.keys_max.min(PLAN_LEN_MAX) {
                break;
            }
            // One that is too large for what is left makes room for smaller ones behind it.
            let Some(rest) = left.checked_sub(worth.size) else { continue };
            left = rest;
            shares[origin].planned += 1;
            chosen.push((key, worth));
        }
        chosen
    }
}

fn check(candidate: &Candidate) -> Result<()> {
    // Whether a text may be a key does not depend on the namespace.
    let namespace = Namespace::new("plan").expect("a short word is a namespace");
    namespace.key(&candidate.key)?;
    if candidate.expected_hits.is_finite() && candidate.expected_hits >= 0.0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("{} expected hits", candidate.expected_hits)))
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = numbers.fold((0_u64, 0.0), |(count, sum), one| (count + 1, sum + one));
    (count > 0).then(|| sum / count as f64)
}
