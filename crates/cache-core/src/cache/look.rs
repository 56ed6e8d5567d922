//! The first part of a flight: what the tiers have of a key.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    flight::{Absence, Copies, Course, Wanted},
    hit::{Hit, Times},
    near::{NearFence, NearValue},
    reply::Previous,
    shared::{Kept, Shared},
    tag_book::Verdict,
};
use crate::{
    clock::Timestamp,
    entry::{Entry, Version},
    error::Result,
    fence::Fence,
    key::Key,
    stack::{Found, Promotion, Stack},
    tags::Tags,
    tier::Scope,
};

/// What is known of a key before its load.
pub(super) struct Candidate<V> {
    pub(super) key: Key,
    pub(super) near_fence: Option<NearFence>,
    pub(super) fence: Fence,
    /// When the fences had not been read yet.
    pub(super) began: Instant,
    /// The best that was looked for: fresh, and the flight ends here, or stale, for when the load
    /// fails.
    pub(super) hit: Option<Hit<V>>,
    /// Whether a tier remembers that the source has no value, and that is an answer.
    is_absent: bool,
    /// The newest value that was seen, of any version.
    pub(super) previous: Option<Previous<V>>,
}

impl<V> Candidate<V> {
    /// Whether no load is needed.
    pub(super) fn is_answer(&self) -> bool {
        self.is_absent || self.hit.as_ref().is_some_and(|hit| !hit.is_stale())
    }
}

impl Course {
    /// Whether a value is what is looked for, fresh or stale.
    fn takes(&self, version: Option<Version>, created_at: Timestamp, content: Content) -> bool {
        self.wanted == Wanted::Fresh
            && self.newer_than.is_none_or(|moment| created_at > moment)
            && match content {
                Content::Value => self.version.is_none() || version >= self.version,
                Content::Absence => self.version.is_none() && self.absence == Absence::Answers,
            }
    }
}

/// What is kept under a key.
#[derive(Clone, Copy)]
enum Content {
    Value,
    Absence,
}

impl Content {
    const fn of<V>(kept: Option<&Arc<V>>) -> Self {
        if kept.is_some() { Self::Value } else { Self::Absence }
    }
}

/// Keeps the newest value that a look came across.
struct Seen<V>(Mutex<Option<Previous<V>>>);

impl<V> Seen<V> {
    /// Of two that are equally new the later one stays: that of a tier, which tells more of it.
    fn note(&self, previous: Previous<V>) {
        let mut newest = self.0.lock();
        if newest.as_ref().is_none_or(|newest| !previous.is_older_than(newest)) {
            *newest = Some(previous);
        }
    }
}

/// The tags that a look came across and of which this process does not know whether they are live.
#[derive(Default)]
struct Unknown(Mutex<Vec<Tags>>);

impl Unknown {
    fn note(&self, tags: &Tags) {
        self.0.lock().push(tags.clone());
    }

