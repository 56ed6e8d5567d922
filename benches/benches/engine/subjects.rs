//! The caches that are measured.

use std::{hint::black_box, sync::Arc};

use cache_core::{
    ByteSize, Cache, Eviction,
    testkit::{BoundedMap, HitStatistics},
};
use futures::FutureExt;

use crate::turns::Subject;

type Value = Arc<String>;

/// What the engine is told that a value weighs.
const WEIGHT: u32 = 1_024;

/// What the near tier counts for a value of 64 bytes and a key like these, roughly.
const NEAR_WEIGHT: u64 = 331;

/// Caches that hold `count` keys, each filled before the next one is.
pub(crate) fn hits(count: usize, measure: impl FnOnce(&[Subject<'_>])) {
    let keys: Vec<String> = keys(count).collect();
    let quick: quick_cache::sync::Cache<String, Value> = quick_cache::sync::Cache::new(2 * count);
    for key in &keys {
        quick.insert(key.clone(), value());
    }
    let moka: moka::sync::Cache<String, Value> = moka::sync::Cache::new(4 * count as u64);
    for key in &keys {
        moka.insert(key.clone(), value());
    }
    moka.run_pending_tasks();
    let engine = BoundedMap::new(ByteSize::mib(1_024), Eviction::default());
    for key in &keys {
        engine.insert(key, value(), WEIGHT);
    }
    let near = near(ByteSize::mib(1_024));
    for key in &keys {
        at_once(near.insert(key, "x".repeat(64))).expect("it is kept");
    }
    let statistics = HitStatistics::new();
    let loader = || async { Err::<String, &str>("it is there: nobody asks for it") };
    measure(&[
        ("quick_cache", Box::new(|key| drop(black_box(quick.get(key).expect("a hit"))))),
        ("moka", Box::new(|key| drop(black_box(moka.get(key).expect("a hit"))))),
        ("engine alone", Box::new(|key| drop(black_box(engine.get(key).expect("a hit"))))),
        (
            "and counted",
            Box::new(|key| {
                drop(black_box(statistics.count(|| engine.get(key)).expect("a hit")));
            }),
        ),
        ("peek", Box::new(|key| drop(black_box(near.peek(key).expect("a hit"))))),
        ("get", Box::new(|key| drop(black_box(at_once(near.get(key)))))),
        ("get_or_load", Box::new(|key| drop(black_box(at_once(near.get_or_load(key, loader)))))),
    ]);
}

/// Caches with room for half of `count` keys, so that every other insert evicts.
pub(crate) fn inserts(count: usize, measure: impl FnOnce(&[Subject<'_>])) {
    let room = count as u64 / 2;
    let quick: quick_cache::sync::Cache<String, Value> = quick_cache::sync::Cache::new(count / 2);
    let moka: moka::sync::Cache<String, Value> = moka::sync::Cache::new(room);
    let engine = BoundedMap::new(ByteSize::bytes(room * u64::from(WEIGHT)), Eviction::default());
    let near = near(ByteSize::bytes(room * NEAR_WEIGHT));
    measure(&[
        ("quick_cache", Box::new(|key| quick.insert(key.to_owned(), value()))),
        ("moka", Box::new(|key| moka.insert(key.to_owned(), value()))),
        ("engine alone", Box::new(|key| engine.insert(key, value(), WEIGHT))),
        (
            "near tier",
            Box::new(|key| {
                at_once(near.insert(key, "x".repeat(64))).expect("it is kept");
            }),
        ),
    ]);
}

/// The texts of so many keys.
pub(crate) fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!("key-{i}"))
}

fn near(room: ByteSize) -> Cache<String> {
    Cache::builder("bench").near(room).build().expect("a near tier is enough")
}

/// The answer of a call that a near tier alone can give. It waits for nobody, and so needs no runtime.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("nothing is waited for")
}

fn value() -> Value {
    Arc::new("x".repeat(64))
}
