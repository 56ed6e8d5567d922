//! Slows warming down when live reads or the source suffer, and lets it go again.

use std::{sync::Arc, time::Duration};

use cache_core::{Event, Events, LatencyHistogram};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// What is left of the limit when something suffers.
const SHRINK_FACTOR: f64 = 0.7;

/// The least limit: a call, and then a pause of seven times as long.
const LIMIT_MIN: f64 = 0.125;

/// How often live reads are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Fewer reads than so many say nothing of a percentile.
const SAMPLES_MIN: u64 = 50;

/// What the 99th percentile may grow by in any case, in microseconds: a scheduler's jitter.
const NOISE_US: f64 = 300.0;

/// How much of the way the usual percentile goes up to a slow one, so that what has become slower
/// for good is the usual one at some time.
const DRIFT: f64 = 0.02;

/// The longest pause between two calls below a limit of one.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How many calls of the source may be under way: additive growth, multiplicative decrease.
///
/// It begins at its most. A call of which a key failed for a reason that passes (429, 5xx, no
/// answer) shrinks it, calls that began before then do not count; so does a window in which the 99th
/// percentile of live reads is above what it may be. Below one call at the same time there are
/// pauses between calls.
#[derive(Debug)]
pub(crate) struct Brake {
    max: f64,
    slowdown_max: f64,
    events: Events,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    in_use: usize,
    /// How often the limit has shrunk.
    shrunk: u64,
    /// Nothing is begun before.
    closed_until: Option<Instant>,
    /// The reads up to the last look, and when that was.
    seen: Option<(LatencyHistogram, Instant)>,
    /// The 99th percentile of reads that nothing disturbs.
    usual_us: Option<f64>,
}

/// What a call of the source says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered.
    Fine,
    /// It is overloaded or away.
    Suffers,
    /// Nothing.
    Silent,
}

/// The right to one call.
#[derive(Debug)]
pub(crate) struct Pass {
    brake: Arc<Brake>,
    shrunk: u64,
    began: Instant,
    verdict: Verdict,
}

