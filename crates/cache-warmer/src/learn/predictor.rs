//! Foresees reads, judges itself by what became of that, and stops where it does not pay.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use cache_core::{Error, ErrorKind, Result, Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::successors::Successors;

/// The settings of a [`Predictor`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PredictorConfig {
    /// Of how many keys the successors are known. 16,384 unless set, from 2 to 1,048,576. Each takes
    /// about 250 bytes and five keys at most: 6 MB for keys of 30 bytes.
    pub keys_max: usize,
    /// With which probability a key must follow to be foreseen, above 0 and up to 1. 0.4 unless set.
    pub confidence_min: f32,
    /// Within how many reads what was foreseen must have been read to count as gained. 1,000 unless
    /// set, from 1 to 1,000,000.
    pub within_reads: u64,
    /// How many hits a load must gain, on average, to be worth it, from 0 to 1. 0.3 unless set.
    pub gain_min: f64,
    /// After how many foreseen keys it judges itself. 256 unless set, from 16 to 65,536.
    pub judged_by: usize,
    /// For how long it stops where it does not pay; twice as long each further time, up to 64 times.
    /// `"10m"` unless set.
    pub pause: Span,
}

impl Default for PredictorConfig {
    fn default() -> Self {
        Self {
            keys_max: 16_384,
            confidence_min: 0.4,
            within_reads: 1_000,
            gain_min: 0.3,
            judged_by: 256,
            pause: Span::secs(600),
        }
    }
}

impl PredictorConfig {
    fn validate(&self) -> Result<()> {
        let advice = |setting: &str, advice: &str| {
            let message = format!("`{setting}` of the predictor is out of its range");
            Err(Error::new(ErrorKind::Config, message).hint(advice))
        };
        if !(2..=1 << 20).contains(&self.keys_max) {
            return advice("keys_max", "set it to 2 to 1048576");
        }
        if !(self.confidence_min > 0.0 && self.confidence_min <= 1.0) {
            return advice("confidence_min", "set it above 0 and to 1 at most");
        }
        if !(1..=1_000_000).contains(&self.within_reads) {
            return advice("within_reads", "set it to 1 to 1000000");
        }
        if !(0.0..=1.0).contains(&self.gain_min) {
            return advice("gain_min", "set it to 0 to 1");
        }
        if !(16..=65_536).contains(&self.judged_by) {
            return advice("judged_by", "set it to 16 to 65536");
        }
        if self.pause.0.is_zero() {
            return advice("pause", "set it to 1s or more");
        }
        Ok(())
    }
}

/// Foresees which keys will be read next, from what followed what before.
///
/// It is told of each read, and answers which keys to load. What became of them is its own measure:
/// where they gained fewer hits a load than [`gain_min`](PredictorConfig::gain_min), it stops. After
/// a pause it foresees again without a load, and counts the reads that would have been hits; it
/// goes on only when those would have paid. The same reads at the same times give the same answers.
///
/// # Examples
///
/// ```
/// use cache_core::Timestamp;
/// use cache_warmer::{Predictor, PredictorConfig};
///
/// let mut predictor = Predictor::new(PredictorConfig::default())?;
/// let now = Timestamp::from_millis(0);
/// for _ in 0..3 {
///     predictor.read("login", false, now, &|_| false);
///     predictor.read("home", false, now, &|_| false);
/// }
/// let foreseen = predictor.read("login", false, now, &|_| false);
/// assert_eq!(&*foreseen[0].key, "home");
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    config: PredictorConfig,
    successors: Successors,
    phase: Phase,
    /// How often it stopped in a row.
    stops: u32,
    /// Foreseen, and neither read nor given up yet.
    pending: HashMap<Arc<str>, u64>,
    /// The same with the reads at which they were foreseen, the oldest first.
    queue: VecDeque<(Arc<str>, u64)>,
    reads: u64,
    /// Of the present window.
    settled: usize,
    gained: usize,
    stats: PredictorStats,
}

/// A key that will probably be read soon.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Foreseen {
    /// The text of the key.
    pub key: Arc<str>,
    /// With which probability it follows.
    pub confidence: f32,
}