    fn take(&self) -> Vec<Tags> {
        std::mem::take(&mut self.0.lock())
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Asks the tiers for one key. A tier's fault is not the flight's.
    pub(super) async fn look_below(&self, key: &Key, course: &Course) -> Candidate<V> {
        self.look(key, course).await.0
    }

    /// Asks the tiers for one key, and tells when all of them failed. The near tier's fence is read
    /// before anything else.
    pub(super) async fn look(&self, key: &Key, course: &Course) -> (Candidate<V>, Result<()>) {
        let began = Instant::now();
        let near_fence = self.near_fence(key);
        let seen = Seen(Mutex::new(None));
        // An earlier flight may have landed between the caller's look and this one.
        if let Some(near) = self.near_taken(key, course, &seen) {
            let now = self.clock.now();
            if near.is_fresh(now) {
                let is_absent = near.value().is_none();
                let candidate = Candidate {
                    key: key.clone(),
                    near_fence,
                    fence: Fence::unread(),
                    began,
                    hit: near.to_hit(now),
                    is_absent,
                    previous: None,
                };
                return (candidate, Ok(()));
            }
        }
        let (found, result) = match &self.stack {
            Some(stack) => {
                let unknown = Unknown::default();
                let read = |entry: &Entry| self.read(entry, course, Some(&seen), &unknown);
                // Boxed here and below: two middling allocations are much cheaper than a large one.
                let mut found = Box::pin(stack.find(key, read)).await;
                let tags = unknown.take();
                if !tags.is_empty() {
                    Box::pin(self.tags.learn(&tags)).await;
                    found = Box::pin(stack.find(key, read)).await;
                }
                match found {
                    Ok(mut found) => {
                        self.promote(stack, std::mem::take(&mut found.promotions));
                        (Some(found), Ok(()))
                    }
                    Err(error) => (None, Err(error)),
                }
            }
            None => (None, Ok(())),
        };
        (self.candidate(key, began, near_fence, found, course, &seen), result)
    }

    /// Asks the tiers for many keys, with one call a tier.
    pub(super) async fn look_below_many(&self, keys: &[Key], course: &Course) -> Vec<Candidate<V>> {
        self.look_many(keys, course).await.0
    }

    /// As [`look_below_many`](Self::look_below_many), and tells when all tiers failed.
    pub(super) async fn look_many(
        &self,
        keys: &[Key],
        course: &Course,
    ) -> (Vec<Candidate<V>>, Result<()>) {
        let began = Instant::now();
        let near_fences: Vec<_> = keys.iter().map(|key| self.near_fence(key)).collect();
        let (found, result) = match &self.stack {
            Some(stack) if !keys.is_empty() => {
                let unknown = Unknown::default();
                let read = |entry: &Entry| self.read(entry, course, None, &unknown);
                let mut found = stack.find_many(keys, read).await;
                let tags = unknown.take();
                if !tags.is_empty() {
                    self.tags.learn(&tags).await;
                    found = stack.find_many(keys, read).await;
                }
                match found {
                    Ok(mut found) => {
                        let each = found.iter_mut();
                        self.promote(stack, each.flat_map(|f| f.promotions.drain(..)).collect());
                        (found, Ok(()))
                    }
                    Err(error) => (Vec::new(), Err(error)),
                }
            }
            _ => (Vec::new(), Ok(())),
        };
        let mut found = found.into_iter();
        let candidate = |(key, fence)| {
            let seen = Seen(Mutex::new(None));
            self.candidate(key, began, fence, found.next(), course, &seen)
        };
        (keys.iter().zip(near_fences).map(candidate).collect(), result)
    }

    /// Has what was found in a lower tier taken to those above, while its readers go on.
    fn promote(&self, stack: &Arc<Stack>, promotions: Vec<Promotion>) {
        if !promotions.is_empty() {
            let stack = Arc::clone(stack);
            self.tasks.spawn(async move { stack.promote(promotions).await });
        }
    }

    /// Judges an entry. What is not taken does not end the way down: every tier below is asked, for
    /// its fence.
    fn read(
        &self,
        entry: &Entry,
        course: &Course,
        seen: Option<&Seen<V>>,
        unknown: &Unknown,
    ) -> Option<Kept<V>> {
        if course.wanted == Wanted::Reload {
            return None;
        }
        match self.tags.check(&entry.tags) {
            Verdict::Live => {}
            Verdict::Dead => return None,
            Verdict::Unknown => {
                unknown.note(&entry.tags);
                return None;
            }
        }
        let kept = self.decode(entry)?;
        if let (Some(seen), Some(value)) = (seen, &kept) {
            let now = self.clock.now();
            let (times, tags) = (Times::of(entry), entry.tags.clone());
            seen.note(Previous::new(
                value.clone(),
                entry.version,
                times,
                tags,
                entry.priority,
                now,
            ));
        }
        course.takes(entry.version, entry.created_at, Content::of(kept.as_ref())).then_some(kept)
    }

    /// What the near tier has of what is looked for.
    fn near_taken(&self, key: &Key, course: &Course, seen: &Seen<V>) -> Option<NearValue<V>> {
        let near = self.near_any(key)?;
        let times = near.times();
        if let Some(value) = near.value() {
            let now = self.clock.now();
            let tags = near.tagged().map(|tagged| tagged.tags().clone()).unwrap_or_default();
            seen.note(Previous::new(
                value.clone(),
                near.version(),
                times,
                tags,
                near.priority(),
                now,
            ));
        }
        let content = Content::of(near.value());
        let taken =
            course.copies == Copies::All && course.takes(near.version(), times.created_at, content);
        taken.then_some(near)
    }

    /// Takes what the tiers found, or a value that the near tier still has, stale or not.
    fn candidate(
        &self,
        key: &Key,
        began: Instant,
        near_fence: Option<NearFence>,
        found: Option<Found<Kept<V>>>,
        course: &Course,
        seen: &Seen<V>,
    ) -> Candidate<V> {
        let found = found.unwrap_or_else(Found::nothing);
        let provenance = self.coherence.provenance(|level| found.fence_at(level));
        let Found { hit, fence, .. } = found;
        let hit = hit.filter(|(level, ..)| self.may_use(*level, course.copies));
        let now = self.clock.now();
        let mut is_absent = false;
        let below = hit.and_then(|(level, entry, kept)| {
            if entry.is_fresh(now) {
                is_absent = kept.is_none();
                self.near_fill(key, kept.clone(), &entry, near_fence, provenance);
            }
            Some(self.tier_hit(level, key, &entry, kept?))
        });
        let near = self.near_taken(key, course, seen).and_then(|near| near.to_hit(now));
        let hit = match (below, near) {
            (Some(below), Some(near)) if below.is_stale() && near.age_ms < below.age_ms => {
                Some(near)
            }
            (below, near) => below.or(near),
        };
        if is_absent {
            self.metrics.negatives.add(1);
        }
        let hit = hit.filter(|_| !is_absent);
        let previous = seen.0.lock().take();
        Candidate { key: key.clone(), near_fence, fence, began, hit, is_absent, previous }
    }

    /// Whether other processes write to the tier at `level` as well, where that is asked for.
    fn may_use(&self, level: usize, copies: Copies) -> bool {
        match (copies, &self.stack) {
            (Copies::Shared, Some(stack)) => stack.tiers()[level].info().scope > Scope::Process,
            _ => true,
        }
    }
}
