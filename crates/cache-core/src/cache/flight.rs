//! The way of a key that the near tier does not have: down the tiers, to the source, and back up.

use std::{collections::HashMap, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{Either, select},
};
use tokio::time::Instant;

use super::{
    cluster::Go,
    flights::{Boarding, Landing, Passenger, Pilot},
    hit::Hit,
    item::Loaded,
    load_error::{Failure, SourceError},
    look::Candidate,
    reply::{Previous, Reply},
    request::Rule,
    shared::Shared,
    tag_book::TagStart,
};
use crate::{
    clock::Timestamp,
    entry::Version,
    error::{Error, ErrorKind},
    event::Event,
    key::Key,
    layers::uncounted,
    load_limit::{LoadPermit, Priority},
    stats::{Operation, Outcome},
};

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A fresh value, wherever it is.
    Fresh,
    /// A new one from the source.
    Reload,
}

/// What a flight looks for in the tiers before it asks the source.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) wanted: Wanted,
    /// Only a value of this version or a newer one.
    pub(super) version: Option<Version>,
    /// Only a value that was made after this moment: the one from then is about to expire.
    pub(super) newer_than: Option<Timestamp>,
    pub(super) copies: Copies,
    pub(super) absence: Absence,
    /// The tags of what is loaded.
    pub(super) tags: Vec<Arc<str>>,
    /// What the load is for.
    pub(super) priority: Priority,
}

/// Which copies may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    All,
    /// Not those that only this process has: other processes' writes reach them late.
    Shared,
}

/// What the memory that the source has no value is to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// An answer.
    Answers,
    /// A miss: the read's loader always brings a value.
    Misses,
}

impl Course {
    /// Any fresh value.
    pub(super) const fn plain() -> Self {
        Self {
            wanted: Wanted::Fresh,
            version: None,
            newer_than: None,
            copies: Copies::All,
            absence: Absence::Answers,
            tags: Vec::new(),
            priority: Priority::Miss,
        }
    }

    /// Whether every other read would have looked for the same, or for less.
    fn is_plain(&self) -> bool {
        self.wanted == Wanted::Fresh
            && self.version.is_none()
            && self.newer_than.is_none()
            && self.copies == Copies::All
    }
}

/// What was known of a key before its load, and what that brought.
type Settling<V> = (Candidate<V>, Result<Brought<Reply<V>>, Failure>);

/// What a load brought, and when.
pub(super) struct Brought<T> {
    pub(super) what: T,
    pub(super) started_at: Timestamp,
    pub(super) cost: Duration,
}

impl<T> Brought<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Brought<U> {
        let Self { what, started_at, cost } = self;
        Brought { what: change(what), started_at, cost }
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// A flight of one key.
    pub(super) async fn fly<F, Fut, R, E>(
        self: Arc<Self>,
        pilot: Pilot<V>,
        course: Course,
        loader: F,
    ) where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send,
        Fut: Future<Output = Result<R, E>> + Send,
        R: Into<Reply<V>> + Send,
        E: SourceError,
    {
        self.follow_logs().await;
        let candidate = self.look_below(&pilot.key, &course).await;
        if candidate.is_answer() {
            return pilot.land(Ok(candidate.hit));
        }
        let (candidate, lease) = match self.take_turn(candidate, &course).await {
            Go::Load(candidate, lease) => (*candidate, lease),
            Go::Land(hit) => return pilot.land(Ok(hit)),
        };
        let previous = candidate.previous.clone();
        let work = async {
            let tags = self.tags.start(&course.tags).await;
            let patience = self.patience(&course, candidate.hit.is_some());
            let load = async move { loader(previous).await };
            let loaded = self.load(1, course.priority, patience, load).await;
            let loaded = loaded.map(|brought| brought.map(Into::into));
            let settled = self.settle(vec![(candidate, loaded)], &course, &tags).await;
            settled.into_iter().next().expect("one candidate has one landing")
        };
        match lease {
            Some(lease) => {
                pilot.land(lease.keep_during(work).await);
                lease.end().await;
            }
            None => pilot.land(work.await),
        }
    }

