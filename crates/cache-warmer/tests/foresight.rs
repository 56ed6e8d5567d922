//! Does it pay to load what will probably be read? Measured on the last third of each trace that
//! `CACHE_TRACES` has, after the first two thirds were learnt from.
//!
//! `CACHE_TRACES=… cargo test --release -p cache-warmer --test foresight -- --nocapture` prints the
//! table.

#![cfg(test)]

use std::{collections::HashSet, env, path::Path, time::Duration};

use cache_core::{Eviction, Replay, Span, Table, Timestamp};
use cache_trace::{ReadOptions, read};
use cache_warmer::{About, HotKeys, Predictor, PredictorConfig, PredictorStats};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// The cache holds so many hundredths of the trace's keys.
const PERCENT: usize = 5;

/// The most popular keys are looked at after so many reads, and so many of them.
const POPULAR_EVERY: usize = 1_000;
const POPULAR: usize = 500;

/// The traces have no times: a read a millisecond.
const BETWEEN_READS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Nothing,
    Popular,
    Successors { gain_min: f64 },
}

/// What came of a method on the last third.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    reads: usize,
    hits: usize,
    /// Loads that no read asked for.
    ahead: usize,
    /// Those whose first read was a hit.
    used: usize,
    stats: PredictorStats,
}

impl Outcome {
    fn misses(&self) -> usize {
        self.reads - self.hits
    }

    fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.reads as f64
    }

    fn precision(&self) -> f64 {
        self.used as f64 / self.ahead.max(1) as f64
    }

    /// Of the reads that would have missed, those that were foreseen.
    fn recall(&self) -> f64 {
        self.used as f64 / (self.used + self.misses()).max(1) as f64
    }

    /// Hits more than `nothing` had, for each load ahead.
    fn gained(&self, nothing: &Self) -> f64 {
        (self.hits as f64 - nothing.hits as f64) / self.ahead.max(1) as f64
    }
}

/// The reads of a trace in a cache, with loads ahead by a method.
struct Run<'a> {
    texts: &'a [String],
    cache: Replay,
    ahead: HashSet<u32>,
    outcome: Outcome,
}

impl Run<'_> {
    fn read(&mut self, id: u32) -> bool {
        let hit = self.cache.access(u64::from(id), 1, Timestamp::MAX);
        self.outcome.reads += 1;
        self.outcome.hits += usize::from(hit);
        if self.ahead.remove(&id) {
            self.outcome.used += usize::from(hit);
        }
        hit
    }

    fn load_ahead(&mut self, id: u32) {
        if !self.cache.contains(u64::from(id)) {
            self.cache.access(u64::from(id), 1, Timestamp::MAX);
            self.ahead.insert(id);
            self.outcome.ahead += 1;
        }
    }
}

fn run(ids: &[u32], texts: &[String], method: Method) -> Outcome {
    let capacity = (texts.len() * PERCENT / 100).max(1) as u64;
    let cache = Replay::new(Eviction::default().policy(0), capacity);
    let outcome = Outcome::default();
    let mut run = Run { texts, cache, ahead: HashSet::new(), outcome };
    let gain_min = match method {
        Method::Successors { gain_min } => gain_min,
        Method::Nothing | Method::Popular => 0.0,
    };
    let pause = Span::secs(20);
    let config = PredictorConfig { gain_min, pause, ..PredictorConfig::default() };
    let mut predictor = Predictor::new(config).unwrap();
    let mut popular = HotKeys::new(4_096, Duration::from_secs(1_000_000));
    let number = |key: &str| key.parse::<u32>().expect("keys are numbers here");
    let mut now = Timestamp::from_millis(0);
    for (at, id) in ids.iter().enumerate() {
        if at == ids.len() / 3 * 2 {
            run.outcome = Outcome::default();
            run.ahead.clear();
        }
        now = now.after(BETWEEN_READS);
        let hit = run.read(*id);
        let text = &run.texts[*id as usize];
        match method {
            Method::Nothing => {}
            Method::Popular => {
                popular.note(text, 1.0, About::default(), now);
                if at % POPULAR_EVERY == 0 {
                    for hot in popular.top(POPULAR.min(capacity as usize / 4), now) {
                        run.load_ahead(number(&hot.key));
                    }
                }
            }
            Method::Successors { .. } => {
                let cache = &run.cache;
                let is_cached = |key: &str| cache.contains(u64::from(number(key)));
                for foreseen in predictor.read(text, hit, now, &is_cached) {
                    run.load_ahead(number(&foreseen.key));
                }
            }
        }
    }
    run.outcome.stats = predictor.stats();
    run.outcome
}

