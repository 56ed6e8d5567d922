//! A time to live that follows how often values change.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{LoadSeen, TtlRule};
use crate::{
    clock::Timestamp,
    error::{Error, ErrorKind, Result},
};

/// How many keys are followed unless that is said.
const KEYS_MAX: usize = 8_192;

/// What is left of what was known when one more load has been seen: the last 32 or so count.
const KEPT: f64 = 1.0 - 1.0 / 32.0;

/// What stands for a key, of a class if there are classes.
type Class = Arc<dyn Fn(&str) -> &str + Send + Sync>;

/// Keeps a value for as long as it probably stays the same.
///
/// Each load tells whether the value has changed since the load before. Taken as a Poisson process,
/// changes of rate λ leave a value the same for t with probability e^(-λt); so a fresh time of
/// -ln(1 - p) / λ ends when the value has changed with probability `p`, the
/// [`stale_share`](Self::stale_share). A read anywhere within that time is stale less often: about
/// p/2 of the time.
///
/// The rate is changes seen / time watched, where a change seen after t stands for the
/// λt / (1 - e^(-λt)) changes that there probably were. It begins where the cache's own `ttl` is
/// right. An "unchanged" answer therefore always lengthens the time and a change always shortens it,
/// within the bounds. Old loads count less and less: the last 32 matter.
///
/// Of each key 64 bytes are kept and 64 of each class, for 8,192 keys or so unless
/// [`keys_max`](Self::keys_max) says otherwise: 1 MiB. A key that was not loaded for long is
/// forgotten, and begins anew.
///
/// Values are compared by their source's version, or by a checksum of their stored form: a codec must
/// write equal values alike (a `HashMap` does not).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_core::{AdaptiveTtl, Cache};
///
/// let cache: Cache<String> = Cache::builder("news")
///     .ttl_rule(AdaptiveTtl::new(Duration::from_secs(5), Duration::from_secs(3_600))?)
///     .build()?;
/// # let _ = cache;
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone)]
pub struct AdaptiveTtl {
    min: Duration,
    max: Duration,
    stale_share: f64,
    keys_max: usize,
    class: Option<Class>,
    hasher: ahash::RandomState,
    known: Arc<Mutex<Known>>,
}

/// What an [`AdaptiveTtl`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptiveTtlStats {
    /// Loads that brought the value of before.
    pub unchanged: u64,
    /// Loads that brought another.
    pub changed: u64,
    /// Loads of keys that were not known, or not any more.
    pub first: u64,
}

impl AdaptiveTtl {
    /// Times from `min` to `max`, at whose end a value has changed with a probability of 0.1.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when `min` is below 1 ms or above `max`.
    pub fn new(min: Duration, max: Duration) -> Result<Self> {
        if min < Duration::from_millis(1) || min > max {
            let message = format!("adaptive times to live from {min:?} to {max:?}");
            return Err(Error::new(ErrorKind::Config, message)
                .hint("choose a least time of 1 ms or more, and a larger greatest one"));
        }
        Ok(Self {
            min,
            max,
            stale_share: 0.1,
            keys_max: KEYS_MAX,
            class: None,
            // Of texts that others choose no more depends on this than a time to live.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            known: Arc::default(),
        })
    }

    /// With which probability a value may have changed when its time ends: above 0 and below 1. 0.1
    /// unless set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other number.
    pub fn stale_share(self, share: f64) -> Result<Self> {
        if share > 0.0 && share < 1.0 {
            return Ok(Self { stale_share: share, ..self });
        }
        Err(Error::new(ErrorKind::Config, format!("`stale_share` is {share}"))
            .hint("choose a number above 0 and below 1, such as 0.1"))
    }

    /// How many keys are followed, and how many classes. 8,192 unless set; at least 2.
    #[must_use]
    pub fn keys_max(self, keys_max: usize) -> Self {
        Self { keys_max: keys_max.max(2), ..self }
    }

    /// Learns one rate for all keys of a class, not one a key: for keys that change alike, and are
    /// too many to be known each.
    #[must_use]
    pub fn class(self, class: impl Fn(&str) -> &str + Send + Sync + 'static) -> Self {
        Self { class: Some(Arc::new(class)), ..self }
    }

    /// What it has seen.
    #[must_use]
    pub fn stats(&self) -> AdaptiveTtlStats {
        self.known.lock().stats
    }

