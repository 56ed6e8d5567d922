//! Whether live reads suffer: judged tier by tier, since a tier that has lost its data sends its
//! readers to the next one, which is slower by nature.

use std::time::Duration;

use cache_core::LatencyHistogram;
use tokio::time::Instant;

/// Looks are so far apart at least: merging histograms takes a while.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// So many reads make a window that is judged at once.
const WINDOW_READS: u64 = 200;

/// A window with fewer, or with none, is judged after this.
const WINDOW_MAX: Duration = Duration::from_millis(500);

/// What the 99th percentile may grow by in any case, in microseconds: a scheduler's jitter.
const NOISE_US: f64 = 100.0;

/// Within what time the usual percentile follows a new one while warming never rests.
const DRIFT: Duration = Duration::from_secs(600);

/// The reads of the tiers as of the last look, and what is usual.
#[derive(Debug)]
pub(super) struct LiveReads {
    slowdown_max: f64,
    /// When the reads were asked for last.
    asked_at: Option<Instant>,
    /// When the present window began.
    looked_at: Option<Instant>,
    tiers: Vec<TierReads>,
}

#[derive(Debug)]
struct TierReads {
    /// All reads up to the last look.
    seen: LatencyHistogram,
    /// The 99th percentile of reads that nothing disturbs.
    usual_us: Option<f64>,
    /// Since warming began to work: reads, and those of them that were too slow.
    reads: u64,
    slow: u64,
}

/// What a look has found.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    /// Nothing yet, or nothing to go by.
    Unknown,
    /// For so long nobody has read.
    Nobody(Duration),
    /// So many windows' worth of reads were well, by their margin (0 to 1) to what is too much.
    Well(f64),
    /// More than one read in a hundred was too slow, by more than chance.
    Harmed(String),
}

impl LiveReads {
    pub(super) const fn new(slowdown_max: f64) -> Self {
        Self { slowdown_max, asked_at: None, looked_at: None, tiers: Vec::new() }
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.asked_at.is_none_or(|at| now - at >= LOOK_EVERY)
    }

    /// Judges the reads since the last look. `idle`: for how long warming has not worked on the
    /// tiers; when that is nearly all the time since the last look, what is seen is what is usual.
    pub(super) fn look(
        &mut self,
        now: Instant,
        idle: Duration,
        all: Vec<LatencyHistogram>,
    ) -> Finding {
        self.asked_at = Some(now);
        let Some(looked_at) = self.looked_at.filter(|_| self.tiers.len() == all.len()) else {
            self.looked_at = Some(now);
            self.tiers = all.into_iter().map(TierReads::first).collect();
            return Finding::Unknown;
        };
        let age = now - looked_at;
        let windows = self.tiers.iter().zip(&all).map(|(tier, all)| all.since(&tier.seen));
        let windows: Vec<LatencyHistogram> = windows.collect();
        let most = windows.iter().map(LatencyHistogram::count).max().unwrap_or(0);
        let was_ever_read = all.iter().any(|all| all.count() > 0);
        if was_ever_read && most < WINDOW_READS && age < WINDOW_MAX {
            return Finding::Unknown;
        }
        self.looked_at = Some(now);
        let is_usual = idle >= age.mul_f64(0.9);
        let mut finding = if most == 0 { Finding::Nobody(age) } else { Finding::Unknown };
        for ((tier, window), all) in self.tiers.iter_mut().zip(windows).zip(all) {
            tier.seen = all;
            let found = if is_usual {
                tier.rest(&window);
                Finding::Unknown
            } else {
                tier.judge(&window, age, self.slowdown_max)
            };
            finding = finding.worse(found);
        }
        finding
    }
}

impl TierReads {
    /// The reads before warming has ever worked are undisturbed ones.
    fn first(seen: LatencyHistogram) -> Self {
        let usual_us = (seen.count() >= WINDOW_READS).then(|| seen.quantile_us(0.99));
        Self { seen, usual_us, reads: 0, slow: 0 }
    }

    fn rest(&mut self, window: &LatencyHistogram) {
        if window.count() >= WINDOW_READS {
            self.usual_us = Some(window.quantile_us(0.99));
        }
        (self.reads, self.slow) = (0, 0);
    }

    fn judge(&mut self, window: &LatencyHistogram, age: Duration, slowdown_max: f64) -> Finding {
        let reads = window.count();
        if reads == 0 {
            return Finding::Unknown;
        }
        let p99_us = window.quantile_us(0.99);
        let Some(usual) = self.usual_us else {
            // Warming has just begun, at its least.
            self.usual_us = (reads >= WINDOW_READS).then_some(p99_us);
            return Finding::Unknown;
        };
        if reads >= WINDOW_READS {
            let way = age.as_secs_f64() / DRIFT.as_secs_f64();
            self.usual_us = Some(usual + (p99_us - usual) * way.min(1.0));
        }
        let slow = window.count_above((usual * slowdown_max).max(usual + NOISE_US));
        self.reads += reads;
        self.slow += slow;
        let one_in_a_hundred = |reads: u64| (reads as f64 / 100.0).max(1.0);
        // By chance as many more as the root of that is nothing unusual.
        let most = one_in_a_hundred(reads) + one_in_a_hundred(reads).sqrt();
        if slow as f64 > most {
            let took = format!("live reads take {p99_us:.0} µs, and usually {usual:.0} µs");
            return Finding::Harmed(took);
        }
        // What was too slow before in this run counts too: the run as a whole is to be borne.
        let part = |slow: u64, reads: u64| (slow as f64 / one_in_a_hundred(reads)).min(1.0);
        let margin = 1.0 - part(slow, reads).max(part(self.slow, self.reads));
        let windows = reads as f64 / WINDOW_READS as f64;
        Finding::Well(margin * windows.max(age.as_secs_f64() / WINDOW_MAX.as_secs_f64()))
    }
}

