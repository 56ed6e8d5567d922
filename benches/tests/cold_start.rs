//! What a restart costs with and without warming: hit ratio in the first second, tenth second and
//! minute, and calls of the source. On the market workload also an hour of prices that live for 10 s.
//!
//! `cargo test -p cache-benches --test cold_start -- --nocapture` prints it, and writes a chart into
//! the directory that `CACHE_CHARTS` names. With `CACHE_TRACES`, a real trace as well. Time is
//! simulated: an hour takes seconds, and each run is the same.

#![cfg(test)]

use std::{
    convert::Infallible,
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cache_benches::{bar::Bar, market::Market, popularity::Zipf};
use cache_core::{ByteSize, Cache, Clock, Item, MemoryTier, ReadTap, Table, Tier, Timestamp};
use cache_trace::{Axis, Chart, ReadOptions, Scale, Series, Stroke, read};
use cache_warmer::{
    Answer, Budget, DataKind, KeySource, Learner, LearnerConfig, Plan, PresetKeys, SYMBOLS, Source,
    Warmer, WarmerConfig,
};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::time::Instant;

/// What a load takes, of one key or of a batch.
const LOAD: Duration = Duration::from_millis(300);
const HOUR: usize = 3_600;

/// The time of a paused runtime, for the cache too: one hand for all.
#[derive(Debug)]
struct Simulated(Instant);

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_720_015_200_000).after(self.0.elapsed())
    }
}

/// Bars of the market, or a number for a key of a trace, after the time that a load takes.
#[derive(Debug)]
struct Slow {
    market: Market,
    calls: Arc<AtomicU64>,
    keys: Arc<AtomicU64>,
}

impl Slow {
    fn bar(&self, key: &str) -> Bar {
        let bars = self.market.bars();
        // The sample knows five shares: the others have the bars of one of them.
        let at = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        self.market.bar(key).unwrap_or(&bars[at % bars.len()]).clone()
    }
}

#[async_trait]
impl Source<Bar> for Slow {
    async fn load(&self, key: &str) -> Answer<Bar> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        Ok(Some(Item::new(self.bar(key))))
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<Bar>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(keys.len() as u64, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        keys.iter().map(|key| Ok(Some(Item::new(self.bar(key))))).collect()
    }

    fn batch_len_max(&self) -> usize {
        100
    }
}

/// What readers saw, second by second.
#[derive(Default)]
struct Seen {
    hits: Vec<u64>,
    reads: Vec<u64>,
    calls: Vec<u64>,
    keys: Vec<u64>,
}

impl Seen {
    /// The hit ratio in the seconds from `from` to before `to`.
    fn ratio(&self, from: usize, to: usize) -> f64 {
        let sum = |of: &[u64]| of[from..to.min(of.len())].iter().sum::<u64>() as f64;
        sum(&self.hits) / sum(&self.reads)
    }

    /// Calls of the source up to the end of a second and the keys that they loaded, those before
    /// the first read included.
    fn loads_until(&self, second: usize) -> String {
        let at = second.min(self.calls.len()) - 1;
        format!("{} of {}", self.calls[at], self.keys[at])
    }

    fn worst_minute(&self) -> f64 {
        let minutes =
            (0..self.reads.len() / 60).map(|minute| self.ratio(minute * 60, minute * 60 + 60));
        minutes.fold(1.0, f64::min)
    }
}

struct Process {
    cache: Cache<Bar>,
    source: Arc<Slow>,
    tap: ReadTap,
    clock: Arc<dyn Clock>,
}

/// A process that has just been started: nothing is cached.
fn process(ttl: Duration) -> Process {
    let clock: Arc<dyn Clock> = Arc::new(Simulated(Instant::now()));
    let tap = ReadTap::new(1.0).unwrap();
    let cache = Cache::builder("price")
        .ttl(ttl)
        .near(ByteSize::mib(64))
        .read_tap(tap.clone())
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    let market = Market::shipped().unwrap();
    let source = Arc::new(Slow { market, calls: Arc::default(), keys: Arc::default() });
    Process { cache, source, tap, clock }
}

