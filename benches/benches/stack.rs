//! What does a hit cost in each level of a stack, apart from what a server takes?

use std::{cell::Cell, sync::Arc};

use cache_benches::{bar::Bar, market::Market, warm};
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
}

fn levels(runtime: &Runtime) -> Levels {
    let memory =
        |name| Arc::new(MemoryTier::new(ByteSize::mib(64), SystemClock::shared()).named(name));
    let (l1, l2): (Arc<dyn Tier>, Arc<dyn Tier>) = (memory("l1"), memory("l2"));
    let cache = || Cache::builder(NAMESPACE).ttl(warm::ttl()).tier(l1.clone()).tier(l2.clone());
    let near = cache().build().expect("two tiers of different names");
    let lower = cache().without_near().build().expect("two tiers of different names");
    let market = Arc::new(Market::shipped().expect("the sample is shipped"));
    let bars = market.sample(KEYS).expect("the sample has as many");
    runtime.block_on(warm::warm(&near, &market, &bars)).expect("the sample has every bar");
    Levels { l1, near, lower, keys: bars.iter().map(Bar::key).collect() }
}

fn hit(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let Levels { l1, near, lower, keys } = levels(&runtime);
    let next = Cell::new(0);
    let key = || {
        next.set((next.get() + 1) % KEYS);
        keys[next.get()].as_str()
    };
    let namespace = Namespace::new(NAMESPACE).expect("a short word is a namespace");
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
    let Levels { near, lower, keys, .. } = levels(&runtime);
    let mut group = c.benchmark_group("stack/get_many");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("100 in near", |b| {
        b.to_async(&runtime).iter(|| near.get_many(&keys[..BATCH]));
    });
    group.bench_function("100 in l1", |b| {
        b.to_async(&runtime).iter(|| lower.get_many(&keys[..BATCH]));
    });
    group.finish();
}

criterion_group!(benches, hit, get_many);
criterion_main!(benches);