/// The outcomes of nothing, the most popular, the successors always, and the predictor as it is.
fn compare(table: &mut Table, name: &str, ids: &[u32], texts: &[String]) -> [Outcome; 4] {
    let gain_min = PredictorConfig::default().gain_min;
    let methods = [
        ("no prediction", Method::Nothing),
        ("most popular so far", Method::Popular),
        ("successors, always", Method::Successors { gain_min: 0.0 }),
        ("predictor", Method::Successors { gain_min }),
    ];
    let outcomes = methods.map(|(_, method)| run(ids, texts, method));
    for ((method, _), outcome) in methods.iter().zip(&outcomes) {
        let stats = outcome.stats;
        let calls = outcome.misses() + outcome.ahead;
        let some = |text: String| if outcome.ahead == 0 { "-".to_owned() } else { text };
        table.row([
            format!("{name}: {method}"),
            format!("{:.2} %", 100.0 * outcome.hit_ratio()),
            outcome.ahead.to_string(),
            some(format!("{:.1} %", 100.0 * outcome.precision())),
            some(format!("{:.1} %", 100.0 * outcome.recall())),
            some(format!("{:.3}", outcome.gained(&outcomes[0]))),
            format!("{:.3}", calls as f64 / outcomes[0].misses() as f64),
            match (*method, stats.is_on) {
                ("predictor", true) => format!("on, had stopped {} times", stats.stopped),
                ("predictor", false) => format!("off, had stopped {} times", stats.stopped),
                _ => String::new(),
            },
        ]);
    }
    outcomes
}

#[test]
fn prediction_pays_where_it_is_on_and_switches_itself_off_where_it_does_not() {
    let Some(directory) = env::var_os("CACHE_TRACES") else {
        println!("left out: CACHE_TRACES does not name the directory of the traces");
        return;
    };
    let mut names = vec!["cache2k-web12", "arc-OLTP"];
    if cfg!(debug_assertions) {
        names.truncate(1);
        println!("left out: the long traces, which take minutes without `--release`");
    } else {
        names.push("cache2k-orm-busy");
    }
    let mut table = Table::new([
        "last third",
        "hits",
        "loads ahead",
        "precision",
        "recall",
        "hits gained a load",
        "source calls",
        "at the end",
    ]);
    for name in names {
        let path = Path::new(&directory).join(format!("{name}.keys.zst"));
        let trace = read(&path, &ReadOptions::default()).unwrap();
        let texts: Vec<String> = (0..trace.keys_len()).map(|id| id.to_string()).collect();
        let [nothing, popular, always, predictor] = compare(&mut table, name, trace.ids(), &texts);
        assert!(predictor.hit_ratio() > nothing.hit_ratio() - 0.003, "{name}: it does no harm");
        if always.gained(&nothing) > PredictorConfig::default().gain_min {
            assert!(predictor.stats.is_on && predictor.gained(&nothing) > popular.gained(&nothing));
        } else {
            assert!(predictor.stats.stopped > 0, "{name}: {:?}", predictor.stats);
            assert!(predictor.ahead * 4 < always.ahead, "{name}: it has switched itself off");
        }

        // The same reads in no order: nothing can be foreseen from what was read before.
        let mut shuffled = trace.ids().to_vec();
        shuffled.shuffle(&mut SmallRng::seed_from_u64(42));
        let name = format!("{name}, shuffled");
        let [_, _, always, predictor] = compare(&mut table, &name, &shuffled, &texts);
        assert!(!predictor.stats.is_on && predictor.stats.stopped > 0, "{name}");
        assert!(predictor.ahead * 100 < always.ahead.max(100), "{name}: {predictor:?}");
    }
    println!("{table}");
}