/// Reads `key` after `key`, so many a second, for `seconds`. A read is a hit when it needed no load.
async fn readers(
    process: &Process,
    a_second: usize,
    seconds: usize,
    mut key: impl FnMut() -> String,
) -> Seen {
    let mut seen = Seen::default();
    let begin = Instant::now();
    let pause = Duration::from_secs(1) / a_second as u32;
    let (mut tasks, mut at) = (tokio::task::JoinSet::new(), 0_u32);
    for second in 0..seconds {
        let hits = Arc::new(AtomicU64::new(0));
        for _ in 0..a_second {
            tokio::time::sleep_until(begin + pause * at).await;
            at += 1;
            let (cache, source, hits) =
                (process.cache.clone(), Arc::clone(&process.source), Arc::clone(&hits));
            let key = key();
            tasks.spawn(async move {
                let asked = Instant::now();
                let of = key.clone();
                let loader = move || async move {
                    Ok::<_, Infallible>(
                        source.load(&of).await.expect("it never fails").expect("it has all"),
                    )
                };
                cache.get_or_load(&key, loader).await.expect("the source never fails");
                // A caller of a load waits for the source; a hit takes no simulated time.
                if asked.elapsed().is_zero() {
                    hits.fetch_add(1, Ordering::Relaxed);
                }
            });
            while tasks.try_join_next().is_some() {}
        }
        tokio::time::sleep_until(begin + Duration::from_secs(second as u64 + 1)).await;
        while tasks.try_join_next().is_some() {}
        // Who still waits for the source counts as a miss.
        seen.hits.push(hits.load(Ordering::Relaxed));
        seen.reads.push(a_second as u64);
        seen.calls.push(process.source.calls.load(Ordering::Relaxed));
        seen.keys.push(process.source.keys.load(Ordering::Relaxed));
    }
    seen
}

/// The symbols of the preset, by Zipf's law.
fn symbols() -> impl FnMut() -> String {
    let (zipf, mut rng) = (Zipf::new(SYMBOLS.len(), 0.99), SmallRng::seed_from_u64(42));
    move || SYMBOLS[zipf.pick(&mut rng)].key.to_owned()
}

async fn market(a_second: usize, warming: bool) -> Seen {
    let process = process(DataKind::Price.ttl());
    let mut schedule = None;
    if warming {
        let preset: Arc<dyn KeySource> = Arc::new(PresetKeys::new(DataKind::Price).load_cost(LOAD));
        let plan = Plan::from_sources(&[preset], Budget::keys(1_000)).await.unwrap();
        let source: Arc<dyn Source<Bar>> = process.source.clone();
        let warmer = Warmer::new(process.cache.clone(), source, WarmerConfig::default()).unwrap();
        let kept_warm = warmer.spawn_schedule(&plan).expect("warming is on");
        // What a health check waits for, before it lets readers in.
        kept_warm.warmed().await;
        schedule = Some(kept_warm);
    }
    let seen = readers(&process, a_second, HOUR, symbols()).await;
    drop(schedule);
    seen
}

/// A minute of a trace after a restart, of a process that read its first two thirds before.
async fn trace(keys: &[u32], warming: bool) -> Seen {
    let ttl = DataKind::Macro.ttl();
    let cut = keys.len() / 3 * 2;
    let process_before = process(ttl);
    let clock = Arc::clone(&process_before.clock);
    let durable: Arc<dyn Tier> = MemoryTier::shared(ByteSize::mib(4), Arc::clone(&clock));
    let learner = |process: &Process| {
        let config = LearnerConfig { kept_max: 2_000, ..LearnerConfig::default() };
        let learner = Learner::new(config, process.tap.clone(), Arc::clone(&clock)).unwrap();
        learner.keep_in(Arc::clone(&durable), "price").unwrap()
    };
    if warming {
        let learner = learner(&process_before);
        for (at, key) in keys[..cut].iter().enumerate() {
            process_before.cache.get(&key.to_string()).await.unwrap();
            if at % 500 == 0 {
                learner.listen();
            }
        }
        learner.listen();
        learner.save().await.unwrap();
    }
    let process = process(ttl);
    if warming {
        let learner = learner(&process);
        assert!(learner.restore().await.unwrap() > 1_000);
        let plan = Plan::from_sources(&[learner.hot()], Budget::keys(2_000)).await.unwrap();
        let source: Arc<dyn Source<Bar>> = process.source.clone();
        let warmer = Warmer::new(process.cache.clone(), source, WarmerConfig::default()).unwrap();
        let report = warmer.run_at_startup(&plan).await.expect("warming is on");
        assert_eq!(report.loaded, plan.len() as u64, "{report}");
    }
    let mut rest = keys[cut..].iter();
    readers(&process, 200, 60, || rest.next().expect("the trace is long enough").to_string()).await
}

