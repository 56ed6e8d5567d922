//! What is right.
//!
//! The source gives every write of a key the next version, so every value is unique, and knows when
//! it did. A write of a node is: the source is written, then the key is invalidated (or the value
//! inserted).
//!
//! 1. When such a call has returned `Ok`, everything older than what the source held when the call
//!    *began* is **superseded**: on the node that called, from then on; on the others, a scenario's
//!    [`bound`](Bounds) later. A second cache of the same process counts as another node.
//! 2. A read is **wrong** when its value was superseded before the read began. A read that
//!    overlaps the change, or the bound, may have either value.
//! 3. A read is wrong, whenever it was, when the source had not written its value before it ended,
//!    or when it is another key's value.
//! 4. A call that failed, or whose node died before it returned, promises nothing about its own
//!    write. What earlier calls promised goes on to hold.
//! 5. An answer that says that it is stale may be older by as much as the scenario lets values be
//!    stale ([`Bounds::stale_us`]).
//! 6. A read that fails is not wrong: it is an error given to a caller, and counted as one.
//!
//! A time is one of the machine's monotonic clock, and was taken before the call and after it.

use std::collections::HashMap;

use super::history::{Act, Record, Seen};

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How much later than its own node another one may serve what was superseded.
    pub others_us: u64,
    /// How much older an answer may be that says it is stale.
    pub stale_us: u64,
}

/// When the source wrote which version of a key, in microseconds, oldest first. The version of the
/// first is 1; before it a key has version 0.
pub type Writes = HashMap<String, Vec<u64>>;

/// An answer that must not have been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What was answered.
    pub seen: Seen,
    /// Why not.
    pub reason: String,
    /// What else happened to the key around it, for a person.
    pub trace: Vec<String>,
}

/// Finds every wrong answer of a history.
#[must_use]
pub fn judge(history: &[Seen], writes: &Writes, bounds: Bounds) -> Vec<Wrong> {
    let floors = Floors::of(history, writes);
    let reads = history.iter().filter(|seen| seen.record.act.is_read());
    let mut wrong: Vec<Wrong> = reads
        .filter_map(|seen| {
            let reason = fault_of(seen, &floors, writes, bounds)?;
            Some(Wrong { seen: seen.clone(), reason, trace: Vec::new() })
        })
        .collect();
    wrong.sort_by_key(|wrong| wrong.seen.record.begin_us);
    // A trace is long, and after the first few they say the same.
    for found in wrong.iter_mut().take(3) {
        found.trace = trace(&found.seen, history, writes);
    }
    wrong
}

/// For each read of a shared key through the whole cache: for how long its value had been
/// superseded when it began, in µs.
#[must_use]
pub fn staleness(history: &[Seen], writes: &Writes) -> Vec<u64> {
    let floors = Floors::of(history, writes);
    let reads = history.iter().map(|seen| &seen.record).filter(|record| record.act == Act::Read);
    let ages = reads.filter_map(|record| {
        let version = record.version?;
        let floors = floors.0.get(&record.key).map_or(&[][..], Vec::as_slice);
        let superseded = floors.iter().find(|floor| floor.version > version);
        Some(superseded.map_or(0, |floor| record.begin_us.saturating_sub(floor.since_us)))
    });
    ages.collect()
}

fn fault_of(seen: &Seen, floors: &Floors, writes: &Writes, bounds: Bounds) -> Option<String> {
    let record = &seen.record;
    let version = record.version?;
    let written = writes.get(&record.key).map_or(&[][..], Vec::as_slice);
    let at = |version: u64| written.get(usize::try_from(version).ok()?.checked_sub(1)?).copied();
    if version > 0 && at(version).is_none_or(|at| at > record.end_us) {
        return Some(format!("version {version} had not been written"));
    }
    let patience = if record.stale { bounds.stale_us } else { 0 };
    // The cache without a near tier is another one than that which writes: it does not know what
    // the writer still owes to a tier that is away.
    let own = (record.act != Act::Below).then_some(seen.node);
    let floor = floors.at(&record.key, own, record.begin_us, bounds.others_us, patience)?;
    if version >= floor.version {
        return None;
    }
    Some(format!(
        "version {version} was superseded by {} on node {}, {} ms before the read began",
        floor.version,
        floor.node,
        record.begin_us.saturating_sub(floor.since_us) / 1_000
    ))
}

