//! When a server was last heard, by any call.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, futures::Notified},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::call::{Call, Verdict};
use crate::error::{Error, ErrorKind, Result};

/// Into how many ticks a patience is divided. A silence is noticed a tenth of it late at most.
const TICKS: u64 = 10;

/// The shortest tick: tokio's timers are not finer, and a patience of nothing is one all the same.
const TICK_MIN: Duration = Duration::from_millis(1);

/// Says when a server was silent for its patience.
///
/// Time is counted in ticks, by one task for all calls, so that a call that is answered registers no
/// timer: it only leaves its waker in a list. The task starts with a call, and ends when none has
/// come for a patience. If its runtime ends or stands still, the next call starts another.
///
/// A process that is stopped or starved does not tick, and so does not take its own standstill for
/// the server's.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Option<Arc<Ticks>>);

/// Where the count of ticks stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick(u64);

#[derive(Debug)]
struct Ticks {
    patience: Duration,
    /// How many there were.
    now: AtomicU64,
    /// The tick in which the server was last heard.
    heard: AtomicU64,
    /// The tick until which somebody may need the next one.
    until: AtomicU64,
    /// When the last tick was, in nanoseconds after `born`.
    ticked_at: AtomicU64,
    born: Instant,
    /// The number of the task that ticks; 0: none does.
    ticker: AtomicU64,
    /// How many tasks there were.
    tickers: AtomicU64,
    /// Wakes all who wait, with each tick of a silence.
    silence: Notify,
}

impl Pulse {
    /// Nothing was heard so far. Without a patience nothing is ever given up.
    pub(super) fn new(patience: Option<Duration>) -> Self {
        let ticks = |patience| Ticks {
            patience,
            now: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            until: AtomicU64::new(0),
            ticked_at: AtomicU64::new(0),
            born: Instant::now(),
            ticker: AtomicU64::new(0),
            tickers: AtomicU64::new(0),
            silence: Notify::new(),
        };
        Self(patience.map(|patience| Arc::new(ticks(patience))))
    }

    /// A call begins.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without timers.
    pub(super) fn begin(&self) -> Tick {
        self.0.as_ref().map_or(Tick(0), Ticks::begin)
    }

    /// Notes a sign of life.
    pub(super) fn beat(&self) {
        if let Some(ticks) = &self.0 {
            ticks.beat();
        }
    }

    /// Whether a read that waits since `since` has met silence for its patience, or all but the last
    /// tick of it: who goes after just that time has learned as much.
    pub(super) fn is_silent(&self, since: Tick) -> bool {
        self.0.as_ref().is_some_and(|ticks| ticks.silent_since(since) >= TICKS - 1)
    }

    /// Waits for `inner`, which has been waiting since `since`, unless the tier `name` is silent.
    pub(super) async fn watch<T>(
        &self,
        (call, size): (Call, usize),
        name: &str,
        since: Tick,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(ticks) = &self.0 else { return inner.await };
        let patiences = call.patiences(size);
        let mut inner = pin!(inner);
        // What is answered at once did not come from a server, and needs no waker in the list.
        let mut alarm: Pin<&mut Option<Notified<'_>>> = pin!(None);
        poll_fn(|context| {
            if let Poll::Ready(result) = inner.as_mut().poll(context) {
                if alarm.is_some() && Verdict::of(call, &result).is_sign_of_life() {
                    ticks.beat();
                }
                return Poll::Ready(result);
            }
            loop {
                if alarm.is_none() {
                    alarm.set(Some(ticks.silence.notified()));
                }
                let woken = alarm.as_mut().as_pin_mut().expect("it was set just now").poll(context);
                if woken.is_pending() {
                    return Poll::Pending;
                }
                if ticks.silent_since(since) > TICKS * u64::from(patiences) {
                    return Poll::Ready(Err(given_up(call, name, ticks.patience * patiences)));
                }
                ticks.need(1);
                alarm.set(None);
            }
        })
        .await
    }
}