impl Brake {
    pub(crate) fn new(concurrency: usize, slowdown_max: f64, events: Events) -> Self {
        let max = concurrency as f64;
        let state = State {
            limit: max,
            in_use: 0,
            shrunk: 0,
            closed_until: None,
            seen: None,
            usual_us: None,
        };
        Self { max, slowdown_max, events, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits for the right to call. `reads` tells what live reads took so far.
    pub(crate) async fn pass(self: &Arc<Self>, reads: impl Fn() -> LatencyHistogram) -> Pass {
        loop {
            self.look(&reads);
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state.lock();
                let now = Instant::now();
                match state.closed_until.filter(|until| *until > now) {
                    Some(until) => Some(until),
                    None if (state.in_use as f64) < state.limit.max(1.0).floor() => {
                        state.in_use += 1;
                        let brake = Arc::clone(self);
                        let shrunk = state.shrunk;
                        return Pass { brake, shrunk, began: now, verdict: Verdict::Silent };
                    }
                    None => None,
                }
            };
            match wait {
                Some(until) => sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// Begins nothing for `pause`: the source has asked for it.
    pub(crate) fn close_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        state.closed_until = Some(state.closed_until.map_or(until, |known| known.max(until)));
    }

    /// The present limit.
    pub(crate) fn limit(&self) -> f64 {
        self.state.lock().limit
    }

    /// Looks at what live reads took since the last look.
    fn look(&self, reads: &impl Fn() -> LatencyHistogram) {
        {
            let state = self.state.lock();
            if state.seen.as_ref().is_some_and(|(_, at)| at.elapsed() < LOOK_EVERY) {
                return;
            }
        }
        // Not under the lock: merging histograms takes a while.
        let reads = reads();
        let mut state = self.state.lock();
        let window = match &state.seen {
            Some((seen, _)) if seen.count() <= reads.count() => reads.since(seen),
            // The reads before the first run are the undisturbed ones.
            _ => reads.clone(),
        };
        if window.count() < SAMPLES_MIN && state.seen.is_some() {
            return;
        }
        state.seen = Some((reads, Instant::now()));
        if window.count() >= SAMPLES_MIN {
            let told = state.judge(window.quantile_us(0.99), self.slowdown_max, self.max);
            drop(state);
            self.tell(told);
        }
    }

    fn end(&self, began_after: u64, took: Duration, verdict: Verdict) {
        let mut told = None;
        {
            let mut state = self.state.lock();
            state.in_use -= 1;
            if began_after == state.shrunk {
                match verdict {
                    Verdict::Fine => state.grow(self.max),
                    Verdict::Suffers => {
                        let limit = state.shrink();
                        told = Some((limit, "the source fails".to_owned()));
                    }
                    Verdict::Silent => {}
                }
            }
            if state.limit < 1.0 {
                let pause = took.mul_f64(1.0 / state.limit - 1.0).min(PAUSE_MAX);
                let until = Instant::now() + pause;
                state.closed_until = Some(state.closed_until.map_or(until, |at| at.max(until)));
            }
        }
        self.changed.notify_waiters();
        self.tell(told);
    }

    fn tell(&self, told: Option<(f64, String)>) {
        if let Some((limit, reason)) = told {
            let percent_of_a_call = (limit * 100.0) as u64;
            self.events.emit(Event::WarmingSlowed { percent_of_a_call, reason: reason.into() });
        }
    }
}

impl State {
    /// One more call in about as many as run at the same time.
    fn grow(&mut self, max: f64) {
        self.limit = (self.limit + 1.0 / self.limit.max(1.0)).min(max);
    }

    fn shrink(&mut self) -> f64 {
        self.shrunk += 1;
        self.limit = (self.limit * SHRINK_FACTOR).max(LIMIT_MIN);
        self.limit
    }

    /// Compares a window of live reads with the usual ones.
    fn judge(&mut self, p99_us: f64, slowdown_max: f64, max: f64) -> Option<(f64, String)> {
        let Some(usual) = self.usual_us else {
            self.usual_us = Some(p99_us);
            return None;
        };
        let drift = if p99_us < usual { 0.5 } else { DRIFT };
        self.usual_us = Some(usual + (p99_us - usual) * drift);
        let most = (usual * slowdown_max).max(usual + NOISE_US);
        if p99_us <= most {
            self.grow(max);
            return None;
        }
        let limit = self.shrink();
        Some((limit, format!("live reads take {p99_us:.0} µs, and usually {usual:.0} µs")))
    }
}

impl Pass {
    /// Says what it tells about the source when the call does not come to its end.
    pub(crate) const fn presume(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// Says what the call told about the source.
    pub(crate) fn judged(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.brake.end(self.shrunk, self.began.elapsed(), self.verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brake(max: usize) -> Arc<Brake> {
        Arc::new(Brake::new(max, 1.5, Events::new()))
    }

    fn reads(us: u64, count: u64) -> LatencyHistogram {
        let mut reads = LatencyHistogram::new();
        reads.record(Duration::from_micros(us), count);
        reads
    }

    async fn call(brake: &Arc<Brake>, verdict: Verdict) {
        let pass = brake.pass(LatencyHistogram::new).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        pass.judged(verdict);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_suffers_is_asked_less_and_then_more_again() {
        let brake = brake(8);
        for _ in 0..30 {
            call(&brake, Verdict::Suffers).await;
        }
        assert!((brake.limit() - LIMIT_MIN).abs() < 1e-9, "{}", brake.limit());
        assert_eq!(brake.events.count("warming_slowed"), 30);
        for _ in 0..200 {
            call(&brake, Verdict::Fine).await;
        }
        assert!((brake.limit() - 8.0).abs() < 1e-9, "{}", brake.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_moment_shrink_the_limit_once() {
        let brake = brake(4);
        let mut passes = Vec::new();
        for _ in 0..4 {
            passes.push(brake.pass(LatencyHistogram::new).await);
        }
        passes.into_iter().for_each(|pass| pass.judged(Verdict::Suffers));
        assert!((brake.limit() - 2.8).abs() < 1e-9, "{}", brake.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn below_one_call_at_a_time_there_are_pauses() {
        let brake = brake(1);
        for _ in 0..20 {
            call(&brake, Verdict::Suffers).await;
        }
        let start = Instant::now();
        for _ in 0..10 {
            call(&brake, Verdict::Silent).await;
        }
        assert!(start.elapsed() >= Duration::from_millis(10 * 10 * 7), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_live_reads_shrink_the_limit_and_usual_ones_do_not() {
        let brake = brake(8);
        let mut all = reads(1_000, 1_000);
        let mut look = async |us: u64| {
            all.merge(&reads(us, 100));
            tokio::time::sleep(LOOK_EVERY).await;
            drop(brake.pass(|| all.clone()).await);
            brake.limit()
        };
        assert_eq!((look(1_000).await, look(1_400).await), (8.0, 8.0));
        assert!(look(3_000).await < 6.0);
        assert!(look(3_000).await < 4.0);
        let braked = brake.limit();
        assert!(look(1_000).await > braked);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_while_the_source_wants_to_be_left_alone() {
        let brake = brake(8);
        brake.close_for(Duration::from_secs(7));
        let start = Instant::now();
        drop(brake.pass(LatencyHistogram::new).await);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_keeps_nothing() {
        let brake = brake(1);
        let pass = brake.pass(LatencyHistogram::new).await;
        let second =
            tokio::time::timeout(Duration::from_secs(1), brake.pass(LatencyHistogram::new));
        assert!(second.await.is_err());
        drop(pass);
        drop(brake.pass(LatencyHistogram::new).await);
        assert_eq!(brake.state.lock().in_use, 0);
    }
}
