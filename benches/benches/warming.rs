//! What does warming bring after a restart, and what does it cost?
//!
//! The market workload: reads of daily bars, a few of them most of the time (Zipf, 0.99).

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cache_benches::{bar::Bar, market::Market, popularity::Zipf, warm};
use cache_core::Cache;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::runtime::Runtime;

/// The first reads after a restart.
const READS: usize = 2_000;
/// Bars that are warmed, of the 1,000 that are asked for: the most popular ones.
const WARMED: usize = 500;
const ASKED_FOR: usize = 1_000;

fn warming(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let market = Arc::new(Market::shipped().expect("the sample is shipped"));
    let bars: Arc<[Bar]> = market.sample(ASKED_FOR).expect("the sample has as many").into();

    let cold = runtime.block_on(hits(cache(), &bars));
    let warmed = runtime.block_on(async {
        let cache = cache();
        warm::warm(&cache, &market, &bars[..WARMED]).await.expect("the sample has every bar");
        hits(cache, &bars).await
    });
    let percent = |hits: usize| hits as f64 / READS as f64 * 100.0;
    println!(
        "hit rate of the first {READS} reads after a restart: {:.1} % cold, {:.1} % with {WARMED} \
         of {ASKED_FOR} bars warmed",
        percent(cold),
        percent(warmed)
    );

    let mut group = c.benchmark_group("warming");
    group.throughput(Throughput::Elements(WARMED as u64));
    group.bench_function("a pass over 500 cold bars", |b| {
        b.to_async(&runtime).iter_batched(
            cache,
            |cache| async {
                let report = warm::warm(&cache, &market, &bars[..WARMED]).await;
                // Handed out, so that taking the cache apart is not measured.
                (cache, report)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("a pass over 500 fresh bars", |b| {
        let cache = cache();
        b.to_async(&runtime).iter(|| warm::warm(&cache, &market, &bars[..WARMED]));
    });
    group.finish();
}

fn cache() -> Cache<Bar> {
    Cache::builder("bench").ttl(warm::ttl()).build().expect("a near tier is enough")
}

/// How many of the first reads need no load.
async fn hits(cache: Cache<Bar>, bars: &Arc<[Bar]>) -> usize {
    let popularity = Zipf::new(bars.len(), 0.99);
    let mut rng = SmallRng::seed_from_u64(42);
    let loads = Arc::new(AtomicUsize::new(0));
    for _ in 0..READS {
        let place = popularity.pick(&mut rng);
        let (loads, bars) = (Arc::clone(&loads), Arc::clone(bars));
        let key = bars[place].key();
        let loader = move || async move {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(bars[place].clone())
        };
        cache.get_or_load(&key, loader).await.expect("the loader never fails");
    }
    READS - loads.load(Ordering::Relaxed)
}

criterion_group!(benches, warming);
criterion_main!(benches);