/// From when on which version is the oldest that may be read.
#[derive(Clone, Copy, Debug)]
struct Floor {
    since_us: u64,
    version: u64,
    node: usize,
}

/// The floors of each key, by the moment at which their call returned.
struct Floors(HashMap<String, Vec<Floor>>);

impl Floors {
    fn of(history: &[Seen], writes: &Writes) -> Self {
        let mut floors: HashMap<String, Vec<Floor>> = HashMap::new();
        for Seen { node, record } in history {
            let Record { act, key, begin_us, end_us, error, .. } = record;
            let Some(written) = writes.get(key) else { continue };
            if act.is_read() || error.is_some() {
                continue;
            }
            let version = written.partition_point(|at| at <= begin_us) as u64;
            let floor = Floor { since_us: *end_us, version, node: *node };
            floors.entry(key.clone()).or_default().push(floor);
        }
        for floors in floors.values_mut() {
            floors.sort_by_key(|floor| floor.since_us);
        }
        Self(floors)
    }

    /// The highest that holds for a read that begins at `begin_us`, by the cache of the node `own`.
    fn at(
        &self,
        key: &str,
        own: Option<usize>,
        begin_us: u64,
        others: u64,
        stale: u64,
    ) -> Option<Floor> {
        let floors = self.0.get(key)?;
        let holds = |floor: &&Floor| {
            let bound = if Some(floor.node) == own { 0 } else { others };
            floor.since_us + bound + stale <= begin_us
        };
        let until = floors.partition_point(|floor| floor.since_us <= begin_us);
        floors[..until].iter().filter(holds).max_by_key(|floor| floor.version).copied()
    }
}

