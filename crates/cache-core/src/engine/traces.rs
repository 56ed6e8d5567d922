//! What sharding and concurrency cost in hit ratio, on the traces that `CACHE_TRACES` names.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::*;
use crate::eviction::Replay;

/// What one record weighs, so that a cache of a few hundred of them has several shards.
const WEIGHT: u32 = 1_024;

/// How far one thread may be ahead of the other, in requests.
const AHEAD: usize = 4;

/// What a run may lose against the simulation.
const LOSS_MAX: f64 = 0.01;

struct Key(u64, AtomicU8);

impl Record for Key {
    fn reads(&self) -> &AtomicU8 {
        &self.1
    }
}

fn trace(directory: &Path, name: &str) -> Vec<u64> {
    let file = File::open(directory.join(name)).expect("the trace is there");
    let lines = BufReader::new(zstd::Decoder::new(file).expect("zstd")).lines();
    lines.map(|line| line.expect("text").parse().expect("a number")).collect()
}

/// One request, and whether it hits.
fn access(engine: &Engine<Key>, key: u64) -> bool {
    let hash = engine.hash(&key.to_le_bytes());
    let is_it = |record: &Key| record.0 == key;
    if engine.get(hash, is_it, |_| Some(())).is_some() {
        return true;
    }
    let (never, priority) = (Timestamp::MAX, EvictionPriority::Normal);
    let terms = Terms { weight: WEIGHT, expires_at: never, reclaim_at: never, priority, group: 0 };
    engine.insert(hash, is_it, Key(key, AtomicU8::new(0)), terms, Timestamp::default());
    false
}

fn simulated(keys: &[u64], capacity: u64, eviction: Eviction) -> usize {
    let mut replay = Replay::new(eviction.policy(7), capacity);
    keys.iter().filter(|key| replay.access(**key, 1, Timestamp::MAX)).count()
}

fn engine(capacity: u64, entries_max: Option<u64>, eviction: Eviction) -> Engine<Key> {
    let capacity = capacity * u64::from(WEIGHT);
    let config =
        EngineConfig { capacity, entries_max, eviction, quotas: Vec::new(), seed: Some(7) };
    Engine::new(&config)
}

fn on_two_threads(keys: &Arc<Vec<u64>>, engine: Engine<Key>) -> usize {
    let (engine, hits) = (Arc::new(engine), Arc::new(AtomicUsize::new(0)));
    let barrier = Arc::new(Barrier::new(2));
    let threads = [0, 1].map(|half| {
        let (keys, engine) = (Arc::clone(keys), Arc::clone(&engine));
        let (hits, barrier) = (Arc::clone(&hits), Arc::clone(&barrier));
        thread::spawn(move || {
            for chunk in keys.chunks(2 * AHEAD) {
                let own = chunk.iter().skip(half).step_by(2);
                hits.fetch_add(own.filter(|key| access(&engine, **key)).count(), Relaxed);
                barrier.wait();
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
    hits.load(Relaxed)
}

#[test]
fn shards_and_threads_cost_at_most_one_point_of_the_simulated_hit_ratio() {
    let Some(directory) = std::env::var_os("CACHE_TRACES") else {
        println!("left out: CACHE_TRACES does not name the directory of the traces");
        return;
    };
    let cells: [(&str, &[u64], &[Eviction]); 2] = [
        ("cache2k-web12.keys.zst", &[1, 5, 10], Eviction::ALL),
        ("arc-OLTP.keys.zst", &[5], &[Eviction::AdaptiveS3Fifo, Eviction::Lru]),
    ];
    for (name, sizes, evictions) in cells {
        let keys = Arc::new(trace(Path::new(&directory), name));
        let unique = keys.iter().collect::<std::collections::HashSet<_>>().len() as u64;
        let requests = keys.len() as f64;
        for size in sizes {
            let capacity = unique * size / 100;
            for eviction in evictions.iter().copied() {
                let expected = simulated(&keys, capacity, eviction) as f64 / requests;
                let sharded = engine(capacity, None, eviction);
                let shards = sharded.shards.len();
                let one = keys.iter().filter(|key| access(&sharded, **key)).count();
                // The same bound in entries, where the bytes would allow for ten times as much.
                let counted = engine(10 * capacity, Some(capacity), eviction);
                let entries = keys.iter().filter(|key| access(&counted, **key)).count();
                let two = on_two_threads(&keys, engine(capacity, None, eviction));
                let [one, entries, two] = [one, entries, two].map(|hits| hits as f64 / requests);
                println!(
                    "{name} {size} % {eviction}, {shards} shards: simulated {expected:.4}, sharded \
                     {one:.4}, by entries {entries:.4}, two threads {two:.4}"
                );
                assert!(one >= expected - LOSS_MAX);
                assert!(entries >= expected - LOSS_MAX);
                // Plain LFU keeps what once was frequent for good, and which keys those are hangs on
                // the order of single requests: it differs by points from run to run.
                assert!(two >= expected - LOSS_MAX || eviction == Eviction::Lfu);
            }
        }
    }
}
