//! What does compressing a payload save, and what does it cost?
//!
//! Real prices and prose, in JSON, through the layer into a tier of this process and back: what a
//! put and a get take beyond those of the same tier without the layer. All subjects take turns, so
//! that what else the machine does meets all of them. With `REDIS_URL` set, the same through Redis:
//! what it holds, and what one caller waits for.
//!
//! ```sh
//! cargo bench -p cache-benches --bench compress             # 201 rounds
//! cargo bench -p cache-benches --bench compress -- --quick  # 31 rounds
//! ```

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cache_benches::{
    market::Market,
    stacks::{Backend, Kind, Tiers},
    warm,
};
use cache_core::{
    ByteSize, Clock, CodecId, Compression, Entry, Key, Layer, MemoryTier, Namespace, PutOutcome,
    SystemClock, Tier, TierExt, Ttl, compress,
};
use tokio::runtime::Runtime;

/// A page of prose, as the text of news.
const PROSE: &str = include_str!("../../docs/GUIDE.md");

const LENS: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];

/// Whatever the threshold, to see where it should be.
const LZ4: Compression = Compression { len_min: ByteSize::bytes(0), ..Compression::lz4() };
const ZSTD: Compression = Compression { len_min: ByteSize::bytes(0), ..Compression::zstd() };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` runs it as a test: once is enough then.
    let rounds = match (is("--bench"), is("--quick")) {
        (false, _) => 1,
        (true, true) => 31,
        (true, false) => 201,
    };
    let runtime = Runtime::new().expect("threads can be started");
    let payloads = payloads();
    println!("In this process; medians of {rounds} rounds.\n");
    println!(
        "| payload | bytes | by | stored | put + ns | get + ns | pays below |\n\
         | --- | --: | --- | --: | --: | --: | --: |"
    );
    for (name, payload) in &payloads {
        runtime.block_on(in_process(name, payload, rounds));
    }
    if Kind::Redis.missing().is_empty() {
        println!(
            "\nThrough Redis, one caller; medians of {rounds} rounds.\n\n\
             | payload | bytes | by | bytes in Redis an entry | put µs | get µs |\n\
             | --- | --: | --- | --: | --: | --: |"
        );
        for (name, payload) in payloads.iter().filter(|(_, payload)| payload.len() >= 1 << 10) {
            runtime.block_on(through_redis(name, payload, rounds));
        }
    } else {
        eprintln!("left out: compress/redis (REDIS_URL is not set)");
    }
}

/// Arrays of bars, and texts of news, of about these lengths; and bytes that nothing compresses.
fn payloads() -> Vec<(&'static str, Bytes)> {
    let market = Market::shipped().expect("the sample is shipped");
    let json = |bars: &[_]| serde_json::to_vec(bars).expect("bars have an encoding");
    let bar = json(&market.bars()[..1]).len();
    let mut payloads = Vec::new();
    for len in LENS {
        let count = (len / bar).clamp(1, market.bars().len());
        payloads.push(("prices", Bytes::from(json(&market.bars()[..count]))));
    }
    for len in LENS {
        let text = PROSE.chars().cycle().take(len.saturating_sub(60).max(8)).collect::<String>();
        let news = serde_json::json!({"symbol": "AAPL", "at": 1_354_320_000, "text": text});
        payloads.push(("news", Bytes::from(news.to_string())));
    }
    let mut noise = vec![0; 64 << 10];
    rand::Rng::fill(&mut rand::rng(), &mut noise[..]);
    payloads.push(("noise", noise.into()));
    payloads
}

/// A tier as it is, and the same with the layer.
struct Subject {
    name: &'static str,
    tier: Arc<dyn Tier>,
    puts: Vec<Duration>,
    gets: Vec<Duration>,
}

impl Subject {
    fn all(inner: &Arc<dyn Tier>) -> [Self; 3] {
        let subject = |name, tier| Self { name, tier, puts: Vec::new(), gets: Vec::new() };
        [
            subject("nothing", Arc::clone(inner)),
            subject("lz4", compress(LZ4).wrap(Arc::clone(inner))),
            subject("zstd", compress(ZSTD).wrap(Arc::clone(inner))),
        ]
    }

    /// Puts and gets one entry so many times.
    async fn turn(&mut self, key: &Key, entry: &Entry, calls: u32) {
        let begun = Instant::now();
        for _ in 0..calls {
            self.tier.put(key.clone(), entry.clone()).await.expect("the tier takes it");
        }
        self.puts.push(begun.elapsed() / calls);
        let begun = Instant::now();
        for _ in 0..calls {
            let lookup = black_box(self.tier.get(key).await.expect("the tier answers"));
            assert!(lookup.entry.is_some_and(|found| found.payload.len() == entry.payload.len()));
        }
        self.gets.push(begun.elapsed() / calls);
    }

    fn medians(&mut self) -> [f64; 2] {
        [&mut self.puts, &mut self.gets].map(|times| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e9
        })
    }
}

async fn in_process(name: &str, payload: &Bytes, rounds: usize) {
    let inner: Arc<dyn Tier> = MemoryTier::shared(ByteSize::mib(64), SystemClock::shared());
    let (key, entry) = (key("bench"), entry(payload));
    let mut subjects = Subject::all(&inner);
    for _ in 0..rounds {
        for subject in &mut subjects {
            subject.turn(&key, &entry, if rounds == 1 { 1 } else { 100 }).await;
        }
    }
    let [plain, compressed @ ..] = &mut subjects;
    let plain = plain.medians();
    for subject in compressed {
        let [put, get] = subject.medians();
        let stored = stored(&inner, subject, &key, &entry).await;
        let (put, get) = (put - plain[0], get - plain[1]);
        let saved = payload.len().saturating_sub(stored);
        // A byte that is saved is sent once and received once.
        let pays_below = match saved {
            0 => "never".to_owned(),
            _ => format!("{:.0} MB/s", 2.0 * saved as f64 / (put + get).max(1.0) * 1e3),
        };
        println!(
            "| {name} | {} | {} | {:.0} % | {put:.0} | {get:.0} | {pays_below} |",
            payload.len(),
            subject.name,
            100.0 * stored as f64 / payload.len() as f64,
        );
    }
}

/// How long the payload is that a subject has put.
async fn stored(inner: &Arc<dyn Tier>, subject: &Subject, key: &Key, entry: &Entry) -> usize {
    subject.tier.put(key.clone(), entry.clone()).await.expect("the tier takes it");
    let found = inner.get(key).await.expect("the tier answers").entry;
    found.expect("it was just put").payload.len()
}

async fn through_redis(name: &str, payload: &Bytes, rounds: usize) {
    let tiers = Tiers::open(&[Kind::Redis]).await.expect("the tier can be opened");
    let inner = Arc::clone(tiers.tier(Backend::Redis).expect("it was just opened"));
    let namespace = tiers.namespace();
    let (key, entry, empty) = (key(&namespace), entry(payload), entry(&Bytes::new()));
    let mut subjects = Subject::all(&inner);
    for _ in 0..rounds {
        for subject in &mut subjects {
            subject.turn(&key, &entry, if rounds == 1 { 1 } else { 10 }).await;
        }
    }
    let namespace = Namespace::new(&namespace).expect("made to be a namespace");
    let base = held(&subjects[0], &inner, &namespace, &empty).await;
    for subject in &mut subjects {
        let [put, get] = subject.medians();
        let bytes = held(subject, &inner, &namespace, &entry).await - base;
        println!(
            "| {name} | {} | {} | {:.0} | {:.0} | {:.0} |",
            payload.len(),
            subject.name,
            bytes / HELD as f64,
            put / 1e3,
            get / 1e3,
        );
    }
    inner.clear(&namespace).await.expect("the benchmark's entries can be removed");
    inner.close().await.expect("the tier can be closed");
}

/// How many keys have the entry while Redis is asked how much it holds.
const HELD: usize = 500;

/// What Redis holds when some keys have this entry. They are filled, which the log is not told.
async fn held(
    subject: &Subject,
    inner: &Arc<dyn Tier>,
    namespace: &Namespace,
    entry: &Entry,
) -> f64 {
    for nth in 0..HELD {
        let key = namespace.key(&format!("held {nth}")).expect("it is a key");
        let fence = inner.get(&key).await.expect("the tier answers").fence;
        let outcome = subject.tier.fill(key, entry.clone(), fence).await;
        assert_eq!(outcome.expect("the tier takes it"), PutOutcome::Stored);
    }
    let usage = inner.usage().await.expect("the tier tells what it holds");
    usage.bytes.expect("Redis knows") as f64
}

fn key(namespace: &str) -> Key {
    let namespace = Namespace::new(namespace).expect("made to be a namespace");
    namespace.key("k").expect("`k` is a key")
}

fn entry(payload: &Bytes) -> Entry {
    Entry::new(payload.clone(), CodecId(1), SystemClock::new().now(), Ttl::fresh(warm::ttl()))
}
