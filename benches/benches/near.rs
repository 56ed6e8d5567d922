//! What does a value cost that this process already has?

use std::{convert::Infallible, hint::black_box};

use cache_benches::{bar::Bar, market::Market};
use cache_core::Cache;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

fn near(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let bar = Market::shipped().expect("the sample is shipped").bars()[0].clone();
    let cache: Cache<Bar> = Cache::builder("bench").build().expect("a near tier is enough");
    let key = bar.key();
    runtime.block_on(cache.insert(&key, bar)).expect("the near tier takes a bar");

    let mut group = c.benchmark_group("near");
    group.bench_function("peek", |b| b.iter(|| cache.peek(black_box(&key))));
    group.bench_function("peek, missing", |b| b.iter(|| cache.peek(black_box("nothing"))));
    group.bench_function("get", |b| {
        b.to_async(&runtime).iter(|| cache.get(black_box(&key)));
    });
    group.bench_function("get_or_load", |b| {
        let read = || {
            let loader = || async { Err::<Bar, &str>("it is there: nobody asks for it") };
            cache.get_or_load(black_box(&key), loader)
        };
        b.to_async(&runtime).iter(read);
    });
    group.bench_function("get_or_load, a miss", |b| {
        let tiny: Cache<u8> = Cache::builder("miss").build().expect("a near tier is enough");
        let miss = || async {
            let loaded = tiny.get_or_load("key", || async { Ok::<_, Infallible>(1) }).await;
            tiny.invalidate("key").await.expect("the near tier forgets a key");
            loaded
        };
        b.to_async(&runtime).iter(miss);
    });
    group.finish();
}

criterion_group!(benches, near);
criterion_main!(benches);