impl Ticks {
    fn begin(self: &Arc<Self>) -> Tick {
        self.need(TICKS + 1);
        Tick(self.now.load(Ordering::SeqCst))
    }

    fn beat(&self) {
        // Most calls find it noted already, and write nothing that others share.
        let now = self.now.load(Ordering::Relaxed);
        if self.heard.load(Ordering::Relaxed) < now {
            self.heard.store(now, Ordering::Relaxed);
        }
    }

    /// How many ticks a call that waits since `since` has met silence.
    fn silent_since(&self, Tick(since): Tick) -> u64 {
        let last = since.max(self.heard.load(Ordering::Relaxed));
        self.now.load(Ordering::SeqCst).saturating_sub(last)
    }

    /// Sees to it that the next `ticks` come.
    fn need(self: &Arc<Self>, ticks: u64) {
        // The task that ends says so first and looks at `until` then; here it is the other way
        // round. So one of the two sees the other.
        let until = self.now.load(Ordering::SeqCst) + ticks;
        if self.until.load(Ordering::SeqCst) < until {
            self.until.fetch_max(until, Ordering::SeqCst);
        }
        let ticker = self.ticker.load(Ordering::SeqCst);
        if ticker == 0 || self.is_overdue() {
            self.start(ticker);
        }
    }

    /// Whether no tick has come for most of a patience: whoever runs the task is not run itself.
    fn is_overdue(&self) -> bool {
        let ticked_at = Duration::from_nanos(self.ticked_at.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(ticked_at) > self.patience
    }

    /// Starts a task in the place of `before`, unless somebody else just did, or there is no runtime
    /// to run it.
    fn start(self: &Arc<Self>, before: u64) {
        let Ok(runtime) = Handle::try_current() else { return };
        let tick = (self.patience / u32::try_from(TICKS).unwrap_or(u32::MAX)).max(TICK_MIN);
        let mut interval = interval_at(Instant::now() + tick, tick);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let id = self.tickers.fetch_add(1, Ordering::Relaxed) + 1;
        if self.ticker.compare_exchange(before, id, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.note_tick();
            runtime.spawn(Ticker { id, ticks: Arc::clone(self) }.run(interval));
        }
    }

    fn note_tick(&self) {
        let nanos = u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.ticked_at.store(nanos, Ordering::Relaxed);
    }
}

/// The task that ticks, from its start until it is dropped, which its runtime may do at any time.
struct Ticker {
    id: u64,
    ticks: Arc<Ticks>,
}

impl Ticker {
    async fn run(self, mut interval: Interval) {
        let ticks = &*self.ticks;
        loop {
            interval.tick().await;
            if ticks.ticker.load(Ordering::SeqCst) != self.id {
                return;
            }
            ticks.note_tick();
            let now = ticks.now.fetch_add(1, Ordering::SeqCst) + 1;
            if now.saturating_sub(ticks.heard.load(Ordering::Relaxed)) <= TICKS {
                continue;
            }
            // Whoever is not given up yet asks for another tick when it is polled.
            ticks.silence.notify_waiters();
            if ticks.until.load(Ordering::SeqCst) < now && self.leave() {
                let is_needed = ticks.until.load(Ordering::SeqCst) >= now;
                if !is_needed || !self.come_back() {
                    return;
                }
            }
        }
    }

    /// Whether this was the task that ticks.
    fn leave(&self) -> bool {
        let ticker = &self.ticks.ticker;
        ticker.compare_exchange(self.id, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether no other task has taken the place.
    fn come_back(&self) -> bool {
        let ticker = &self.ticks.ticker;
        ticker.compare_exchange(0, self.id, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.leave() {
            // Who still waits, in another runtime, starts another.
            self.ticks.silence.notify_waiters();
        }
    }
}

fn given_up(call: Call, name: &str, patience: Duration) -> Error {
    let message = format!(
        "{} in {name}: the server has said nothing to anybody for {patience:?}",
        call.name()
    );
    let error = Error::new(ErrorKind::Timeout, message)
        .hint("see whether the server is stopped, swapping, or cut off");
    if call.is_write() { error.indeterminate() } else { error }
}
