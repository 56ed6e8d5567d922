//! How many calls of the source may be under way: additive growth, multiplicative decrease.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::Brake;

/// What is left of the limit when the source suffers.
const SHRINK_FACTOR: f64 = 0.7;

/// The least limit: a call, and then a pause of seven times as long.
const LIMIT_MIN: f64 = 0.125;

/// The longest pause between two calls below a limit of one.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// It begins at its most, since one call that hangs must not hold up the others. A call of which a
/// key failed for a reason that passes (429, 5xx, no answer) shrinks it; calls that began before do
/// not count again. Below one call at the same time there are pauses between calls.
#[derive(Debug)]
pub(super) struct Calls {
    max: f64,
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

impl Calls {
    pub(super) fn new(concurrency: usize) -> Self {
        let max = concurrency as f64;
        let state = State { limit: max, in_use: 0, shrunk: 0, closed_until: None };
        Self { max, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn limit(&self) -> f64 {
        self.state.lock().limit
    }

    /// Waits for the right to call.
    pub(super) async fn pass(&self, brake: &Arc<Brake>) -> Pass {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state.lock();
                let now = Instant::now();
                match state.closed_until.filter(|until| *until > now) {
                    Some(until) => Some(until),
                    None if (state.in_use as f64) < state.limit.max(1.0).floor() => {
                        state.in_use += 1;
                        let brake = Arc::clone(brake);
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

    pub(super) fn close_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        state.closed_until = Some(state.closed_until.map_or(until, |known| known.max(until)));
    }

    /// Notes what a call said that began when the limit had shrunk `began_after` times. The new
    /// limit, where it has shrunk by this.
    fn end(&self, began_after: u64, took: Duration, verdict: Verdict) -> Option<f64> {
        let mut shrunk_to = None;
        {
            let mut state = self.state.lock();
            state.in_use -= 1;
            if began_after == state.shrunk {
                match verdict {
                    Verdict::Fine => state.grow(self.max),
                    Verdict::Suffers => shrunk_to = Some(state.shrink()),
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
        shrunk_to
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
        let shrunk_to = self.brake.calls.end(self.shrunk, self.began.elapsed(), self.verdict);
        if let Some(limit) = shrunk_to {
            self.brake.tell(limit, "the source fails".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Events;

    use super::*;

    fn brake(max: usize) -> Arc<Brake> {
        Arc::new(Brake::new(max, 1.5, Events::new()))
    }

    async fn call(brake: &Arc<Brake>, verdict: Verdict) {
        let pass = brake.pass(Vec::new).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        pass.judged(verdict);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_suffers_is_asked_less_and_then_more_again() {
        let brake = brake(8);
        for _ in 0..30 {
            call(&brake, Verdict::Suffers).await;
        }
        let limit = brake.calls.limit();
        assert!((limit - LIMIT_MIN).abs() < 1e-9, "{limit}");
        assert_eq!(brake.events.count("warming_slowed"), 30);
        for _ in 0..200 {
            call(&brake, Verdict::Fine).await;
        }
        let limit = brake.calls.limit();
        assert!((limit - 8.0).abs() < 1e-9, "{limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_moment_shrink_the_limit_once() {
        let brake = brake(4);
        let mut passes = Vec::new();
        for _ in 0..4 {
            passes.push(brake.pass(Vec::new).await);
        }
        passes.into_iter().for_each(|pass| pass.judged(Verdict::Suffers));
        let limit = brake.calls.limit();
        assert!((limit - 2.8).abs() < 1e-9, "{limit}");
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
    async fn nothing_is_begun_while_the_source_wants_to_be_left_alone() {
        let brake = brake(8);
        brake.close_for(Duration::from_secs(7));
        let start = Instant::now();
        drop(brake.pass(Vec::new).await);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_keeps_nothing() {
        let brake = brake(1);
        let pass = brake.pass(Vec::new).await;
        let second = tokio::time::timeout(Duration::from_secs(1), brake.pass(Vec::new));
        assert!(second.await.is_err());
        drop(pass);
        drop(brake.pass(Vec::new).await);
        assert_eq!(brake.calls.state.lock().in_use, 0);
    }
}
