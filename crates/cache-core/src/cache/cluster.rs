//! One load among several processes: a lease on the key, where the cache is told to take one.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{Either, select};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{
    flight::{Course, Wanted},
    hit::Hit,
    look::Candidate,
    shared::Shared,
};
use crate::{
    error::{Error, ErrorKind},
    event::{Event, Events},
    fence::Fence,
    key::{Key, Namespace},
    lease::{LeaseToken, Leases},
};

/// How long the place of the leases may take. A load is not held up for longer.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long the place is left alone after it failed. Each process is on its own meanwhile.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The leases of one cache.
#[derive(Debug)]
pub(super) struct Cluster {
    leases: Arc<dyn Leases>,
    /// The level of the tier that gives them.
    level: usize,
    /// How long a process that died holds the others up.
    period: Duration,
    namespace: Namespace,
    events: Events,
    /// Whether the tier has ever answered this process.
    has_answered: AtomicBool,
    /// Until when the place is left alone.
    away_until: Mutex<Option<Instant>>,
}

/// What came of asking for a lease.
pub(super) enum Turn {
    /// This process loads.
    Ours(Lease),
    /// Another process was loading, and has ended or is late: look again.
    Theirs,
    /// There are no leases to be had: this process loads, with its own flight to protect it.
    Alone,
}

/// How a flight goes on that the tiers could not answer.
pub(super) enum Go<V> {
    /// It loads, with a lease where there is one.
    Load(Box<Candidate<V>>, Option<Lease>),
    /// Another process has loaded meanwhile.
    Land(Option<Hit<V>>),
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Waits for this process's turn to load, where processes take turns.
    ///
    /// A lease says nothing of what was loaded before it: whoever gets it, or was woken by its end,
    /// looks into the tiers once more.
    pub(super) async fn take_turn(&self, candidate: Candidate<V>, course: &Course) -> Go<V> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| course.wanted == Wanted::Fresh) else {
            return Go::Load(Box::new(candidate), None);
        };
        if cluster.was_silent(&candidate.fence) {
            return Go::Load(Box::new(candidate), None);
        }
        let latest = Instant::now() + self.policy.load_timeout;
        loop {
            let turn = cluster.turn(&candidate.key).await;
            if matches!(turn, Turn::Alone) {
                return Go::Load(Box::new(candidate), None);
            }
            let again = self.look_below(&candidate.key, course).await;
            match turn {
                Turn::Ours(lease) if again.is_answer() => {
                    self.tasks.spawn(lease.end());
                    return Go::Land(again.hit);
                }
                Turn::Ours(lease) => return Go::Load(Box::new(again), Some(lease)),
                Turn::Theirs | Turn::Alone if again.is_answer() => return Go::Land(again.hit),
                Turn::Theirs | Turn::Alone if Instant::now() >= latest => {
                    return Go::Load(Box::new(again), None);
                }
                Turn::Theirs | Turn::Alone => {}
            }
        }
    }
}

/// A lease that is held. It ends with [`end`](Self::end), or with its period.
pub(super) struct Lease {
    cluster: Arc<Cluster>,
    key: Key,
    token: LeaseToken,
}

impl Cluster {
    pub(super) fn new(
        (level, leases): (usize, Arc<dyn Leases>),
        period: Duration,
        namespace: &Namespace,
        events: Events,
    ) -> Self {
        Self {
            leases,
            level,
            period,
            namespace: namespace.clone(),
            events,
            has_answered: AtomicBool::new(false),
            away_until: Mutex::new(None),
        }
    }

    /// Whether the tier of the leases, which has answered before, did not answer the look that read
    /// `fence`: a load that has waited for it once does not wait again. One that is still to be
    /// reached for the first time is asked all the same: it is slow then, and not away.
    fn was_silent(&self, fence: &Fence) -> bool {
        if fence.part(self.level) != Fence::unread() {
            self.has_answered.store(true, Ordering::Relaxed);
            return false;
        }
        let was_silent = self.has_answered.load(Ordering::Relaxed);
        if was_silent {
            self.leave_alone("its tier did not answer the look before");
        }
        was_silent
    }

    /// Asks for the lease of `key`. When another process has it, waits until it is free, or for a
    /// period at most.
    pub(super) async fn turn(self: &Arc<Self>, key: &Key) -> Turn {
        if self.is_away() {
            return Turn::Alone;
        }
        match self.within(PATIENCE, self.leases.acquire(key, self.period)).await {
            Some(Some(token)) => {
                Turn::Ours(Lease { cluster: Arc::clone(self), key: key.clone(), token })
            }
            Some(None) => {
                let waiting = self.leases.wait(key, self.period);
                match self.within(self.period + PATIENCE, waiting).await {
                    Some(()) => Turn::Theirs,
                    None => Turn::Alone,
                }
            }
            None => Turn::Alone,
        }
    }

    fn is_away(&self) -> bool {
        self.away_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// What `call` answers in its time; nothing when it fails, and then the place is left alone.
    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        let answer = timeout(limit, call).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!("no lease was given or refused in {limit:?}"),
            ))
        });
        match answer {
            Ok(answer) => {
                *self.away_until.lock() = None;
                Some(answer)
            }
            Err(error) => {
                self.leave_alone(&error.to_string());
                None
            }
        }
    }

    /// Leaves the place alone for a while, and tells so when it was not left alone before.
    fn leave_alone(&self, reason: &str) {
        if self.away_until.lock().replace(Instant::now() + RETRY_AFTER).is_none() {
            let namespace = self.namespace.as_str().into();
            self.events.emit(Event::LeaseUnavailable { namespace, error: reason.into() });
        }
    }
}

impl Lease {
    /// Carries `work` out, and keeps the lease meanwhile. Work that has lost its lease goes on:
    /// another process may do it too, and the fences see to the rest.
    pub(super) async fn keep_during<T>(&self, work: impl Future<Output = T>) -> T {
        match select(pin!(work), pin!(self.renew_for_ever())).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn renew_for_ever(&self) -> Infallible {
        let Cluster { leases, period, .. } = &*self.cluster;
        loop {
            sleep(*period / 3).await;
            let renewed = leases.renew(&self.key, self.token, *period).await;
            if !matches!(renewed, Ok(true)) {
                tracing::debug!(key = %self.key, ?renewed, "a lease was not renewed");
            }
        }
    }

    /// Gives the lease up, and with that wakes who waits for it.
    pub(super) async fn end(self) {
        // One that could not be given up ends with its period.
        let releasing = self.cluster.leases.release(&self.key, self.token);
        self.cluster.within(PATIENCE, releasing).await;
    }
}
