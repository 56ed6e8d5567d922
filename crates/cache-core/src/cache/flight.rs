//! The way of a key that the near tier does not have: down the tiers, to the source, and back up.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;

use super::{
    flights::{Landing, Passenger, Pilot},
    hit::{Hit, Origin},
    item::{Item, Loaded},
    load_error::{Failure, SourceError},
    near::NearFence,
    shared::{Prepared, Shared},
};
use crate::{
    entry::Entry,
    error::{Error, ErrorKind},
    fence::Fence,
    key::Key,
    stack::Found,
    stats::{Operation, Outcome},
    tier::{Condition, Put, PutOutcome},
};

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A fresh value, wherever it is.
    Fresh,
    /// A new one from the source.
    Reload,
}

/// What is known of a key before its load.
pub(super) struct Candidate<V> {
    pub(super) key: Key,
    near_fence: Option<NearFence>,
    fence: Fence,
    /// The best that was found: fresh, and the flight ends here, or stale, for when the load fails.
    pub(super) hit: Option<Hit<V>>,
}

/// What a load brought for one key (nothing: its source does not have it), and how long it took.
type Brought<V> = Result<(Option<Item<V>>, Duration), Failure>;

impl<V: Send + Sync + 'static> Shared<V> {
    /// A flight of one key.
    pub(super) async fn fly<F, Fut, I, E>(
        self: Arc<Self>,
        pilot: Pilot<V>,
        wanted: Wanted,
        loader: F,
    ) where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<I, E>> + Send,
        I: Into<Item<V>> + Send,
        E: SourceError,
    {
        self.follow_logs().await;
        let candidate = self.look_below(&pilot.key, wanted).await;
        let landing = if candidate.is_fresh() {
            Ok(candidate.hit)
        } else {
            let loaded = self.load(1, async move { loader().await }).await;
            let loaded = loaded.map(|(item, cost)| (Some(item.into()), cost));
            let settled = self.settle(vec![(candidate, loaded)]).await;
            settled.into_iter().next().expect("one candidate has one landing")
        };
        pilot.land(landing);
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
        let keys: Vec<Key> = pilots.iter().map(|pilot| pilot.key.clone()).collect();
        let candidates = self.look_below_many(&keys, wanted).await;
        let mut open = Vec::new();
        let mut waiting = Vec::new();
        for (pilot, candidate) in pilots.into_iter().zip(candidates) {
            if candidate.is_fresh() {
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
        let loaded = self.load(texts.len(), async move { loader(texts).await }).await;
        let settled = self.settle(hand_out(open, loaded)).await;
        for (pilot, landing) in waiting.into_iter().zip(settled) {
            pilot.land(landing);
        }
    }

    /// Waits for a flight of `key`. Where that was a refresh and failed, a reader who joined it is
    /// still answered by a stale value, if there is one.
    pub(super) async fn arrive(&self, key: &Key, passenger: Passenger<V>) -> Landing<V> {
        let wanted = passenger.wanted();
        match passenger.arrive().await {
            Err(failure) if wanted == Wanted::Reload => {
                self.fall_back(self.look_below(key, Wanted::Fresh).await.hit, failure)
            }
            landing => landing,
        }
    }

    /// Asks the tiers for one key. The near tier's fence is read before anything else.
    async fn look_below(&self, key: &Key, wanted: Wanted) -> Candidate<V> {
        let near_fence = self.near_fence(key);
        // An earlier flight may have landed between the caller's look and this one.
        if let Some(hit) = self.near_hit(key, wanted).filter(|hit| !hit.is_stale()) {
            let hit = Some(hit);
            return Candidate { key: key.clone(), near_fence, fence: Fence::unread(), hit };
        }
        let found = match &self.stack {
            Some(stack) => stack.find(key, |entry| self.read(entry, wanted)).await.ok(),
            None => None,
        };
        self.candidate(key, near_fence, found, wanted)
    }

    async fn look_below_many(&self, keys: &[Key], wanted: Wanted) -> Vec<Candidate<V>> {
        let near_fences: Vec<_> = keys.iter().map(|key| self.near_fence(key)).collect();
        let found = match &self.stack {
            Some(stack) => stack.find_many(keys, |entry| self.read(entry, wanted)).await.ok(),
            None => None,
        };
        let mut found = found.into_iter().flatten();
        let candidate = |(key, fence)| self.candidate(key, fence, found.next(), wanted);
        keys.iter().zip(near_fences).map(candidate).collect()
    }

    /// A reload takes nothing of what is there: every tier is asked, for its fence.
    fn read(&self, entry: &Entry, wanted: Wanted) -> Option<Arc<V>> {
        match wanted {
            Wanted::Fresh => self.decode(entry),
            Wanted::Reload => None,
        }
    }

    fn near_hit(&self, key: &Key, wanted: Wanted) -> Option<Hit<V>> {
        match wanted {
            Wanted::Fresh => Some(self.near_any(key)?.into_hit(self.clock.now())),
            Wanted::Reload => None,
        }
    }

    /// Takes what the tiers found, or a value that the near tier still has, stale or not.
    pub(super) fn candidate(
        &self,
        key: &Key,
        near_fence: Option<NearFence>,
        found: Option<Found<Arc<V>>>,
        wanted: Wanted,
    ) -> Candidate<V> {
        let key = key.clone();
        let Found { hit, fence } = found.unwrap_or(Found { hit: None, fence: Fence::unread() });
        let below = hit.map(|(level, entry, value)| {
            if entry.is_fresh(self.clock.now()) {
                self.near_fill(&key, &value, &entry, near_fence, &fence);
            }
            self.tier_hit(level, &entry, value)
        });
        let hit = match (below, self.near_hit(&key, wanted)) {
            (Some(below), Some(near)) if below.is_stale() && near.age < below.age => Some(near),
            (below, near) => below.or(near),
        };
        Candidate { key, near_fence, fence, hit }
    }

    /// Runs a loader of `keys` keys within its time, survives its panic, and tells how long it took.
    async fn load<T, E: SourceError>(
        &self,
        keys: usize,
        loader: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<(T, Duration), Failure> {
        self.metrics.started_loads.add(keys);
        let started = Instant::now();
        let guarded = AssertUnwindSafe(loader).catch_unwind();
        let result = match tokio::time::timeout(self.load_timeout, guarded).await {
            Ok(Ok(Ok(loaded))) => Ok(loaded),
            Ok(Ok(Err(error))) => Err(Failure::source(error)),
            Ok(Err(panic)) => Err(Failure::Cache(panicked(&*panic))),
            Err(_) => Err(Failure::Cache(self.too_slow())),
        };
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Error };
        let cost = started.elapsed();
        self.metrics.loads.record(Operation::Load, outcome, cost, keys);
        result.map(|loaded| (loaded, cost))
    }

    /// Writes what was loaded to every tier and answers for each key. A key whose load failed is
    /// answered by its stale value, if it has one.
    async fn settle(&self, each: Vec<(Candidate<V>, Brought<V>)>) -> Vec<Landing<V>> {
        let mut fills = Vec::new();
        let landings = each
            .into_iter()
            .map(|(candidate, loaded)| match loaded {
                Ok((Some(item), cost)) => Ok(Some(self.keep(candidate, item, cost, &mut fills))),
                Ok((None, _)) => Ok(None),
                Err(failure) => self.fall_back(candidate.hit, failure),
            })
            .collect();
        self.fill(fills).await;
        landings
    }

    /// The answer for a loaded value, which is added to `fills`. A value that cannot be stored is
    /// answered all the same.
    fn keep(
        &self,
        candidate: Candidate<V>,
        item: Item<V>,
        cost: Duration,
        fills: &mut Vec<(Candidate<V>, Prepared<V>)>,
    ) -> Hit<V> {
        let version = item.version;
        let (value, fresh_for) = match self.prepare(item, cost) {
            Ok(prepared) => {
                let Prepared { value, entry } = &prepared;
                let kept = (Arc::clone(value), entry.fresh_until.since(entry.created_at));
                fills.push((candidate, prepared));
                kept
            }
            Err((value, error)) => {
                self.metrics.uncacheable.add(1);
                tracing::warn!(key = %candidate.key, %error, "a loaded value is not cached");
                (value, self.ttl.fresh)
            }
        };
        Hit { value, origin: Origin::Load, age: Duration::ZERO, fresh_for, version }
    }

    /// Fills the tiers from the bottom up, the near tier last, unless the key has moved meanwhile.
    async fn fill(&self, fills: Vec<(Candidate<V>, Prepared<V>)>) {
        let puts: Vec<Put> = fills
            .iter()
            .map(|(candidate, prepared)| Put {
                key: candidate.key.clone(),
                entry: prepared.entry.clone(),
                condition: Condition::Unmoved(candidate.fence.clone()),
            })
            .collect();
        let outcomes = match &self.stack {
            // What failed is counted with its tier; the value is there, and the caller has it.
            Some(stack) if !puts.is_empty() => stack.put_up(&puts).await.0,
            _ => vec![PutOutcome::Skipped; puts.len()],
        };
        for ((candidate, prepared), outcome) in fills.into_iter().zip(outcomes) {
            let Candidate { key, near_fence, fence, .. } = candidate;
            if outcome == PutOutcome::Superseded {
                self.metrics.superseded_fills.add(1);
            } else {
                self.near_fill(&key, &prepared.value, &prepared.entry, near_fence, &fence);
            }
        }
    }

    fn fall_back(&self, stale: Option<Hit<V>>, failure: Failure) -> Landing<V> {
        match stale {
            Some(hit) => {
                self.metrics.stale_served.add(1);
                tracing::warn!(namespace = %self.namespace, %failure, "load failed, a stale value is served");
                Ok(Some(hit))
            }
            None => Err(failure),
        }
    }

    fn too_slow(&self) -> Error {
        let message = format!("the load took longer than {:?}", self.load_timeout);
        Error::new(ErrorKind::Timeout, message).hint("look at the source, or raise `load_timeout`")
    }
}

impl<V> Candidate<V> {
    fn is_fresh(&self) -> bool {
        self.hit.as_ref().is_some_and(|hit| !hit.is_stale())
    }
}

/// Gives each key its part of what a batch loader brought.
fn hand_out<V, M, I, E>(
    open: Vec<Candidate<V>>,
    loaded: Result<(M, Duration), Failure>,
) -> Vec<(Candidate<V>, Brought<V>)>
where
    M: IntoIterator<Item = (String, I)>,
    I: Into<Loaded<V, E>>,
    E: SourceError,
{
    let mut loaded =
        loaded.map(|(items, cost)| (items.into_iter().collect::<HashMap<String, I>>(), cost));
    let mut part = |text: &str| match &mut loaded {
        Ok((items, cost)) => match items.remove(text).map(Into::into) {
            Some(Loaded::Item(item)) => Ok((Some(item), *cost)),
            Some(Loaded::Failed(error)) => Err(Failure::source(error)),
            None => Ok((None, *cost)),
        },
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
