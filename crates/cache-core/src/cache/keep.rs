//! The last part of a flight: what a load brought becomes an answer, and is kept in every tier.

use std::{sync::Arc, time::Duration};

use super::{
    flight::{Brought, Course},
    hit::{Hit, Origin, Times},
    item::{Item, Storage},
    load_error::Failure,
    look::Candidate,
    near,
    reply::{Previous, Reply},
    shared::{Birth, Kept, Shared, tags_of},
    tag_book::{self, TagStart},
};
use crate::{
    clock::Timestamp,
    entry::{Entry, Ttl, Version},
    error::{Error, ErrorKind, Result},
    event::Event,
    tier::{Condition, Put, PutOutcome},
};

/// For how long it is kept that a value is gone where that is not to be remembered: it takes the
/// place of the value, and expires.
const GONE: Ttl = Ttl::fresh(Duration::from_millis(1));

/// What is to be written to every tier.
pub(super) struct Fill<V> {
    /// Of the key among those of its flight.
    pub(super) place: usize,
    candidate: Candidate<V>,
    kept: Kept<V>,
    entry: Entry,
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// The answer for what was loaded, which is added to `fills`. A value that cannot be stored is
    /// answered all the same.
    pub(super) fn keep(
        &self,
        candidate: Candidate<V>,
        brought: Brought<Reply<V>>,
        course: &Course,
        fills: &mut Vec<Fill<V>>,
    ) -> std::result::Result<Option<Hit<V>>, Failure> {
        let birth = Birth { at: brought.started_at, cost: brought.cost };
        let absent_for = match brought.what {
            Reply::Item(item) => {
                return Ok(Some(self.keep_item(candidate, item, birth, course, fills)));
            }
            Reply::NotModified => {
                return self.keep_on(candidate, birth, course, fills).map_err(Failure::Cache);
            }
            Reply::Absent => self.policy.negative_ttl,
            Reply::AbsentFor(ttl) => Some(ttl),
        };
        let ttl = match absent_for.map(|ttl| Ttl::fresh(ttl).validate()).transpose() {
            Ok(ttl) => ttl,
            Err(error) => {
                self.note_uncacheable(&candidate, &error);
                None
            }
        };
        let known = candidate.previous.as_ref().map(Previous::version);
        let version = known.flatten().or(candidate.hit.as_ref().and_then(Hit::version));
        if ttl.is_some() || known.is_some() || candidate.hit.is_some() {
            // With the version of what it takes the place of, an older value stays refused.
            let entry = Entry::absent(birth.at, ttl.unwrap_or(GONE)).with_version(version);
            fills.push(Fill { place: 0, candidate, kept: None, entry });
        }
        Ok(None)
    }

    fn keep_item(
        &self,
        candidate: Candidate<V>,
        item: Item<V>,
        birth: Birth,
        course: &Course,
        fills: &mut Vec<Fill<V>>,
    ) -> Hit<V> {
        let Item { value, mut terms } = item;
        let value = Arc::new(value);
        terms.tags.extend(course.tags.iter().cloned());
        let version = terms.version;
        let fresh = terms.fresh.unwrap_or(self.policy.ttl);
        if terms.storage == Storage::Refused {
            return self.loaded(value, unkept(birth.at, fresh), version, birth);
        }
        match self.entry(&value, &terms, birth) {
            Ok(entry) => {
                let entry = self.timed(&candidate.key, entry, &terms);
                let (times, weight) =
                    (Times::of(&entry), near::weight(candidate.key.text(), entry.payload.len()));
                fills.push(Fill { place: 0, candidate, kept: Some(Arc::clone(&value)), entry });
                self.loaded(value, times, version, birth).weighing(weight)
            }
            Err(error) => {
                self.note_uncacheable(&candidate, &error);
                self.loaded(value, unkept(birth.at, fresh), version, birth)
            }
        }
    }

