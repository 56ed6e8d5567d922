//! What do a hit and an insert with eviction cost, beside other caches of a process?
//!
//! All subjects take turns, so that what else the machine does meets all of them; the medians of the
//! rounds and their ratios to quick_cache are printed. Not by criterion, which measures one subject
//! after the other.

use std::{collections::BTreeMap, hint::black_box, sync::Arc, thread, time::Instant};

use cache_core::{ByteSize, Cache, Eviction, testkit::BoundedMap};

const ROUNDS: usize = 15;
const REQUESTS: usize = 100_000;

/// The weight of a value where entries are to be evicted, so that each map holds as many.
const WEIGHT: u32 = 1_024;

type Value = Arc<String>;
type Subject<'a> = (&'a str, Box<dyn Fn(&str) + Sync + 'a>);

fn main() {
    // `cargo test --benches` runs it as a test: once is enough then.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    for keys in [1_000, 100_000] {
        hits(keys, rounds);
    }
    inserts(rounds);
}

fn hits(count: usize, rounds: usize) {
    let keys: Vec<String> = (0..count).map(|i| format!("key-{i}")).collect();
    let order = order(count);
    let quick: quick_cache::sync::Cache<String, Value> = quick_cache::sync::Cache::new(2 * count);
    let moka: moka::sync::Cache<String, Value> = moka::sync::Cache::new(4 * count as u64);
    let engine = BoundedMap::new(ByteSize::mib(1_024), Eviction::default());
    let near: Cache<String> =
        Cache::builder("bench").near(ByteSize::mib(1_024)).build().expect("a near tier is enough");
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    for key in &keys {
        quick.insert(key.clone(), value());
        moka.insert(key.clone(), value());
        engine.insert(key, value(), WEIGHT);
        runtime.block_on(near.insert(key, "x".repeat(64))).expect("it is kept");
    }
    moka.run_pending_tasks();
    let subjects: [Subject<'_>; 4] = [
        ("quick_cache", Box::new(|key| drop(black_box(quick.get(key))))),
        ("moka", Box::new(|key| drop(black_box(moka.get(key))))),
        ("engine", Box::new(|key| drop(black_box(engine.get(key))))),
        ("near tier, peek", Box::new(|key| drop(black_box(near.peek(key))))),
    ];
    for threads in [1, 2] {
        let what = format!("hit, {count} keys, {threads} threads");
        compare(&what, &subjects, rounds, threads, &keys, &order);
    }
}

/// Twice as many keys as there is room for, so that every other insert evicts.
fn inserts(rounds: usize) {
    let count = 100_000;
    let keys: Vec<String> = (0..count).map(|i| format!("key-{i}")).collect();
    let order = order(count);
    let room = count as u64 / 2;
    let quick: quick_cache::sync::Cache<String, Value> = quick_cache::sync::Cache::new(count / 2);
    let moka: moka::sync::Cache<String, Value> = moka::sync::Cache::new(room);
    let engine = BoundedMap::new(ByteSize::bytes(room * u64::from(WEIGHT)), Eviction::default());
    let subjects: [Subject<'_>; 3] = [
        ("quick_cache", Box::new(|key| quick.insert(key.to_owned(), value()))),
        ("moka", Box::new(|key| moka.insert(key.to_owned(), value()))),
        ("engine", Box::new(|key| engine.insert(key, value(), WEIGHT))),
    ];
    for threads in [1, 2] {
        let what = format!("insert with eviction, {threads} threads");
        compare(&what, &subjects, rounds, threads, &keys, &order);
    }
}

fn compare(
    what: &str,
    subjects: &[Subject<'_>],
    rounds: usize,
    threads: usize,
    keys: &[String],
    order: &[usize],
) {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let (name, access) = &subjects[(turn + round) % subjects.len()];
            times.entry(name).or_default().push(time(access, threads, keys, order));
        }
    }
    let median = |name: &str| {
        let mut times = times[name].clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let quick = median("quick_cache");
    println!("{what}:");
    for (name, _) in subjects {
        let median = median(name);
        println!("  {name:16} {median:7.0} ns  {:5.2} times quick_cache", median / quick);
    }
}

/// Nanoseconds for each of a thread's requests.
fn time(access: &(dyn Fn(&str) + Sync), threads: usize, keys: &[String], order: &[usize]) -> f64 {
    let started = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (first, second) = order.split_at(order.len() * thread / threads);
            scope.spawn(move || second.iter().chain(first).for_each(|i| access(&keys[*i])));
        }
    });
    started.elapsed().as_nanos() as f64 / order.len() as f64
}

fn value() -> Value {
    Arc::new("x".repeat(64))
}

/// The same random requests for all.
fn order(count: usize) -> Vec<usize> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % count
    };
    (0..REQUESTS).map(next).collect()
}
