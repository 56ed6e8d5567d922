//! What the eviction policies do with traffic: a piece of a real trace, made traffic, and the whole
//! traces where they are at hand.

mod made;
mod promises;
mod reference;
mod sample;

use cache_core::{Eviction, Replay, Timestamp};

/// How many of the requests hit, in a cache of so many records.
fn hits(policy: Eviction, capacity: u64, keys: &[u64]) -> usize {
    let mut cache = Replay::new(policy.policy(1), capacity);
    keys.iter().filter(|key| cache.access(**key, 1, Timestamp::MAX)).count()
}

fn hit_ratio(policy: Eviction, capacity: u64, keys: &[u64]) -> f64 {
    hits(policy, capacity, keys) as f64 / keys.len() as f64
}

/// The keys of a trace: one a line, compressed.
fn keys(compressed: &[u8]) -> Vec<u64> {
    let text = zstd::decode_all(compressed).expect("a trace is compressed");
    let text = String::from_utf8(text).expect("a trace is text");
    text.lines().map(|line| line.parse().expect("a line is a key")).collect()
}