/// What a [`Predictor`] did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PredictorStats {
    /// Whether it names keys to load.
    pub is_on: bool,
    /// Keys that it named.
    pub named: u64,
    /// Those of them that were read soon, and were a hit.
    pub gained: u64,
    /// Those that were not, or were gone when they were read.
    pub wasted: u64,
    /// Keys that it foresaw without naming them, to judge whether to go on.
    pub tried: u64,
    /// Those that would have been a hit.
    pub would_gain: u64,
    /// How often it stopped.
    pub stopped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It names keys.
    On,
    /// It stands still until then.
    Off(Timestamp),
    /// It foresees and names nothing.
    Trial,
}

impl Predictor {
    /// A predictor that knows nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting out of its range.
    pub fn new(config: PredictorConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            successors: Successors::new(config.keys_max),
            phase: Phase::On,
            stops: 0,
            pending: HashMap::new(),
            queue: VecDeque::new(),
            reads: 0,
            settled: 0,
            gained: 0,
            stats: PredictorStats { is_on: true, ..PredictorStats::default() },
        })
    }

    /// Notes that `key` was read at `now`, and whether that was a hit; tells which keys to load. What
    /// `is_cached` knows needs no load.
    pub fn read(
        &mut self,
        key: &str,
        hit: bool,
        now: Timestamp,
        is_cached: &dyn Fn(&str) -> bool,
    ) -> Vec<Foreseen> {
        self.reads += 1;
        self.settle_read(key, hit);
        self.give_up_late();
        self.judge(now);
        let likely = self.successors.read(key, self.config.confidence_min);
        if matches!(self.phase, Phase::Off(_)) {
            return Vec::new();
        }
        let mut foreseen = Vec::new();
        for (key, confidence) in likely {
            // More than are judged at a time are not followed: they would not be settled either.
            let is_full = self.pending.len() >= 4 * self.config.judged_by;
            if is_full || self.pending.contains_key(&key) || is_cached(&key) {
                continue;
            }
            self.pending.insert(Arc::clone(&key), self.reads);
            self.queue.push_back((Arc::clone(&key), self.reads));
            if self.phase == Phase::On {
                self.stats.named += 1;
                foreseen.push(Foreseen { key, confidence });
            } else {
                self.stats.tried += 1;
            }
        }
        foreseen
    }

    /// Notes that the next read does not follow the last one that it was told of.
    pub fn cut(&mut self) {
        self.successors.cut();
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> PredictorStats {
        PredictorStats { is_on: self.phase == Phase::On, ..self.stats }
    }

    fn settle_read(&mut self, key: &str, hit: bool) {
        if self.pending.remove(key).is_some() {
            // On trial nothing was loaded: a hit was there without it.
            let is_gain = hit == (self.phase == Phase::On);
            self.settle(is_gain);
        }
    }

    fn give_up_late(&mut self) {
        while let Some((_, at)) = self.queue.front() {
            if self.reads - at <= self.config.within_reads {
                break;
            }
            let (key, at) = self.queue.pop_front().expect("it has just been looked at");
            // One that was read and foreseen again is there with a later read.
            if self.pending.get(&key) == Some(&at) {
                self.pending.remove(&key);
                self.settle(false);
            }
        }
    }

    fn settle(&mut self, is_gain: bool) {
        self.settled += 1;
        self.gained += usize::from(is_gain);
        match (self.phase, is_gain) {
            (Phase::On, true) => self.stats.gained += 1,
            (Phase::On, false) => self.stats.wasted += 1,
            (_, true) => self.stats.would_gain += 1,
            (_, false) => {}
        }
    }

    fn judge(&mut self, now: Timestamp) {
        if let Phase::Off(until) = self.phase {
            if now >= until {
                self.enter(Phase::Trial);
            }
            return;
        }
        if self.settled < self.config.judged_by {
            return;
        }
        let pays = self.gained as f64 >= self.config.gain_min * self.settled as f64;
        match (self.phase, pays) {
            (Phase::On, true) => {
                self.stops = 0;
                self.enter_window();
            }
            (_, true) => self.enter(Phase::On),
            (_, false) => {
                if self.phase == Phase::On {
                    self.stats.stopped += 1;
                }
                let pause = self.config.pause.0.saturating_mul(1 << self.stops.min(6));
                self.stops += 1;
                self.enter(Phase::Off(now.after(pause)));
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        // What was foreseen in one phase is not judged in another.
        self.pending.clear();
        self.queue.clear();
        self.enter_window();
    }

    const fn enter_window(&mut self) {
        (self.settled, self.gained) = (0, 0);
    }
}

impl PredictorStats {
    /// Hits gained by each load; nothing before one is settled.
    #[must_use]
    pub fn gain(&self) -> Option<f64> {
        let settled = self.gained + self.wasted;
        (settled > 0).then(|| self.gained as f64 / settled as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    /// A cache that keeps nothing but what the predictor names, until it is read once.
    struct Run {
        predictor: Predictor,
        cached: HashSet<Arc<str>>,
        now: Timestamp,
        number: u64,
    }

    impl Run {
        fn new() -> Self {
            let pause = Span::secs(10);
            let config = PredictorConfig { pause, judged_by: 64, ..PredictorConfig::default() };
            let predictor = Predictor::new(config).unwrap();
            Self { predictor, cached: HashSet::new(), now: Timestamp::from_millis(0), number: 1 }
        }

        fn read(&mut self, key: &str) -> bool {
            self.now = self.now.after(Duration::from_millis(10));
            let hit = self.cached.remove(key);
            let cached = &self.cached;
            let foreseen = self.predictor.read(key, hit, self.now, &|key| cached.contains(key));
            self.cached.extend(foreseen.into_iter().map(|foreseen| foreseen.key));
            hit
        }

        /// One of 200, in no order.
        fn pick(&mut self) -> u64 {
            self.number = self.number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.number >> 33) % 200
        }

        /// Reads of pairs, a key and then its partner; how often the partner was a hit.
        fn pairs(&mut self, rounds: usize) -> usize {
            let mut hits = 0;
            for _ in 0..rounds {
                let pair = self.pick();
                self.read(&format!("first-{pair}"));
                hits += usize::from(self.read(&format!("second-{pair}")));
            }
            hits
        }

        /// The same first keys, and after each one that nobody has seen.
        fn strangers(&mut self, rounds: usize) {
            for _ in 0..rounds {
                let (pair, stranger) = (self.pick(), self.now.as_millis());
                self.read(&format!("first-{pair}"));
                self.read(&format!("stranger-{stranger}"));
            }
        }
    }

    #[test]
    fn where_keys_follow_each_other_a_load_gains_a_hit() {
        let mut run = Run::new();
        run.pairs(2_000);
        let hits = run.pairs(1_000);
        assert!(hits > 900, "{hits} of 1,000 partners");
        let stats = run.predictor.stats();
        assert!(stats.is_on && stats.gain().unwrap() > 0.9, "{stats:?}");
    }

    #[test]
    fn where_it_does_not_pay_it_stops_tries_again_and_goes_on_when_it_would() {
        let mut run = Run::new();
        run.pairs(2_000);
        assert!(run.predictor.stats().is_on);
        run.strangers(1_000);
        let stopped = run.predictor.stats();
        assert!(stopped.stopped == 1 && !stopped.is_on, "{stopped:?}");
        run.strangers(5_000);
        let later = run.predictor.stats();
        assert_eq!(
            (later.is_on, later.named),
            (false, stopped.named),
            "it costs nothing: {later:?}"
        );
        let hits_then = run.pairs(20_000);
        let stats = run.predictor.stats();
        assert!(stats.is_on && stats.would_gain > 0, "{stats:?}");
        assert!(hits_then > 10_000, "{hits_then} of 20,000: it tried, and went on");
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut run = Run::new();
        for i in 0..30_000_u64 {
            run.predictor.read(&(i % 5_000).to_string(), false, run.now, &|_| false);
            assert!(run.predictor.pending.len() <= 1_024);
            assert!(run.predictor.queue.len() as u64 <= 4 * 1_001);
        }
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let default = PredictorConfig::default;
        for (config, name) in [
            (PredictorConfig { keys_max: 0, ..default() }, "keys_max"),
            (PredictorConfig { confidence_min: f32::NAN, ..default() }, "confidence_min"),
            (PredictorConfig { within_reads: 0, ..default() }, "within_reads"),
            (PredictorConfig { gain_min: 2.0, ..default() }, "gain_min"),
            (PredictorConfig { judged_by: 1, ..default() }, "judged_by"),
            (PredictorConfig { pause: Span::secs(0), ..default() }, "pause"),
        ] {
            let error = Predictor::new(config).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