    fn span(&self, rate: Rate) -> Duration {
        let seconds = -(-self.stale_share).ln_1p() / rate.a_second();
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).clamp(self.min, self.max)
    }

    /// The rate that makes `ttl` the right time, with the weight of one change.
    fn prior(&self, ttl: Duration) -> Rate {
        let ttl = ttl.clamp(self.min, self.max).as_secs_f64();
        Rate { changes: 1.0, watched_s: ttl / -(-self.stale_share).ln_1p() }
    }
}

impl TtlRule for AdaptiveTtl {
    fn fresh_for(&self, load: &LoadSeen<'_>) -> Option<Duration> {
        let key = self.hasher.hash_one(load.key);
        let class = self.class.as_ref().map_or(key, |class| self.hasher.hash_one(class(load.key)));
        let mut known = self.known.lock();
        let Known { last, rates, stats } = &mut *known;
        let half = self.keys_max / 2;
        let mut rate = rates.get(class).unwrap_or_else(|| self.prior(load.ttl));
        let before = last.get(key);
        // A "not modified" about a value that is not known any more says nothing of when it was.
        let mark = load.mark.or(before.map(|before| before.mark));
        match (before, mark) {
            (Some(before), Some(mark)) => {
                let watched_s = load.at.since(before.at).as_secs_f64();
                if before.mark == mark {
                    stats.unchanged += 1;
                    rate = rate.unchanged(watched_s);
                } else {
                    stats.changed += 1;
                    rate = rate.changed(watched_s);
                }
            }
            _ => stats.first += 1,
        }
        if let Some(mark) = mark {
            last.put(key, Last { mark, at: load.at }, half);
        }
        // Kept within what the bounds mean, so that years of quiet are unlearnt in a day.
        rate = rate.within(&self.prior(self.max), &self.prior(self.min));
        rates.put(class, rate, half);
        Some(self.span(rate))
    }
}

impl fmt::Debug for AdaptiveTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveTtl")
            .field("min", &self.min)
            .field("max", &self.max)
            .field("stale_share", &self.stale_share)
            .field("keys_max", &self.keys_max)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Known {
    last: Recent<Last>,
    rates: Recent<Rate>,
    stats: AdaptiveTtlStats,
}

/// What the last load of a key brought, and when.
#[derive(Clone, Copy, Debug)]
struct Last {
    mark: u64,
    at: Timestamp,
}

/// Changes, and the time in which they were seen.
#[derive(Clone, Copy, Debug)]
struct Rate {
    changes: f64,
    watched_s: f64,
}

impl Rate {
    fn a_second(self) -> f64 {
        self.changes / self.watched_s
    }

    fn unchanged(self, watched_s: f64) -> Self {
        let Self { changes, watched_s: before } = self.aged();
        Self { changes, watched_s: before + watched_s }
    }

    fn changed(self, watched_s: f64) -> Self {
        let expected = self.a_second() * watched_s;
        // One where the time was short: there is hardly ever a second change.
        let probably = if expected > 1e-9 { expected / -(-expected).exp_m1() } else { 1.0 };
        let Self { changes, watched_s: before } = self.aged();
        Self { changes: changes + probably, watched_s: before + watched_s }
    }

    fn aged(self) -> Self {
        Self { changes: self.changes * KEPT, watched_s: self.watched_s * KEPT }
    }

    /// Not below the rate of `least`, nor above that of `most`. Where nothing changes for long, less
    /// and less is left of the changes: never less than a tenth of one, as a single one would count
    /// for everything then.
    fn within(self, least: &Self, most: &Self) -> Self {
        let rate = self.a_second().clamp(least.a_second(), most.a_second());
        let changes = self.changes.max(0.1);
        Self { changes, watched_s: changes / rate }
    }
}

