//! What does a hit cost in each level of a stack, one key at a time and 100 together? Over tiers in
//! memory, so that it is the stack's own cost; 100 together over servers as well, where there are.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use cache_benches::{
    bar::Bar,
    market::Market,
    stacks::{Backend, Kind, Tiers},
    warm,
};
use cache_core::{ByteSize, Cache, MemoryTier, Namespace, Removal, SystemClock, Tier};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use tokio::runtime::Runtime;

const NAMESPACE: &str = "bench";
const KEYS: usize = 1_000;
const BATCH: usize = 100;

struct Levels {
    l1: Arc<dyn Tier>,
    /// With a near tier, over both.
    near: Cache<Bar>,
    /// Without.
    lower: Cache<Bar>,
    keys: Vec<String>,
    namespace: Namespace,
}

fn in_memory(runtime: &Runtime) -> Levels {
    let memory = |name| -> Arc<dyn Tier> {
        Arc::new(MemoryTier::new(ByteSize::mib(64), SystemClock::shared()).named(name))
    };
    levels(runtime, NAMESPACE, &memory("l1"), &memory("l2"))
}

fn levels(runtime: &Runtime, name: &str, l1: &Arc<dyn Tier>, l2: &Arc<dyn Tier>) -> Levels {
    let cache = || Cache::builder(name).ttl(warm::ttl()).tier(l1.clone()).tier(l2.clone());
    let near = cache().build().expect("two tiers of different names");
    let lower = cache().without_near().build().expect("two tiers of different names");
    let market = Arc::new(Market::shipped().expect("the sample is shipped"));
    let bars = market.sample(KEYS).expect("the sample has as many");
    runtime.block_on(warm::warm(&near, &market, &bars)).expect("the sample has every bar");
    let namespace = Namespace::new(name).expect("the cache has it");
    Levels { l1: l1.clone(), near, lower, keys: bars.iter().map(Bar::key).collect(), namespace }
}

fn hit(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let Levels { l1, near, lower, keys, namespace } = in_memory(&runtime);
    let next = Cell::new(0);
    let key = || {
        next.set((next.get() + 1) % KEYS);
        keys[next.get()].as_str()
    };
    // Out of the first level, so that the second one answers and the value is promoted again.
    let removed = || {
        let text = key();
        let removal = Removal::from(namespace.key(text).expect("a symbol and a date"));
        l1.remove_many(&[removal])
            .now_or_never()
            .expect("memory answers at once")
            .expect("memory forgets a key");
        text
    };

    let mut group = c.benchmark_group("stack/hit");
    group.bench_function("near", |b| b.to_async(&runtime).iter(|| near.get(key())));
    group.bench_function("l1", |b| b.to_async(&runtime).iter(|| lower.get(key())));
    group.bench_function("l2, promoted to l1", |b| {
        // Fewer inputs than keys: each is removed before it is read.
        let size = BatchSize::NumIterations(KEYS as u64 / 2);
        b.to_async(&runtime).iter_batched(removed, |key| lower.get(key), size);
    });
    group.finish();
}

fn get_many(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    many(c, "stack/get_many", &runtime, &in_memory(&runtime));
    let missing = Kind::Services.missing();
    if !missing.is_empty() {
        eprintln!("left out: stack/get_many, servers ({} is not set)", missing.join(", "));
        return;
    }
    let tiers = runtime.block_on(Tiers::open(&[Kind::Services])).expect("the servers answer");
    let [l1, l2] = [Backend::Redis, Backend::Postgres]
        .map(|backend| tiers.tier(backend).expect("it was just opened"));
    let levels = levels(&runtime, &tiers.namespace(), l1, l2);
    many(c, "stack/get_many, servers", &runtime, &levels);
    runtime.block_on(async {
        for tier in [l1, l2] {
            tier.clear(&levels.namespace).await.expect("the benchmark's entries can be removed");
        }
        tiers.close().await.expect("the tiers can be closed");
    });
}

fn many(c: &mut Criterion, name: &str, runtime: &Runtime, levels: &Levels) {
    let Levels { l1, near, lower, keys, namespace } = levels;
    let keys = &keys[..BATCH];
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("100 in near", |b| b.to_async(runtime).iter(|| near.get_many(keys)));
    group.bench_function("100 in l1", |b| b.to_async(runtime).iter(|| lower.get_many(keys)));
    let half: Vec<Removal> = keys[..BATCH / 2]
        .iter()
        .map(|text| Removal::from(namespace.key(text).expect("a symbol and a date")))
        .collect();
    group.bench_function("50 in l1, 50 in l2 and promoted", |b| {
        let half = &half;
        b.to_async(runtime).iter_custom(|rounds| async move {
            let mut taken = Duration::ZERO;
            for _ in 0..rounds {
                l1.remove_many(half).await.expect("the tier forgets a key");
                let started = Instant::now();
                let hits = lower.get_many(keys).await.expect("the tiers answer");
                taken += started.elapsed();
                assert!(hits.iter().all(Option::is_some), "a bar is gone");
            }
            taken
        });
    });
    group.finish();
}

criterion_group!(benches, hit, get_many);
criterion_main!(benches);