    /// When a value that is a hit just now was made.
    pub(super) fn made_at(&self, hit: &Hit<V>) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis().saturating_sub(hit.age_ms))
    }

    /// Starts a flight that nobody waits for, unless there is one already.
    pub(super) fn set_off<F, Fut, R, E>(self: &Arc<Self>, key: &Key, course: Course, loader: F)
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        if let Ok(Boarding::Lead(pilot)) = self.flights.board(key) {
            self.metrics.background_loads.add(1);
            if course.newer_than.is_some() {
                self.metrics.early_refreshes.add(1);
            }
            let course = Course { priority: Priority::Refresh, ..course };
            self.tasks.spawn(Arc::clone(self).fly(pilot, course, loader));
        }
    }

    /// A flight of several keys, with one call a tier and at most one of the loader.
    pub(super) async fn fly_many<F, Fut, M, I, E>(
        self: Arc<Self>,
        pilots: Vec<Pilot<V>>,
        wanted: Wanted,
        loader: F,
    ) where
        F: FnOnce(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<M, E>> + Send,
        M: IntoIterator<Item = (String, I)> + Send,
        I: Into<Loaded<V, E>> + Send,
        E: SourceError,
    {
        self.follow_logs().await;
        let priority = match wanted {
            Wanted::Fresh => Priority::Miss,
            Wanted::Reload => Priority::Warm,
        };
        let course = Course { wanted, priority, ..Course::plain() };
        let keys: Vec<Key> = pilots.iter().map(|pilot| pilot.key.clone()).collect();
        let look = self.look_below_many(&keys, &course);
        let candidates = match wanted {
            Wanted::Fresh => look.await,
            // It asks for the fences, whatever the tiers have.
            Wanted::Reload => uncounted(look).await,
        };
        let mut open = Vec::new();
        let mut waiting = Vec::new();
        for (pilot, candidate) in pilots.into_iter().zip(candidates) {
            if candidate.is_answer() {
                pilot.land(Ok(candidate.hit));
            } else {
                open.push(candidate);
                waiting.push(pilot);
            }
        }
        if open.is_empty() {
            return;
        }
        let texts: Vec<String> = open.iter().map(|c| c.key.text().to_owned()).collect();
        let tags = self.tags.start(&course.tags).await;
        let patience = self.patience(&course, open.iter().all(|candidate| candidate.hit.is_some()));
        let count = texts.len();
        let loaded =
            self.load(count, course.priority, patience, async move { loader(texts).await }).await;
        let settled = self.settle(hand_out(open, loaded), &course, &tags).await;
        for (pilot, landing) in waiting.into_iter().zip(settled) {
            pilot.land(landing);
        }
    }

    /// Waits for a flight of `key`, as long as `rule` has a read wait: once the soft timeout has
    /// passed, a stale value that the read would take answers it, and the flight goes on.
    pub(super) async fn arrive(
        &self,
        key: &Key,
        passenger: Passenger<V>,
        rule: &Rule,
    ) -> Landing<V> {
        let arrival = self.land(key, passenger, rule);
        let (Some(limit), true) = (self.policy.soft_timeout, rule.may_be_stale()) else {
            return arrival.await;
        };
        let mut arrival = pin!(arrival);
        if let Ok(landing) = tokio::time::timeout(limit, &mut arrival).await {
            return landing;
        }
        let stale = match select(&mut arrival, pin!(self.last_resort(key, rule))).await {
            Either::Left((landing, _)) => return landing,
            Either::Right((stale, _)) => stale,
        };
        match stale {
            Some(hit) => {
                self.metrics.soft_timeouts.add(1);
                self.metrics.stale_served.add(1);
                Ok(Some(hit))
            }
            None => arrival.await,
        }
    }

    /// Waits for a flight of `key` to its end. Where that had not looked for what this read would
    /// take at last, and failed, this looks for it.
    async fn land(&self, key: &Key, passenger: Passenger<V>, rule: &Rule) -> Landing<V> {
        let wanted = passenger.wanted();
        let landing = match passenger.arrive().await {
            Err(failure) if wanted == Wanted::Reload || matches!(failure, Failure::Unlooked(_)) => {
                self.fall_back(self.last_resort(key, rule).await, failure)
            }
            landing => landing,
        };
        rule.judge(landing)
    }

    /// The best that is there, when no load brings anything better.
    async fn last_resort(&self, key: &Key, rule: &Rule) -> Option<Hit<V>> {
        let candidate = self.look_below(key, &rule.course(Absence::Misses)).await;
        candidate.hit.filter(|hit| rule.takes_at_last(hit))
    }

    /// How long a load may wait until it may start: not at all where there is something to answer
    /// with.
    fn patience(&self, course: &Course, has_answer: bool) -> Option<Duration> {
        let background = course.priority == Priority::Refresh && course.wanted == Wanted::Fresh;
        (!has_answer && !background).then_some(self.policy.load_timeout)
    }

    /// The right to start a load.
    async fn permit(
        &self,
        priority: Priority,
        patience: Option<Duration>,
    ) -> Result<LoadPermit, Failure> {
        let permit = match patience {
            Some(patience) => self.load_limit.acquire(priority, patience).await,
            None => self.load_limit.try_acquire(priority).ok_or_else(|| {
                Error::new(ErrorKind::Overloaded, "as many loads as the source bears are under way")
                    .hint("the source is slower than it is asked: limit the callers")
            }),
        };
        permit.map_err(|error| {
            self.metrics.loads_shed.add(1);
            self.events.emit(Event::LoadShed { namespace: self.namespace.as_str().into() });
            Failure::Cache(error)
        })
    }

    /// Runs a loader of `keys` keys within its time, survives its panic, and tells how long it took.
    async fn load<T, E: SourceError>(
        &self,
        keys: usize,
        priority: Priority,
        patience: Option<Duration>,
        loader: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<Brought<T>, Failure> {
        let permit = self.permit(priority, patience).await?;
        self.metrics.started_loads.add(keys);
        let (started, started_at) = (Instant::now(), self.clock.now());
        let limit = self.policy.load_timeout;
        let guarded = AssertUnwindSafe(loader).catch_unwind();
        let result = match tokio::time::timeout(limit, guarded).await {
            // A process that was stopped finds the answer of before, and then the time of now.
            Ok(_) if started.elapsed() > limit => Err(Failure::Cache(self.too_slow())),
            Ok(Ok(Ok(loaded))) => Ok(loaded),
            Ok(Ok(Err(error))) => Err(Failure::source(error)),
            Ok(Err(panic)) => Err(Failure::Cache(panicked(&*panic))),
            Err(_) => Err(Failure::Cache(self.too_slow())),
        };
        let cost = started.elapsed();
        let outcome = match result {
            Ok(_) => {
                permit.succeeded(cost);
                Outcome::Done
            }
            Err(_) => {
                permit.failed();
                Outcome::Error
            }
        };
        self.metrics.loads.record(Operation::Load, outcome, cost, keys);
        result.map(|what| Brought { what, started_at, cost })
    }

    /// Writes what was loaded to every tier and answers for each key. A key whose load failed is
    /// answered by its stale value, if it has one.
    async fn settle(
        &self,
        each: Vec<Settling<V>>,
        course: &Course,
        tags: &TagStart,
    ) -> Vec<Landing<V>> {
        let mut fills = Vec::new();
        let mut landings: Vec<Landing<V>> = Vec::with_capacity(each.len());
        for (place, (candidate, loaded)) in each.into_iter().enumerate() {
            let (stale, before) = (candidate.hit.clone(), fills.len());
            let kept = loaded.and_then(|brought| self.keep(candidate, brought, course, &mut fills));
            fills[before..].iter_mut().for_each(|fill| fill.place = place);
            landings.push(match kept {
                Ok(answer) => Ok(answer),
                Err(failure) if course.is_plain() => self.fall_back(stale, failure),
                Err(failure) => Err(Failure::Unlooked(Arc::new(failure))),
            });
        }
        for place in self.fill(fills, tags).await {
            if let Ok(Some(hit)) = &mut landings[place] {
                *hit = hit.clone().superseded();
            }
        }
        landings
    }

    fn fall_back(&self, stale: Option<Hit<V>>, failure: Failure) -> Landing<V> {
        match stale {
            Some(hit) => {
                self.metrics.stale_served.add(1);
                tracing::warn!(namespace = %self.namespace, %failure, "load failed, a stale value is served");
                Ok(Some(hit.with_fault(failure)))
            }
            None => Err(failure),
        }
    }

    fn too_slow(&self) -> Error {
        let message = format!("the load took longer than {:?}", self.policy.load_timeout);
        Error::new(ErrorKind::Timeout, message).hint("look at the source, or raise `load_timeout`")
    }
}

/// Gives each key its part of what a batch loader brought.
fn hand_out<V, M, I, E>(
    open: Vec<Candidate<V>>,
    loaded: Result<Brought<M>, Failure>,
) -> Vec<Settling<V>>
where
    M: IntoIterator<Item = (String, I)>,
    I: Into<Loaded<V, E>>,
    E: SourceError,
{
    let mut loaded = loaded
        .map(|brought| brought.map(|items| items.into_iter().collect::<HashMap<String, I>>()));
    let mut part = |text: &str| match &mut loaded {
        Ok(Brought { what, started_at, cost }) => {
            let reply = match what.remove(text).map(Into::into) {
                Some(Loaded::Item(item)) => Reply::Item(item),
                Some(Loaded::Failed(error)) => return Err(Failure::source(error)),
                None => Reply::Absent,
            };
            Ok(Brought { what: reply, started_at: *started_at, cost: *cost })
        }
        Err(failure) => Err(failure.clone()),
    };
    open.into_iter()
        .map(|candidate| {
            let part = part(candidate.key.text());
            (candidate, part)
        })
        .collect()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Error::new(ErrorKind::Load, format!("the loader panicked: {text}"))
}