/// What happened to the key from the last write that counts until the wrong answer.
fn trace(wrong: &Seen, history: &[Seen], writes: &Writes) -> Vec<String> {
    const LINES_MAX: usize = 40;
    let key = &wrong.record.key;
    let end = wrong.record.end_us;
    let ms = |at: u64| (at as f64 - end as f64) / 1e3;
    let mut lines: Vec<(u64, String)> = history
        .iter()
        .filter(|seen| seen.record.key == *key && seen.record.begin_us <= end)
        .map(|seen| {
            let Record { act, version, begin_us, end_us, place, stale, error, .. } = &seen.record;
            let version = version.map_or("-".to_owned(), |version| version.to_string());
            let place = place.map_or(String::new(), |place| format!(" from {place:?}"));
            let stale = if *stale { " (stale)" } else { "" };
            let error = error.as_ref().map_or(String::new(), |error| format!(" failed: {error}"));
            let (begin, finish) = (ms(*begin_us), ms(*end_us));
            let line = format!(
                "{begin:10.1} .. {finish:8.1} ms  node {} {act:?} {key} = {version}{place}{stale}{error}",
                seen.node
            );
            (*begin_us, line)
        })
        .collect();
    let written = writes.get(key).map_or(&[][..], Vec::as_slice);
    lines.extend(written.iter().enumerate().filter(|(_, at)| **at <= end).map(|(i, at)| {
        (*at, format!("{:10.1} ms              the source has version {}", ms(*at), i + 1))
    }));
    lines.sort();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines.drain(..skipped);
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { others_us: 100, stale_us: 1_000 };

    fn seen(node: usize, act: Act, version: u64, begin_us: u64, end_us: u64) -> Seen {
        let record = Record {
            act,
            key: "k".to_owned(),
            version: Some(version),
            begin_us,
            end_us,
            place: None,
            stale: false,
            load_us: 0,
            error: None,
        };
        Seen { node, record }
    }

    /// Version 1 was written at 10, version 2 at 50.
    fn wrong(history: &[Seen]) -> usize {
        let writes = Writes::from([("k".to_owned(), vec![10, 50])]);
        judge(history, &writes, BOUNDS).len()
    }

    #[test]
    fn a_superseded_value_is_wrong_on_the_same_node_at_once() {
        let change = seen(0, Act::Invalidate, 2, 60, 70);
        assert_eq!(wrong(&[change.clone(), seen(0, Act::Read, 1, 70, 71)]), 1);
        assert_eq!(wrong(&[change.clone(), seen(0, Act::Read, 2, 70, 71)]), 0);
        assert_eq!(wrong(&[change, seen(0, Act::Read, 1, 69, 80)]), 0, "they overlap");
    }

    #[test]
    fn another_node_has_the_bound() {
        let change = seen(0, Act::Invalidate, 2, 60, 70);
        assert_eq!(wrong(&[change.clone(), seen(1, Act::Read, 1, 169, 200)]), 0);
        assert_eq!(wrong(&[change.clone(), seen(1, Act::Read, 1, 170, 200)]), 1);
        let mut stale = seen(1, Act::Read, 1, 170, 200);
        stale.record.stale = true;
        assert_eq!(wrong(&[change, stale]), 0, "it says so");
    }

    #[test]
    fn a_cache_beside_the_writers_is_another_one() {
        let change = seen(0, Act::Invalidate, 2, 60, 70);
        assert_eq!(wrong(&[change.clone(), seen(0, Act::Below, 1, 169, 200)]), 0);
        assert_eq!(wrong(&[change, seen(0, Act::Below, 1, 170, 200)]), 1);
    }

    #[test]
    fn a_call_that_failed_promises_nothing_and_takes_nothing_back() {
        let mut failed = seen(0, Act::Invalidate, 2, 60, 70);
        failed.record.error = Some("down".to_owned());
        let earlier = seen(0, Act::Invalidate, 1, 20, 30);
        assert_eq!(wrong(&[failed.clone(), seen(0, Act::Read, 1, 80, 81)]), 0);
        assert_eq!(wrong(&[earlier, failed, seen(0, Act::Read, 0, 80, 81)]), 1);
    }

    #[test]
    fn a_write_after_the_call_began_is_not_the_calls() {
        let change = seen(0, Act::Invalidate, 1, 20, 70);
        assert_eq!(wrong(&[change, seen(0, Act::Read, 1, 80, 81)]), 0);
    }

    #[test]
    fn what_the_source_did_not_write_is_wrong_at_any_time() {
        assert_eq!(wrong(&[seen(0, Act::Read, 3, 80, 81)]), 1);
        assert_eq!(wrong(&[seen(0, Act::Read, 2, 20, 49)]), 1, "not yet");
        assert_eq!(wrong(&[seen(0, Act::Read, u64::MAX, 80, 81)]), 1, "another key's");
        assert_eq!(wrong(&[seen(0, Act::Read, 0, 5, 6)]), 0, "before the first write");
    }

    #[test]
    fn staleness_is_counted_from_the_first_call_that_superseded_the_value() {
        let writes = Writes::from([("k".to_owned(), vec![10, 50])]);
        let history = [
            seen(0, Act::Invalidate, 1, 20, 30),
            seen(0, Act::Invalidate, 2, 60, 70),
            seen(1, Act::Read, 0, 80, 81),
            seen(1, Act::Read, 1, 80, 81),
            seen(1, Act::Read, 2, 80, 81),
        ];
        assert_eq!(staleness(&history, &writes), [50, 10, 0]);
    }

    #[test]
    fn a_wrong_answer_comes_with_the_keys_history() {
        let writes = Writes::from([("k".to_owned(), vec![10, 50])]);
        let history = [seen(0, Act::Invalidate, 2, 60, 70), seen(0, Act::Read, 1, 80, 81)];
        let found = judge(&history, &writes, BOUNDS);
        assert!(found[0].reason.contains("superseded by 2 on node 0"), "{}", found[0].reason);
        assert_eq!(found[0].trace.len(), 4, "{:?}", found[0].trace);
    }
}
