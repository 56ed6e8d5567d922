//! How long values are kept, and how long their loads may take.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::hit::Hit;
use crate::{
    entry::Ttl,
    error::{Error, ErrorKind, Result},
};

/// The largest [`Policy::jitter`].
const JITTER_MAX: f64 = 0.5;

/// The largest [`Policy::early_refresh`].
const EARLY_REFRESH_MAX: f64 = 10.0;

/// The largest value of `-ln(u)` that [`Dice::exponential`] throws: `u` has 53 bits.
const EXPONENTIAL_MAX: f64 = 37.0;

/// How long values are kept and how long their loads may take: a cache's settings of time.
///
/// What a loader knows better it says with its value: [`Item::ttl`](crate::Item::ttl),
/// [`Item::max_stale`](crate::Item::max_stale), [`Item::jitter`](crate::Item::jitter),
/// [`Item::no_store`](crate::Item::no_store) and [`Reply::AbsentFor`](crate::Reply::AbsentFor) are
/// settings of one value.
///
/// # A worked timeline
///
/// `ttl` 60 s, `max_stale` 10 min, `jitter` 0.1, `early_refresh` 1, `soft_timeout` 100 ms,
/// `load_timeout` 5 s, and a load that takes 300 ms:
///
/// | at | what happens |
/// | --- | --- |
/// | 0 s | A caller misses. Its load begins, and with it the value's life: `created_at`. |
/// | 0.3 s | The value is answered and kept. Jitter draws 57 s: fresh until 57 s, gone at 11 min. |
/// | 56 s | Hits are near. The chance that one of them refreshes early is e^(-(57-56)/0.3) = 4 %, and grows: at 56.7 s it is 37 %. Whoever draws it is answered at once; one load runs in the background. |
/// | 57 s | Nobody asked for a while: the value is stale now. The next caller starts a load and waits. |
/// | 57.1 s | The load is slow: after `soft_timeout` the caller is answered by the stale value. The load goes on, once, for whoever comes. |
/// | 62 s | The load is given up at `load_timeout`. Whoever waits still is answered by the stale value, and the next caller starts a new load. |
/// | 11 min | The source was down all the while: the value is gone, and callers get the source's error. |
///
/// Time counts from the **start** of a load: what a source answered was true at some moment since
/// then, so a value is never older than it says. A load that takes longer than `ttl` therefore
/// brings a value that is stale from the first: choose a `ttl` well above the time of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a value is fresh. 5 minutes unless set.
    pub ttl: Duration,
    /// How long after that it may be served when its load fails or is slow. Nothing unless set.
    pub max_stale: Duration,
    /// By which share of it, at most, the fresh time is shortened at random, so that what was
    /// written together does not expire together: 0 to 0.5. It is never lengthened (promise P6).
    /// 0 unless set.
    pub jitter: f64,
    /// How eagerly values are refreshed before they expire: 0 (never) to 10. 1 unless set.
    ///
    /// A hit of the near tier that [`Cache::get_or_load`](crate::Cache::get_or_load) or
    /// [`Read::load`](crate::Read::load) had refreshes its key in the background when
    /// `now + cost · early_refresh · -ln(random) >= fresh_until` (XFetch), where `cost` is the time
    /// that the value's own load took. A value that was inserted has no such cost, and a hit without
    /// a loader has nothing to refresh with: both just expire. Batches do not refresh early, and
    /// neither does a cache without a near tier, whose callers would have to wait for it.
    pub early_refresh: f64,
    /// After which time a caller that waits for a load is answered by a stale value, if there is
    /// one. The load goes on. Never unless set.
    pub soft_timeout: Option<Duration>,
    /// How long a load may take. 30 s unless set, and at most what every tier remembers fences for.
    pub load_timeout: Duration,
    /// How long it is remembered that the source has no value under a key. Not at all unless set.
    pub negative_ttl: Option<Duration>,
    /// For how long after its last write a [`Session`](crate::Session) reads its own writes: as
    /// long as other nodes may take to hear of them. 60 s unless set.
    pub session_ttl: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            max_stale: Duration::ZERO,
            jitter: 0.0,
            early_refresh: 1.0,
            soft_timeout: None,
            load_timeout: Duration::from_secs(30),
            negative_ttl: None,
            session_ttl: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTtl`] for a time to live out of its bounds, [`ErrorKind::Config`] for
    /// everything else.
    pub fn validate(self) -> Result<Self> {
        self.ttl().validate()?;
        if let Some(negative_ttl) = self.negative_ttl {
            Ttl::fresh(negative_ttl).validate().map_err(|e| e.context("`negative_ttl`"))?;
        }
        check_share("jitter", self.jitter, JITTER_MAX)?;
        check_share("early_refresh", self.early_refresh, EARLY_REFRESH_MAX)?;
        if self.soft_timeout.is_some_and(|soft| soft >= self.load_timeout) {
            let message = format!(
                "`soft_timeout` is {:?}, and no load takes longer than `load_timeout`, {:?}",
                self.soft_timeout.unwrap_or_default(),
                self.load_timeout,
            );
            return Err(Error::new(ErrorKind::Config, message).hint("lower `soft_timeout`"));
        }
        Ok(self)
    }

    /// The times to live without those of an item.
    pub(super) const fn ttl(&self) -> Ttl {
        Ttl { fresh: self.ttl, stale: self.max_stale }
    }

    /// Whether to refresh what was hit already.
    pub(super) fn is_early<V>(&self, hit: &Hit<V>, dice: &Dice) -> bool {
        // Almost every hit ends here, without a throw: no throw could reach its deadline.
        let cost_us = u64::from(hit.load_cost_us);
        let left_us = u64::try_from(hit.fresh_for_ms).unwrap_or(0).saturating_mul(1_000);
        if left_us > cost_us.saturating_mul((EXPONENTIAL_MAX * self.early_refresh) as u64) {
            return false;
        }
        cost_us > 0 && cost_us as f64 * self.early_refresh * dice.exponential() >= left_us as f64
    }
}

fn check_share(name: &str, share: f64, max: f64) -> Result<()> {
    // Written so that what is no number is out of its bounds.
    if (0.0..=max).contains(&share) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("`{name}` is {share}"))
        .hint(format!("choose a number from 0 to {max}")))
}

/// Random numbers, the same ones from the same seed: for times, not for secrets.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    throws: AtomicU64,
}

impl Dice {
    /// Throws as `seed` says, or as nobody foresees.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Self { seed, throws: AtomicU64::new(0) }
    }

    /// `span`, shortened by up to the share `jitter` of it, but not below a millisecond.
    pub(super) fn shorten(&self, span: Duration, jitter: f64) -> Duration {
        if jitter <= 0.0 {
            return span;
        }
        span.mul_f64(1.0 - jitter * self.uniform()).max(Duration::from_millis(1)).min(span)
    }

    /// From 0 to [`EXPONENTIAL_MAX`], 1 on average: `-ln(u)`.
    fn exponential(&self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// From 0 to just below 1, with 53 bits.
    fn uniform(&self) -> f64 {
        let throw = self.throws.fetch_add(1, Ordering::Relaxed);
        (mix(self.seed.wrapping_add(throw.wrapping_mul(GOLDEN))) >> 11) as f64 / (1u64 << 53) as f64
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher of SplitMix64: neighbouring numbers become unrelated ones.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_bounds_are_refused_with_what_to_change() {
        let good = Policy::default();
        assert!(good.validate().is_ok());
        let second = Duration::from_secs(1);
        for (bad, named) in [
            (Policy { jitter: 0.6, ..good }, "jitter"),
            (Policy { jitter: f64::NAN, ..good }, "jitter"),
            (Policy { early_refresh: -1.0, ..good }, "early_refresh"),
            (Policy { soft_timeout: Some(second), load_timeout: second, ..good }, "soft_timeout"),
            (Policy { negative_ttl: Some(Duration::ZERO), ..good }, "negative_ttl"),
            (Policy { ttl: Duration::ZERO, ..good }, "time to live"),
        ] {
            let error = bad.validate().unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn dice_throw_evenly_and_the_same_from_one_seed() {
        let [one, two] = [Dice::new(Some(7)), Dice::new(Some(7))];
        let throws: Vec<f64> = (0..10_000).map(|_| one.uniform()).collect();
        assert!(throws.iter().all(|&throw| throw == two.uniform()));
        let mean = throws.iter().sum::<f64>() / throws.len() as f64;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        let mean = (0..10_000).map(|_| one.exponential()).sum::<f64>() / 10_000.0;
        assert!((0.95..1.05).contains(&mean), "{mean}");
    }

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        let dice = Dice::new(Some(1));
        let span = Duration::from_secs(10);
        let spans: Vec<Duration> = (0..1_000).map(|_| dice.shorten(span, 0.5)).collect();
        assert!(spans.iter().all(|s| (Duration::from_secs(5)..=span).contains(s)));
        assert_eq!(dice.shorten(span, 0.0), span);
        let least = Duration::from_millis(1);
        assert_eq!(dice.shorten(least, 0.5), least);
    }
}
