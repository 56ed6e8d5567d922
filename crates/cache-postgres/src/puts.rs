//! What a batch of puts comes to: the statements, and which put each row of them is.

use std::collections::HashMap;

use cache_core::{Condition, Put, PutOutcome, Timestamp, Version};

use crate::{
    record::Record,
    room::{self, row_bytes},
    sql,
};

/// After how many bytes of payload a statement ends and the next begins. The server takes 1 GiB at
/// most, and a statement has a time limit.
const STATEMENT_BYTES: usize = 8 << 20;

/// About what a record has beside its payload.
const RECORD_HEAD: usize = 56;

/// The work of one batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be done one after the other. A key that occurs twice in the batch is in two rounds, so
    /// the batch acts on it in its order, and no statement meets it twice.
    pub(crate) rounds: Vec<Round>,
    /// What is known already; a put that goes to the server counts as refused until it says that
    /// it stored it.
    pub(crate) outcomes: Vec<PutOutcome>,
    payload_len_max: usize,
}

/// Positions in the batch, each list in the order of the keys, no key twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// One that is too large to be stored still replaces what is there, by nothing.
    pub(crate) inserts: Vec<usize>,
    pub(crate) fills: Vec<usize>,
}

impl Plan {
    pub(crate) fn new(puts: &[Put], payload_len_max: usize) -> Self {
        let outcomes = Vec::with_capacity(puts.len());
        let mut plan = Self { rounds: Vec::new(), outcomes, payload_len_max };
        let mut occurrences: HashMap<&str, usize> = HashMap::new();
        for (at, Put { key, entry, condition }) in puts.iter().enumerate() {
            let fits = entry.payload.len() <= payload_len_max;
            let list: fn(&mut Round) -> &mut Vec<usize> = match condition {
                Condition::Always => |round| &mut round.inserts,
                Condition::Unmoved(fence) if fence.as_mark().is_none() => {
                    plan.outcomes.push(PutOutcome::Skipped);
                    continue;
                }
                Condition::Unmoved(_) if fits => |round| &mut round.fills,
                Condition::Unmoved(_) => {
                    plan.outcomes.push(PutOutcome::TooLarge);
                    continue;
                }
            };
            plan.outcomes.push(PutOutcome::Superseded);
            let occurrence = occurrences.entry(key.encoded()).or_default();
            if *occurrence == plan.rounds.len() {
                plan.rounds.push(Round::default());
            }
            list(&mut plan.rounds[*occurrence]).push(at);
            *occurrence += 1;
        }
        for round in &mut plan.rounds {
            for list in [&mut round.inserts, &mut round.fills] {
                list.sort_unstable_by(|a, b| puts[*a].key.encoded().cmp(puts[*b].key.encoded()));
            }
        }
        plan
    }

    /// Notes what the server answered for the puts at `positions`, which are in the order of their
    /// keys: it stored these keys.
    pub(crate) fn stored(&mut self, puts: &[Put], positions: &[usize], keys: Vec<(Vec<u8>,)>) {
        for (key,) in keys {
            let found =
                positions.binary_search_by(|at| puts[*at].key.encoded().as_bytes().cmp(&key));
            if let Ok(found) = found {
                let at = positions[found];
                let fits = puts[at].entry.payload.len() <= self.payload_len_max;
                self.outcomes[at] = if fits { PutOutcome::Stored } else { PutOutcome::TooLarge };
            }
        }
    }

    /// The statement that inserts the puts at `positions`; `moves`: what is written again
    /// counts as new; `tell`: and says so in the log.
    pub(crate) fn insert(
        &self,
        puts: &[Put],
        positions: &[usize],
        retain_until: Timestamp,
        now: Timestamp,
        moves: bool,
        tell: bool,
    ) -> sql::Insert {
        let record = |put: &Put| {
            let fits = put.entry.payload.len() <= self.payload_len_max;
            fits.then(|| Record::of(&put.entry))
        };
        let puts = || positions.iter().map(|at| &puts[*at]);
        sql::Insert {
            retain_until: millis(retain_until),
            arrived: millis(now),
            keys: puts().map(|put| put.key.encoded().into()).collect(),
            namespaces: puts().map(|put| put.key.namespace().to_owned()).collect(),
            versions: puts().map(|put| ordered(put.entry.version)).collect(),
            expires_at: puts().map(|put| millis(put.entry.expires_at)).collect(),
            records: puts().map(record).collect(),
            priorities: puts().map(priority).collect(),
            moves,
            at: millis(now),
            tell,
        }
    }
}

/// How many puts from the beginning have no more than so many bytes; one at least.
pub(crate) fn within(puts: &[Put], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = puts.iter().enumerate().take_while(|(at, put)| {
        bytes += put.entry.payload.len();
        *at == 0 || bytes <= bytes_max
    });
    fitting.count()
}

/// Cuts the puts at `positions` into statements that are not too large.
pub(crate) fn statements<'a>(puts: &[Put], positions: &'a [usize]) -> Vec<&'a [usize]> {
    let mut statements = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (end, at) in positions.iter().enumerate() {
        let len = puts[*at].entry.payload.len();
        if end > begin && bytes + len > STATEMENT_BYTES {
            statements.push(&positions[begin..end]);
            (begin, bytes) = (end, 0);
        }
        bytes += len;
    }
    if begin < positions.len() {
        statements.push(&positions[begin..]);
    }
    statements
}