/// A table that forgets what was not used for long: full, the older half of it goes.
#[derive(Debug)]
struct Recent<T> {
    new: HashMap<u64, T>,
    old: HashMap<u64, T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { new: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Copy> Recent<T> {
    fn get(&self, key: u64) -> Option<T> {
        self.new.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn put(&mut self, key: u64, value: T, half: usize) {
        if self.new.len() >= half && !self.new.contains_key(&key) {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rule() -> AdaptiveTtl {
        AdaptiveTtl::new(SECOND, 3_600 * SECOND).unwrap()
    }

    fn load(rule: &AdaptiveTtl, key: &str, at_s: f64, mark: Option<u64>) -> Duration {
        let at = Timestamp::from_millis((at_s * 1e3) as u64);
        rule.fresh_for(&LoadSeen::new(key, at, mark, 60 * SECOND)).unwrap()
    }

    #[test]
    fn the_first_load_has_the_time_of_the_cache() {
        let first = load(&rule(), "a", 0.0, Some(1));
        assert!((first.as_secs_f64() - 60.0).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn unchanged_always_lengthens_and_changed_always_shortens_within_the_bounds() {
        let rule = rule();
        let (mut now, mut ttl) = (0.0, load(&rule, "a", 0.0, Some(0)));
        for _ in 0..200 {
            now += ttl.as_secs_f64();
            // "Not modified" and the same value are the same news.
            let next = load(&rule, "a", now, if now % 2.0 < 1.0 { None } else { Some(0) });
            assert!(next > ttl || ttl == 3_600 * SECOND, "{ttl:?}, then {next:?}");
            ttl = next;
        }
        assert_eq!(ttl, 3_600 * SECOND);
        for mark in 1..200 {
            now += ttl.as_secs_f64();
            let next = load(&rule, "a", now, Some(mark));
            assert!(next < ttl || ttl == SECOND, "{ttl:?}, then {next:?}");
            ttl = next;
        }
        assert_eq!(ttl, SECOND);
        let seen = rule.stats();
        assert_eq!((seen.first, seen.unchanged, seen.changed), (1, 200, 199));
    }

    /// The share of times that ended with a value that had changed, for changes of a mean distance.
    fn stale_at_end(share: f64, mean_s: f64, seed: u64) -> (f64, f64) {
        let rule = rule().stale_share(share).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut changes_at = vec![0.0_f64];
        let mut next_change = |changes_at: &mut Vec<f64>, now: f64| {
            while changes_at.last().is_some_and(|last| *last <= now) {
                let pause = -(1.0 - rng.random::<f64>()).ln() * mean_s;
                changes_at.push(changes_at.last().copied().unwrap_or(0.0) + pause);
            }
            changes_at.partition_point(|change| *change <= now) as u64
        };
        let (mut now, mut mark, mut stale, mut loads, mut spans) = (0.0, 0, 0, 0, 0.0);
        for round in 0..4_000 {
            let value = next_change(&mut changes_at, now);
            let ttl = load(&rule, "a", now, Some(value)).as_secs_f64();
            if round >= 500 {
                stale += u32::from(value != mark);
                loads += 1;
                spans += ttl;
            }
            mark = value;
            now += ttl;
        }
        (f64::from(stale) / f64::from(loads), spans / f64::from(loads))
    }

    #[test]
    fn the_share_of_values_that_have_changed_is_what_was_asked_for() {
        for (share, mean_s) in [(0.1, 100.0), (0.1, 1_000.0), (0.3, 300.0), (0.5, 60.0)] {
            let (stale, mean_ttl) = stale_at_end(share, mean_s, 7);
            let right = -(1.0_f64 - share).ln() * mean_s;
            println!("target {share}: {stale:.3} changed, ttl {mean_ttl:.1} s, exact {right:.1} s");
            assert!((stale - share).abs() < 0.25 * share + 0.01, "{share}: {stale}");
        }
    }

    #[test]
    fn a_class_is_learnt_by_all_of_its_keys() {
        let rule = rule().class(|key| key.split(':').next().unwrap_or(key));
        let first = load(&rule, "price:A", 0.0, Some(1));
        load(&rule, "price:A", 60.0, Some(2));
        assert!(load(&rule, "price:B", 61.0, Some(9)) < first, "one of its class has changed");
        assert_eq!(load(&rule, "name:B", 61.0, Some(9)), first);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let rule = rule().keys_max(64);
        for key in 0..10_000 {
            load(&rule, &key.to_string(), 0.0, Some(1));
        }
        let known = rule.known.lock();
        assert!(known.last.new.len() + known.last.old.len() <= 64);
        assert!(known.rates.new.len() + known.rates.old.len() <= 64);
    }

    #[test]
    fn settings_out_of_their_bounds_are_refused() {
        assert!(AdaptiveTtl::new(Duration::ZERO, SECOND).is_err());
        assert!(AdaptiveTtl::new(2 * SECOND, SECOND).is_err());
        for share in [0.0, 1.0, f64::NAN] {
            assert!(rule().stale_share(share).unwrap_err().to_string().contains("stale_share"));
        }
    }
}