    /// Keeps the previous value for as long again as it was at first, or as the cache's rule says.
    fn keep_on(
        &self,
        candidate: Candidate<V>,
        birth: Birth,
        course: &Course,
        fills: &mut Vec<Fill<V>>,
    ) -> Result<Option<Hit<V>>> {
        let Some(previous) = candidate.previous.clone() else {
            let message = "the loader answered `NotModified`, and there was no previous value";
            return Err(Error::new(ErrorKind::Load, message)
                .hint("answer so only when the loader was given a previous value"));
        };
        self.metrics.not_modified.add(1);
        let (value, version) = (Arc::clone(previous.value()), previous.version());
        let tags: Vec<_> = previous.tags().chain(course.tags.iter().cloned()).collect();
        let tags = tags_of(&tags)?;
        let (times, weight) = match self.encode(&value, previous.ttl(), version, tags, birth) {
            Ok(entry) => {
                let entry = self.timed_on(&candidate.key, entry.with_priority(previous.priority()));
                let (times, weight) =
                    (Times::of(&entry), near::weight(candidate.key.text(), entry.payload.len()));
                fills.push(Fill { place: 0, candidate, kept: Some(Arc::clone(&value)), entry });
                (times, weight)
            }
            Err(error) => {
                self.note_uncacheable(&candidate, &error);
                (unkept(birth.at, previous.ttl().fresh), 0)
            }
        };
        Ok(Some(self.loaded(value, times, version, birth).weighing(weight)))
    }

    fn loaded(
        &self,
        value: Arc<V>,
        times: Times,
        version: Option<Version>,
        birth: Birth,
    ) -> Hit<V> {
        Hit::new(value, Origin::Load, times, version, birth.cost_us(), self.clock.now())
    }

    fn note_uncacheable(&self, candidate: &Candidate<V>, error: &Error) {
        self.metrics.uncacheable.add(1);
        tracing::warn!(key = %candidate.key, %error, "a loaded value is not cached");
    }

    /// Fills the tiers from the bottom up, the near tier last, unless the key has moved meanwhile.
    ///
    /// Tags have their generations as of `start`. A value with a tag that has changed since is as
    /// good as one whose key has moved. The answer is the places of those that were not kept for that.
    pub(super) async fn fill(&self, fills: Vec<Fill<V>>, start: &TagStart) -> Vec<usize> {
        // A tier forgets a moved fence at some time. What took longer could undo a removal, as when
        // the process was stopped since.
        let (fills, late): (Vec<_>, Vec<_>) = fills
            .into_iter()
            .partition(|fill| fill.candidate.began.elapsed() <= self.fence_retention);
        let mut superseded = Vec::new();
        for fill in late {
            self.note_refused(&fill.candidate);
            superseded.push(fill.place);
        }
        let fills = self.stamp(fills, start, &mut superseded).await;
        let puts: Vec<Put> = fills
            .iter()
            .map(|Fill { candidate, entry, .. }| Put {
                key: candidate.key.clone(),
                entry: entry.clone(),
                condition: Condition::Unmoved(candidate.fence.clone()),
            })
            .collect();
        let outcomes = match &self.stack {
            // What failed is counted with its tier; the value is there, and the caller has it.
            Some(stack) if !puts.is_empty() => stack.put_up(&puts).await.0,
            _ => vec![PutOutcome::Skipped; puts.len()],
        };
        for (Fill { place, candidate, kept, entry }, outcome) in fills.into_iter().zip(outcomes) {
            if outcome == PutOutcome::Superseded {
                self.note_refused(&candidate);
                superseded.push(place);
                continue;
            }
            let Candidate { key, near_fence, fence, .. } = candidate;
            let provenance = self.coherence.provenance(|level| fence.part(level));
            let near = self.near_fill(&key, kept, &entry, near_fence, provenance);
            // Several keys may share a fence of the near tier: where another tier has taken the
            // value, its word counts.
            if outcome == PutOutcome::Skipped && near == PutOutcome::Superseded {
                superseded.push(place);
            }
        }
        superseded
    }

    async fn stamp(
        &self,
        fills: Vec<Fill<V>>,
        start: &TagStart,
        superseded: &mut Vec<usize>,
    ) -> Vec<Fill<V>> {
        let mut stamped = Vec::with_capacity(fills.len());
        for Fill { place, candidate, kept, entry } in fills {
            let tags: Vec<Arc<str>> = tag_book::names(&entry.tags).collect();
            match self.tags.stamp(start, &tags).await {
                Some(tags) => {
                    stamped.push(Fill { place, candidate, kept, entry: entry.with_tags(tags) });
                }
                None => {
                    self.note_refused(&candidate);
                    superseded.push(place);
                }
            }
        }
        stamped
    }

    fn note_refused(&self, candidate: &Candidate<V>) {
        self.metrics.superseded_fills.add(1);
        self.events.emit(Event::FillRefused { key: candidate.key.to_string().into() });
    }
}

/// The times of a value that is answered and not kept.
fn unkept(created_at: Timestamp, fresh: Duration) -> Times {
    let fresh_until = created_at.after(fresh);
    Times { created_at, fresh_until, expires_at: fresh_until }
}
