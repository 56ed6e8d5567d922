//! Which part of the time warming works on the tiers: a piece of work, then a pause in proportion.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// The part at the beginning, and at least.
pub(super) const SHARE_MIN: f64 = 1.0 / 8.0;

/// What becomes of the part when live reads suffer.
const SHRINK_FACTOR: f64 = 0.5;

/// By what it grows after a window's worth of reads that were well.
const GROWTH: f64 = 1.3;

/// How long the part takes to double while nobody reads.
const DOUBLES_IN: Duration = Duration::from_millis(25);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The part of the time, and whose turn it is: one piece of work is under way at a time, so that a
/// live read waits for one at most.
#[derive(Debug)]
pub(super) struct Share {
    turn: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    part: f64,
    rests_until: Option<Instant>,
}

/// The right to one piece of work. Dropped, the work is done, and a pause follows.
#[derive(Debug)]
pub(crate) struct Turn {
    brake: Arc<super::Brake>,
    began: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Share {
    pub(super) fn new() -> Self {
        let state = State { part: SHARE_MIN, rests_until: None };
        Self { turn: Arc::new(Semaphore::new(1)), state: Mutex::new(state) }
    }

    pub(super) fn part(&self) -> f64 {
        self.state.lock().part
    }

    /// Waits for the turn, then until the last work is paid for.
    pub(super) async fn turn(&self, brake: &Arc<super::Brake>) -> Turn {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let permit = turn.expect("it is never closed");
        self.rested().await;
        Turn { brake: Arc::clone(brake), began: Instant::now(), _permit: permit }
    }

    /// Waits until the work done so far is paid for.
    pub(super) async fn rested(&self) {
        loop {
            let until = self.state.lock().rests_until;
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Has a pause follow on so much work, and says when it ends.
    pub(super) fn worked(&self, work: Duration) -> Instant {
        let mut state = self.state.lock();
        let pause = work.mul_f64(1.0 / state.part - 1.0).min(PAUSE_MAX);
        let now = Instant::now();
        let from = state.rests_until.map_or(now, |until| until.max(now));
        let until = (from + pause).min(now + PAUSE_MAX);
        state.rests_until = Some(until);
        until
    }

    pub(super) fn grow_by_reads(&self, windows: f64) {
        self.grow(GROWTH.powf(windows));
    }

    pub(super) fn grow_by_time(&self, quiet: Duration) {
        self.grow((quiet.as_secs_f64() / DOUBLES_IN.as_secs_f64()).min(32.0).exp2());
    }

    fn grow(&self, factor: f64) {
        let mut state = self.state.lock();
        state.part = (state.part * factor).min(1.0);
    }

    /// What is left of the part.
    pub(super) fn shrink(&self) -> f64 {
        let mut state = self.state.lock();
        state.part = (state.part * SHRINK_FACTOR).max(SHARE_MIN);
        state.part
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.brake.worked(self.began.elapsed());
    }
}