impl Finding {
    /// Of two tiers' findings that which asks for more care.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Harmed(reason), _) | (_, Self::Harmed(reason)) => Self::Harmed(reason),
            (Self::Well(one), Self::Well(other)) => Self::Well(one.min(other)),
            (Self::Unknown | Self::Nobody(_), found @ Self::Well(_)) => found,
            (found, _) => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tier of which all reads are told, and the time.
    struct Told {
        live: LiveReads,
        now: Instant,
        all: Vec<LatencyHistogram>,
    }

    impl Told {
        /// Before warming begins each tier has had 1,000 reads of 1 ms.
        fn new(tiers: usize) -> Self {
            let mut told = Self { live: LiveReads::new(1.5), now: Instant::now(), all: Vec::new() };
            told.all = vec![LatencyHistogram::new(); tiers];
            (0..tiers).for_each(|tier| told.read(tier, 1_000, 1_000));
            assert_eq!(told.look(0, Duration::ZERO), Finding::Unknown);
            told
        }

        fn read(&mut self, tier: usize, us: u64, count: u64) {
            self.all[tier].record(Duration::from_micros(us), count);
        }

        fn look(&mut self, after_ms: u64, idle: Duration) -> Finding {
            self.now += Duration::from_millis(after_ms);
            self.live.look(self.now, idle, self.all.clone())
        }

        /// Looks after a window in which warming worked.
        fn window(&mut self, us: u64, count: u64) -> Finding {
            self.read(0, us, count);
            self.look(100, Duration::ZERO)
        }
    }

    fn harmed(finding: &Finding) -> bool {
        matches!(finding, Finding::Harmed(_))
    }

    #[test]
    fn reads_that_are_slower_than_they_may_be_are_a_harm_and_usual_ones_are_not() {
        let mut told = Told::new(1);
        assert_eq!(told.window(1_000, 200), Finding::Well(1.0));
        assert_eq!(told.window(1_400, 400), Finding::Well(2.0));
        told.read(0, 2_000, 5);
        assert!(harmed(&told.window(1_000, 200)));
    }

    #[test]
    fn one_slow_read_in_a_hundred_may_be_and_leaves_no_margin() {
        let mut told = Told::new(1);
        told.read(0, 9_000, 2);
        assert_eq!(told.window(1_000, 198), Finding::Well(0.0));
        // Half of what the run so far may have is spent.
        assert_eq!(told.window(1_000, 200), Finding::Well(0.5));
    }

    #[test]
    fn readers_that_are_sent_to_the_next_tier_are_not_slow_for_that() {
        let mut told = Told::new(1);
        told.all.push(LatencyHistogram::new());
        told.live.looked_at = None;
        told.look(0, Duration::ZERO);
        told.read(1, 5_000, 200);
        assert_eq!(
            told.window(1_000, 200),
            Finding::Well(1.0),
            "its first reads are the usual ones"
        );
        told.read(1, 5_000, 200);
        assert_eq!(told.window(1_000, 200), Finding::Well(1.0));
        told.read(1, 9_000, 200);
        assert!(harmed(&told.window(1_000, 200)));
    }

    #[test]
    fn few_reads_are_judged_after_a_while() {
        let mut told = Told::new(1);
        assert_eq!(told.window(1_000, 20), Finding::Unknown);
        assert_eq!(told.look(400, Duration::ZERO), Finding::Well(1.0));
        told.read(0, 9_000, 3);
        assert!(harmed(&told.look(500, Duration::ZERO)));
    }

    #[test]
    fn that_nobody_reads_is_known_at_once_at_a_start_and_after_a_while_later() {
        let mut told = Told::new(1);
        assert_eq!(told.look(100, Duration::ZERO), Finding::Unknown);
        assert_eq!(told.look(400, Duration::ZERO), Finding::Nobody(WINDOW_MAX));
        let mut live = LiveReads::new(1.5);
        let none = || vec![LatencyHistogram::new()];
        assert_eq!(live.look(told.now, Duration::ZERO, none()), Finding::Unknown);
        let soon = told.now + LOOK_EVERY;
        assert_eq!(live.look(soon, Duration::ZERO, none()), Finding::Nobody(LOOK_EVERY));
    }

    #[test]
    fn what_is_seen_while_warming_rests_is_what_is_usual() {
        let mut told = Told::new(1);
        assert!(harmed(&told.window(3_000, 200)));
        told.read(0, 3_000, 200);
        assert_eq!(told.look(1_000, Duration::from_millis(950)), Finding::Unknown);
        assert_eq!(told.window(3_000, 200), Finding::Well(1.0));
    }

    #[test]
    fn what_has_become_slower_for_good_is_the_usual_at_some_time() {
        let mut told = Told::new(1);
        let windows = (0..100_000).take_while(|_| harmed(&told.window(2_000, 200))).count();
        assert!((1_000..20_000).contains(&windows), "{windows} windows of 100 ms");
    }
}
