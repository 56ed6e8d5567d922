//! The circuit of a breaker: closed, open, half-open.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    breaker::{BreakerConfig, BreakerState},
    call::{Call, Verdict},
    jitter::Jitter,
};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Event, Events},
    tier::Tier,
};

/// The most failures that are remembered. With more of them the window is shorter.
const FAILURES_REMEMBERED: usize = 64;

/// The least that a pause is of its span: all of the jitter is downwards, so that the longest pause
/// is a limit.
const PAUSE_LEAST: f64 = 0.5;

/// Counts the failures of one kind of call, and says whether to ask at all.
#[derive(Clone, Debug)]
pub(super) struct Circuit(Arc<Shared>);

/// How an open circuit finds out that it may close.
#[derive(Clone, Debug)]
pub(super) enum Trial {
    /// A task pings the tier. No caller waits for that.
    Ping {
        /// Whom.
        tier: Weak<dyn Tier>,
        /// For how long. Longer than a call may wait: nobody waits for it, and it may have to
        /// connect first.
        patience: Duration,
    },
    /// One of the calls is let through.
    Call,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// How often the circuit had opened before.
    epoch: u64,
    /// Whether this call decides if the circuit closes.
    is_trial: bool,
}

#[derive(Debug)]
struct Shared {
    /// Of the tier, and of what is asked of it.
    name: Arc<str>,
    config: BreakerConfig,
    trial: Trial,
    events: Events,
    jitter: Jitter,
    state: watch::Sender<BreakerState>,
    /// Calls that have ended.
    calls: AtomicU64,
    /// Whether a success has anything to put right. What the happy path reads instead of the lock.
    is_troubled: AtomicBool,
    /// The number of openings times two, and one more while it is not closed.
    gate: AtomicU64,
    core: Mutex<Core>,
}

#[derive(Debug, Default)]
struct Core {
    /// Failures since the last success.
    in_a_row: u32,
    /// When the last failures were, and how many calls had ended by then.
    failures: VecDeque<(Instant, u64)>,
    /// Openings since a call last succeeded: each doubles the pause.
    openings: u32,
    /// While it is not closed.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    until: Instant,
    kind: ErrorKind,
    why: Arc<str>,
    is_tried: bool,
    prober: Option<AbortHandle>,
}

