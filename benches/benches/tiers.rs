//! How many callers does each tier serve, and how fast?
//!
//! One iteration is one operation by each of 1, 100 or 1,000 callers, each in turn with itself: the
//! time is that of a round, the throughput that of single operations.

use std::{
    cell::OnceCell,
    sync::Arc,
    time::{Duration, Instant},
};

use cache_benches::{
    bar::Bar,
    market::Market,
    stacks::{Backend, Kind, Tiers},
    warm,
};
use cache_core::{
    ByteSize, Clock, Codec, Entry, Json, Key, MemoryTier, Namespace, SystemClock, Tier, TierExt,
    Ttl,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{runtime::Runtime, task::JoinSet};

const CALLERS: [usize; 3] = [1, 100, 1_000];
const KEYS: usize = 100;

fn tiers(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    tier(c, &runtime, "memory", || Opened::memory(&runtime));
    for (name, kind, backend) in [
        ("sqlite", Kind::Sqlite, Backend::Sqlite),
        ("redis", Kind::Redis, Backend::Redis),
        ("postgres", Kind::Postgres, Backend::Postgres),
    ] {
        if let [variable] = kind.missing()[..] {
            eprintln!("left out: tiers/{name} ({variable} is not set)");
            continue;
        }
        tier(c, &runtime, name, || Opened::backend(&runtime, kind, backend));
    }
}

fn tier(c: &mut Criterion, runtime: &Runtime, name: &str, open: impl Fn() -> Opened) {
    // Opened by the first benchmark that is not filtered out.
    let opened = OnceCell::new();
    let mut group = c.benchmark_group(format!("tiers/{name}"));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for callers in CALLERS {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_function(BenchmarkId::new("get", callers), |b| {
            let opened = opened.get_or_init(&open);
            b.to_async(runtime).iter_custom(|rounds| {
                rounds_of(callers, rounds, opened, |tier, key, _| async move {
                    let lookup = tier.get(&key).await.expect("the tier answers");
                    assert!(lookup.entry.is_some(), "{key} is gone");
                })
            });
        });
        group.bench_function(BenchmarkId::new("put", callers), |b| {
            let opened = opened.get_or_init(&open);
            b.to_async(runtime).iter_custom(|rounds| {
                rounds_of(callers, rounds, opened, |tier, key, entry| async move {
                    tier.put(key, entry).await.expect("the tier takes a bar");
                })
            });
        });
    }
    group.finish();
    if let Some(opened) = opened.into_inner() {
        runtime.block_on(opened.close());
    }
}

/// A tier with some bars in it.
struct Opened {
    tier: Arc<dyn Tier>,
    namespace: Namespace,
    entries: Arc<[(Key, Entry)]>,
    /// Held for SQLite's file.
    _tiers: Option<Tiers>,
}

impl Opened {
    fn memory(runtime: &Runtime) -> Self {
        let tier = MemoryTier::shared(ByteSize::mib(64), SystemClock::shared());
        runtime.block_on(Self::filled(tier, "bench", None))
    }

    fn backend(runtime: &Runtime, kind: Kind, backend: Backend) -> Self {
        runtime.block_on(async {
            let tiers = Tiers::open(&[kind]).await.expect("the tier can be opened");
            let tier = Arc::clone(tiers.tier(backend).expect("it was just opened"));
            let namespace = tiers.namespace();
            Self::filled(tier, &namespace, Some(tiers)).await
        })
    }

    async fn filled(tier: Arc<dyn Tier>, namespace: &str, tiers: Option<Tiers>) -> Self {
        let namespace = Namespace::new(namespace).expect("made to be a namespace");
        let entries: Arc<[(Key, Entry)]> = entries(&namespace).into();
        for (key, entry) in entries.iter() {
            tier.put(key.clone(), entry.clone()).await.expect("the tier takes a bar");
        }
        Self { tier, namespace, entries, _tiers: tiers }
    }

    async fn close(self) {
        self.tier.clear(&self.namespace).await.expect("the benchmark's entries can be removed");
        self.tier.close().await.expect("the tier can be closed");
    }
}

/// How long it takes until each of `callers` has done `operation` `rounds` times.
async fn rounds_of<F, Fut>(callers: usize, rounds: u64, opened: &Opened, operation: F) -> Duration
where
    F: Fn(Arc<dyn Tier>, Key, Entry) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (tier, entries) = (Arc::clone(&opened.tier), Arc::clone(&opened.entries));
        tasks.spawn(async move {
            for round in 0..rounds {
                let place = (caller as u64 + round) % entries.len() as u64;
                let (key, entry) = entries[place as usize].clone();
                operation(Arc::clone(&tier), key, entry).await;
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

fn entries(namespace: &Namespace) -> Vec<(Key, Entry)> {
    let market = Market::shipped().expect("the sample is shipped");
    let now = SystemClock::new().now();
    let entry = |bar: &Bar| {
        let payload = Json.encode(bar).expect("a bar has an encoding");
        let codec = Codec::<Bar>::id(&Json);
        let key = namespace.key(&bar.key()).expect("a symbol and a date are a key");
        (key, Entry::new(payload, codec, now, Ttl::fresh(warm::ttl())))
    };
    market.sample(KEYS).expect("the sample has as many").iter().map(entry).collect()
}

criterion_group!(benches, tiers);
criterion_main!(benches);