fn row(table: &mut Table, name: &str, seen: &Seen) {
    let percent = |ratio: f64| format!("{:.1} %", 100.0 * ratio);
    table.row([
        name.to_owned(),
        percent(seen.hits[0] as f64 / seen.reads[0] as f64),
        percent(seen.ratio(9, 10)),
        percent(seen.ratio(0, 60)),
        percent(seen.worst_minute()),
        seen.loads_until(60),
        seen.loads_until(usize::MAX),
    ]);
}

fn chart(name: &str, title: &str, runs: [(&str, &Seen); 2]) {
    let Some(directory) = env::var_os("CACHE_CHARTS") else {
        println!("no chart: CACHE_CHARTS does not name a directory to write it to");
        return;
    };
    let series = runs.map(|(name, seen)| Series {
        name: name.to_owned(),
        stroke: Stroke::Solid,
        points: (0..60).map(|at| (at as f64 + 1.0, 100.0 * seen.ratio(at, at + 1))).collect(),
    });
    let chart = Chart {
        title: title.to_owned(),
        x: Axis {
            label: "seconds after the start".to_owned(),
            scale: Scale::Linear,
            format: |x| format!("{x}"),
        },
        y: Axis {
            label: "hits in that second".to_owned(),
            scale: Scale::Linear,
            format: |y| format!("{y} %"),
        },
        series: series.to_vec(),
    };
    let path = Path::new(&directory).join(format!("{name}.svg"));
    fs::write(&path, chart.to_svg()).unwrap();
    println!("chart: {}", path.display());
}

#[tokio::test(start_paused = true)]
async fn a_warmed_start_is_hot_from_the_first_read_on_and_stays_so_for_an_hour() {
    let mut table = Table::new([
        "start",
        "first second",
        "tenth second",
        "first minute",
        "worst minute",
        "calls of keys, minute",
        "in all",
    ]);
    for a_second in [2, 20] {
        let (cold, warm) = (market(a_second, false).await, market(a_second, true).await);
        row(&mut table, &format!("market, {a_second} reads/s, cold"), &cold);
        row(&mut table, &format!("market, {a_second} reads/s, the preset warmed"), &warm);
        assert!(warm.worst_minute() >= 0.9 && warm.ratio(0, 60) > cold.ratio(0, 60));
    }
    let (cold, warm) = (market(200, false).await, market(200, true).await);
    row(&mut table, "market, 200 reads/s, cold", &cold);
    row(&mut table, "market, 200 reads/s, the preset warmed", &warm);
    chart(
        "cold-start-market",
        "Hits after a start: the market workload",
        [("cold", &cold), ("warmed", &warm)],
    );
    assert!(warm.hits[0] * 10 >= warm.reads[0] * 9, "from the first second on");
    let seconds = 0..HOUR;
    let worst = seconds.map(|at| warm.ratio(at, at + 1)).fold(1.0, f64::min);
    println!("market, the preset warmed: worst second of the hour {:.1} %", 100.0 * worst);
    assert!(worst >= 0.9, "it stays there for an hour");
    assert!(cold.hits[0] < warm.hits[0]);

    match env::var_os("CACHE_TRACES") {
        None => println!("left out: CACHE_TRACES does not name the directory of the traces"),
        Some(directory) => {
            let path = Path::new(&directory).join("cache2k-web12.keys.zst");
            let whole = read(&path, &ReadOptions::default()).unwrap();
            let (cold, warm) = (trace(whole.ids(), false).await, trace(whole.ids(), true).await);
            row(&mut table, "web12, cold", &cold);
            row(&mut table, "web12, 2,000 learned keys warmed", &warm);
            chart(
                "cold-start-web12",
                "Hits after a start: cache2k web12",
                [("cold", &cold), ("warmed", &warm)],
            );
            assert!(warm.ratio(0, 1) > cold.ratio(0, 1) && warm.ratio(0, 60) > cold.ratio(0, 60));
        }
    }
    println!("{table}");
}