impl Circuit {
    pub(super) fn new(name: Arc<str>, config: BreakerConfig, trial: Trial, events: Events) -> Self {
        Self(Arc::new(Shared {
            name,
            jitter: Jitter::new(config.jitter_seed),
            config,
            trial,
            events,
            state: watch::Sender::new(BreakerState::Closed),
            calls: AtomicU64::new(0),
            is_troubled: AtomicBool::new(false),
            gate: AtomicU64::new(0),
            core: Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> BreakerState {
        *self.0.state.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.0.state.subscribe()
    }

    /// Lets a call through, or says why not.
    pub(super) fn admit(&self) -> Result<Pass> {
        let gate = self.0.gate.load(Ordering::Acquire);
        if gate & 1 == 0 {
            return Ok(Pass { epoch: gate / 2, is_trial: false });
        }
        self.0.admit_to_open()
    }

    /// What [`admit`](Self::admit) would refuse, is refused. Takes no place.
    pub(super) fn refuse(&self) -> Result<()> {
        if self.0.gate.load(Ordering::Acquire) & 1 == 0 {
            return Ok(());
        }
        let mut core = self.0.core.lock();
        let shut = core.open.as_mut().and_then(|open| open.is_shut().then(|| self.0.refusal(open)));
        shut.map_or(Ok(()), Err)
    }

    /// A call that was let through has succeeded.
    pub(super) fn succeeded(&self, pass: Pass) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.is_troubled.load(Ordering::Acquire) {
            self.0.put_right(pass);
        }
    }

    /// A call that was let through has failed.
    pub(super) fn failed(&self, pass: Pass, error: &Error) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.note_failure(pass, error) {
            self.0.start_probing();
        }
    }

    /// A call that was let through has ended, or was dropped, and says nothing.
    pub(super) fn ended(&self, pass: Pass) {
        if pass.is_trial {
            self.0.give_back_trial(pass);
        }
    }
}

impl Open {
    /// Whether nobody may find out yet, or somebody does just now.
    fn is_shut(&mut self) -> bool {
        // A task that ended and left the circuit open went down with its runtime, or with a panic
        // of the tier. Its ping decides nothing any more.
        if self.prober.take_if(|prober| prober.is_finished()).is_some() {
            self.is_tried = false;
        }
        self.is_tried || Instant::now() < self.until
    }
}

impl Shared {
    fn admit_to_open(self: &Arc<Self>) -> Result<Pass> {
        let mut core = self.core.lock();
        let epoch = self.epoch();
        let Some(open) = &mut core.open else { return Ok(Pass { epoch, is_trial: false }) };
        if open.is_shut() {
            return Err(self.refusal(open));
        }
        if matches!(self.trial, Trial::Ping { .. }) && Handle::try_current().is_ok() {
            // Its task is about to ask, or there is none yet.
            let refusal = self.refusal(open);
            drop(core);
            self.start_probing();
            return Err(refusal);
        }
        open.is_tried = true;
        self.state.send_replace(BreakerState::HalfOpen);
        drop(core);
        self.events.emit(Event::BreakerProbing { tier: Arc::clone(&self.name) });
        Ok(Pass { epoch, is_trial: true })
    }

    fn epoch(&self) -> u64 {
        self.gate.load(Ordering::Acquire) / 2
    }

    fn refusal(&self, open: &Open) -> Error {
        let (ago, until) = (open.since.elapsed(), open.until);
        let left = until.saturating_duration_since(Instant::now());
        let message = format!(
            "{} is not asked: it was given up {} ms ago ({}), and is tried again in {} ms",
            self.name,
            ago.as_millis(),
            open.why,
            left.as_millis(),
        );
        Error::new(open.kind, message)
    }

    /// A call has succeeded after others had failed.
    fn put_right(&self, pass: Pass) {
        let mut core = self.core.lock();
        // What was let through before it opened last tells nothing about now.
        if pass.epoch != self.epoch() {
            return;
        }
        if core.open.is_some() {
            if pass.is_trial {
                self.close(&mut core);
                core.openings = 0;
                drop(core);
                self.events.emit(Event::BreakerClosed { tier: Arc::clone(&self.name) });
            }
            return;
        }
        core.in_a_row = 0;
        core.openings = 0;
        // The share of failures goes on by itself: it looks only at failures.
        self.is_troubled.store(false, Ordering::Release);
    }

    /// Answers whether the circuit has opened for that, or opens again.
    fn note_failure(&self, pass: Pass, error: &Error) -> bool {
        let mut core = self.core.lock();
        if pass.epoch != self.epoch() || (core.open.is_some() && !pass.is_trial) {
            return false;
        }
        let now = Instant::now();
        core.in_a_row += 1;
        if core.failures.len() == FAILURES_REMEMBERED {
            core.failures.pop_front();
        }
        core.failures.push_back((now, self.calls.load(Ordering::Relaxed)));
        self.is_troubled.store(true, Ordering::Release);
        let why = if pass.is_trial {
            format!("it failed again: {error}")
        } else if core.in_a_row >= self.config.failures {
            format!("{} calls in a row failed, the last so: {error}", core.in_a_row)
        } else if let Some((failed, calls)) = self.too_many(&mut core, now) {
            format!("{failed} of {calls} calls failed, the last so: {error}")
        } else {
            return false;
        };
        let kind = match self.trial {
            Trial::Ping { .. } => ErrorKind::Unavailable,
            // What is refused to all calls of a kind stays what it is: full, read-only.
            Trial::Call => error.kind(),
        };
        self.open(&mut core, now, kind, why);
        drop(core);
        let event =
            Event::BreakerOpened { tier: Arc::clone(&self.name), error: error.to_string().into() };
        self.events.emit(event);
        true
    }

    /// How many of how many calls failed since the first failure of the window, if that is too
    /// many. Looking at the calls since that failure needs no count of calls by time.
    fn too_many(&self, core: &mut Core, now: Instant) -> Option<(u64, u64)> {
        let is_past = |at: Instant| now.saturating_duration_since(at) > self.config.window;
        while core.failures.front().is_some_and(|(at, _)| is_past(*at)) {
            core.failures.pop_front();
        }
        let (_, calls_before) = core.failures.front()?;
        let calls = self.calls.load(Ordering::Relaxed).saturating_sub(*calls_before) + 1;
        let failed = core.failures.len() as u64;
        let is_too_many = calls >= u64::from(self.config.window_calls)
            && failed * 100 >= calls * u64::from(self.config.window_percent);
        is_too_many.then_some((failed, calls))
    }

    fn open(&self, core: &mut Core, now: Instant, kind: ErrorKind, why: String) {
        let doubled = self.config.open_for.saturating_mul(1 << core.openings.min(16));
        let pause = self.jitter.part(doubled.min(self.config.open_for_max), PAUSE_LEAST);
        core.openings = core.openings.saturating_add(1);
        core.in_a_row = 0;
        core.failures.clear();
        // A prober that is at work goes on; it is the only one that opens the circuit again then.
        let prober = core.open.take().and_then(|open| open.prober);
        core.open = Some(Open {
            since: now,
            until: now + pause,
            kind,
            why: why.into(),
            is_tried: false,
            prober,
        });
        let epoch = self.epoch() + 1;
        self.gate.store(epoch * 2 + 1, Ordering::Release);
        self.is_troubled.store(true, Ordering::Release);
        self.state.send_replace(BreakerState::Open);
    }

    fn close(&self, core: &mut Core) {
        core.open = None;
        let epoch = self.epoch();
        self.gate.store(epoch * 2, Ordering::Release);
        self.state.send_replace(BreakerState::Closed);
    }

    fn give_back_trial(&self, pass: Pass) {
        let mut core = self.core.lock();
        if pass.epoch != self.epoch() {
            return;
        }
        if let Some(open) = &mut core.open {
            open.is_tried = false;
            self.state.send_replace(BreakerState::Open);
        }
    }

    /// Has a task find out when the circuit may close. Outside of a runtime a call does it.
    fn start_probing(self: &Arc<Self>) {
        let Trial::Ping { tier, patience } = &self.trial else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let mut core = self.core.lock();
        let Some(open) = &mut core.open else { return };
        if open.prober.is_none() {
            let task = runtime.spawn(probe(Arc::downgrade(self), tier.clone(), *patience));
            open.prober = Some(task.abort_handle());
        }
    }

    fn until(&self) -> Option<Instant> {
        self.core.lock().open.as_ref().map(|open| open.until)
    }

    /// The pass of the only one that asks; nothing when it is closed.
    fn begin_probe(&self) -> Option<Pass> {
        let mut core = self.core.lock();
        core.open.as_mut()?.is_tried = true;
        self.state.send_replace(BreakerState::HalfOpen);
        let pass = Pass { epoch: self.epoch(), is_trial: true };
        drop(core);
        self.events.emit(Event::BreakerProbing { tier: Arc::clone(&self.name) });
        Some(pass)
    }

    /// The end of a probe. Answers whether another one is needed.
    ///
    /// The pause goes on growing until a call succeeds: a ping that is answered says little where
    /// all else is refused.
    fn end_probe(&self, pass: Pass, answer: &Result<()>) -> bool {
        match answer {
            Err(error) if !Verdict::of(Call::Ping, answer).is_sign_of_life() => {
                self.note_failure(pass, error)
            }
            _ => {
                self.close(&mut self.core.lock());
                self.events.emit(Event::BreakerClosed { tier: Arc::clone(&self.name) });
                false
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(prober) = self.core.get_mut().open.take().and_then(|open| open.prober) {
            prober.abort();
        }
    }
}

/// Pings the tier whenever the pause is over, until the circuit has closed or is gone.
async fn probe(circuit: Weak<Shared>, tier: Weak<dyn Tier>, patience: Duration) {
    while let Some(until) = circuit.upgrade().and_then(|circuit| circuit.until()) {
        sleep_until(until).await;
        let Some(tier) = tier.upgrade() else { return };
        let Some(pass) = circuit.upgrade().and_then(|circuit| circuit.begin_probe()) else {
            return;
        };
        let answer = timeout(patience, tier.ping()).await.unwrap_or_else(|_| {
            let message = format!("ping: no answer for {patience:?}");
            Err(Error::new(ErrorKind::Timeout, message))
        });
        // The task ends with the opening that started it: the next one has its own.
        if !circuit.upgrade().is_some_and(|circuit| circuit.end_probe(pass, &answer)) {
            return;
        }
    }
}