pub(crate) fn fill(puts: &[Put], positions: &[usize], now: Timestamp, moves: bool) -> sql::Fill {
    let puts = || positions.iter().map(|at| &puts[*at]);
    sql::Fill {
        arrived: millis(now),
        keys: puts().map(|put| put.key.encoded().into()).collect(),
        namespaces: puts().map(|put| put.key.namespace().to_owned()).collect(),
        seen: puts().map(|put| seen(&put.condition)).collect(),
        versions: puts().map(|put| ordered(put.entry.version)).collect(),
        expires_at: puts().map(|put| millis(put.entry.expires_at)).collect(),
        records: puts().map(|put| Record::of(&put.entry)).collect(),
        priorities: puts().map(priority).collect(),
        moves,
    }
}

/// A priority as the server keeps it.
fn priority(put: &Put) -> i16 {
    put.entry.priority as i16
}

/// About what the puts at `positions` take.
pub(crate) fn size(puts: &[Put], positions: &[usize]) -> room::Put {
    let bytes = positions.iter().map(|at| {
        let Put { key, entry, .. } = &puts[*at];
        row_bytes(key.encoded().len(), key.namespace().len(), entry.payload.len() + RECORD_HEAD)
    });
    room::Put { bytes: bytes.sum(), rows: positions.len() as u64 }
}

/// A moment as the server keeps it.
pub(crate) fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

/// A version as the server keeps it.
pub(crate) fn ordered(version: Option<Version>) -> Option<i64> {
    version.map(Version::to_ordered_i64)
}

/// The mark that a fill saw. One that no tier can have given was not seen here: it is below all.
fn seen(condition: &Condition) -> i64 {
    match condition {
        Condition::Always => -1,
        Condition::Unmoved(fence) => {
            fence.as_mark().and_then(|mark| i64::try_from(mark).ok()).unwrap_or(-1)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cache_core::{CodecId, Entry, Fence, Namespace, Ttl};

    use super::*;

    fn put(key: &str, len: usize, condition: Condition) -> Put {
        let ttl = Ttl::fresh(std::time::Duration::from_secs(1));
        let payload = Bytes::from(vec![0; len]);
        let entry = Entry::new(payload, CodecId(3), Timestamp::from_millis(1), ttl);
        Put { key: Namespace::new("n").unwrap().key(key).unwrap(), entry, condition }
    }

    fn unmoved(mark: u64) -> Condition {
        Condition::Unmoved(Fence::mark(mark))
    }

    #[test]
    fn a_batch_of_different_keys_is_one_round_in_the_order_of_its_keys() {
        let puts = [
            put("c", 1, Condition::Always),
            put("a", 1, Condition::Always),
            put("d", 1, unmoved(1)),
            put("b", 1, unmoved(2)),
            put("e", 11, Condition::Always),
        ];
        let plan = Plan::new(&puts, 10);
        let round = Round { inserts: vec![1, 0, 4], fills: vec![3, 2] };
        assert_eq!(plan.rounds, [round]);
        assert_eq!(plan.outcomes, [PutOutcome::Superseded; 5]);
    }

    #[test]
    fn a_key_that_comes_again_is_in_a_later_round() {
        let puts = [
            put("a", 1, unmoved(1)),
            put("b", 1, Condition::Always),
            put("a", 1, Condition::Always),
            put("a", 1, unmoved(1)),
        ];
        let plan = Plan::new(&puts, 10);
        let rounds = [
            Round { fills: vec![0], inserts: vec![1] },
            Round { inserts: vec![2], ..Round::default() },
            Round { fills: vec![3], ..Round::default() },
        ];
        assert_eq!(plan.rounds, rounds);
    }

    #[test]
    fn what_cannot_be_written_does_not_travel() {
        let puts = [put("a", 11, unmoved(1)), put("b", 1, Condition::Unmoved(Fence::unread()))];
        let plan = Plan::new(&puts, 10);
        assert_eq!(plan.rounds, []);
        assert_eq!(plan.outcomes, [PutOutcome::TooLarge, PutOutcome::Skipped]);
    }

    #[test]
    fn the_answer_finds_its_puts() {
        let puts = ["c", "a", "b"].map(|key| put(key, 1, Condition::Always));
        let mut plan = Plan::new(&puts, 10);
        let positions = std::mem::take(&mut plan.rounds[0].inserts);
        plan.stored(&puts, &positions, vec![(b"n:c".to_vec(),), (b"n:a".to_vec(),)]);
        use PutOutcome::{Stored, Superseded};
        assert_eq!(plan.outcomes, [Stored, Stored, Superseded]);
    }

    #[test]
    fn large_batches_are_cut_and_a_single_large_put_is_not() {
        let sizes = [5 << 20, 3 << 20, 1, 20 << 20, 1];
        let puts = sizes.map(|len| put("k", len, Condition::Always));
        let positions = [0, 1, 2, 3, 4];
        assert_eq!(statements(&puts, &positions), [&[0, 1][..], &[2], &[3], &[4]]);
        assert_eq!(statements(&puts, &[]), [&[0; 0]; 0]);
    }
}
