//! Reads one log for as long as the cache lives, and applies what it tells.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{
    Followed,
    mend::{Changed, mend},
};
use crate::{
    bus::{Change, Log, Notice, Page, Position},
    cache::shared::Shared,
    clock::Timestamp,
    error::{Error, ErrorKind, Result},
    event::Event,
    key::Key,
    tier::{Removal, Scope, Tier},
};

/// Whether tiers above a log have missed a clear of the tier below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    Surely,
    Perhaps,
}

/// How long after that a reading counts as hung.
const GRACE: Duration = Duration::from_millis(300);

/// After how long a silence this process puts a beat into the log.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How soon a log that failed is read again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_millis(400);

/// Follows the log at `place` until the cache is gone.
pub(super) async fn follow<V: Send + Sync + 'static>(cache: Weak<Shared<V>>, place: usize) {
    let Some(log) = cache.upgrade().map(|cache| Arc::clone(&cache.coherence.logs[place].log))
    else {
        return;
    };
    let Some(wait) = cache.upgrade().map(|cache| cache.coherence.log_wait()) else { return };
    let mut at: Option<Position> = None;
    let mut quiet = Duration::ZERO;
    let mut delay = RETRY_FIRST;
    let mut is_cut = false;
    loop {
        // What is read tells of the time before it was asked for: a process that was stopped finds
        // an old answer when it goes on.
        let Some(asked_at) = cache.upgrade().map(|cache| cache.clock.now()) else { return };
        let read = read(&*log, at.as_ref(), wait).await;
        let Some(cache) = cache.upgrade() else { return };
        let followed = &cache.coherence.logs[place];
        match read {
            Ok(page) => {
                delay = RETRY_FIRST;
                quiet = if page.notices.is_empty() { quiet + wait } else { Duration::ZERO };
                if at.is_none() {
                    cache.keep_first_places(place, Some(&page.next)).await;
                    cache.begin(followed, asked_at);
                } else if page.gap {
                    cache.forget_copies(followed).await;
                }
                cache.hear(place, &page).await;
                at = Some(page.next);
                followed.heard_at.store(asked_at.as_millis(), Ordering::Relaxed);
                if std::mem::take(&mut is_cut) {
                    cache.events.emit(Event::LogResumed { tier: Arc::clone(log.tier()) });
                }
                if quiet >= BEAT_EVERY {
                    quiet = Duration::ZERO;
                    // It only serves to measure: a log that cannot be written is still read.
                    if let Err(error) = log.beat().await {
                        tracing::debug!(tier = %log.tier(), %error, "could not beat");
                    }
                }
            }
            Err(error) => {
                let since = followed.is_cut(cache.clock.now(), cache.coherence.cut_after);
                if since && !std::mem::replace(&mut is_cut, true) {
                    let tier = Arc::clone(log.tier());
                    cache.events.emit(Event::LogCut { tier, error: error.to_string().into() });
                }
                if at.is_none() {
                    // A tier that has its place needs no log to take copies.
                    cache.keep_first_places(place, None).await;
                }
                drop(cache);
                sleep(delay).await;
                delay = (2 * delay).min(RETRY_MAX);
            }
        }
    }
}

/// The next part of the log; at first nothing, and where it ends.
async fn read(log: &dyn Log, at: Option<&Position>, wait: Duration) -> Result<Page> {
    let reading = async {
        match at {
            Some(at) => log.read(at, wait).await,
            None => Ok(Page { notices: Vec::new(), next: log.end().await?, gap: false }),
        }
    };
    timeout(wait + GRACE, reading).await.unwrap_or_else(|_| {
        let message = format!("the log of {} said nothing for {:?}", log.tier(), wait + GRACE);
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Applies what a log has told.
    async fn hear(&self, place: usize, page: &Page) {
        let now = self.clock.now();
        let followed = &self.coherence.logs[place];
        let mut changed = Changed::new();
        for notice in &page.notices {
            if place == 0 {
                let lag = now.since(notice.at);
                self.coherence.lag.lock().record(lag, 1);
                if let Some(auditor) = &*self.auditor.read() {
                    auditor.record_lag(lag);
                }
            }
            match &notice.change {
                Change::Key(key) if self.owns(key) => {
                    self.hear_key(key, notice, place);
                    changed.insert(key.clone(), notice.digest);
                }
                Change::Key(key) if self.tags.owns(key) => {
                    self.tags.hear(key, mark_of(notice, place), notice.digest);
                    changed.insert(key.clone(), notice.digest);
                }
                Change::Clear(namespace) if *namespace == self.namespace => {
                    self.forget_near();
                    self.clear_above(followed, Missed::Surely).await;
                }
                Change::Key(_) | Change::Clear(_) | Change::Beat => {}
            }
        }
        if !changed.is_empty() {
            self.mend_above(followed, &changed).await;
        }
    }

    fn hear_key(&self, key: &Key, notice: &Notice, place: usize) {
        if self.coherence.expects(key, notice.digest) {
            return;
        }
        if notice.digest == 0 {
            self.note_removed(key);
        }
        let moved = match &self.near {
            Some(near) => near.hear(key, mark_of(notice, place), notice.digest),
            None => true,
        };
        if moved {
            self.flights.detach(key);
        }
    }

    fn owns(&self, key: &Key) -> bool {
        key.namespace() == self.namespace.as_str()
    }

    /// Sees to it that the tiers above the log's have the changes too. They may have missed them:
    /// whoever made a change could not reach them, or does not know them. Until that is known they
    /// are not believed for these keys. What only this process can change, it has changed in all
    /// tiers itself.
    async fn mend_above(&self, followed: &Followed, changed: &Changed) {
        let Some(stack) = &self.stack else { return };
        let lower = &stack.tiers()[followed.level];
        if lower.info().scope == Scope::Process {
            return;
        }
        for (level, tier) in stack.tiers()[..followed.level].iter().enumerate() {
            let suspicion = stack.suspect(level, changed.keys().cloned().collect());
            if let Err(error) = mend(&**tier, &**lower, changed).await {
                tracing::debug!(tier = %tier.info().name, %error, "it is told later");
                stack.owe(level, changed.keys().cloned().map(Removal::from));
            }
            drop(suspicion);
        }
    }

    /// Clears the tiers above the log's that only this process can clear, and has the others told
    /// before they are believed again: after a clear that was heard of, as nobody knows which of
    /// them have it; after a gap only where they did not answer, as whoever repairs clears the rest.
    async fn clear_above(&self, followed: &Followed, missed: Missed) {
        let Some(stack) = &self.stack else { return };
        for (level, tier) in stack.tiers()[..followed.level].iter().enumerate() {
            let is_missed = match tier.info().scope {
                Scope::Process => tier.clear(&self.namespace).await.is_err(),
                Scope::Machine | Scope::Network => {
                    missed == Missed::Surely || stack.is_failing(level)
                }
            };
            if is_missed {
                stack.owe_clear(level, &self.namespace);
            }
        }
    }

    /// The end of the log is known from now on. What the near tier has from before may be wrong.
    fn begin(&self, followed: &Followed, asked_at: Timestamp) {
        if let Some(near) = &self.near {
            near.drop_values();
        }
        self.tags.forget();
        followed.heard_at.store(asked_at.as_millis(), Ordering::Relaxed);
        self.coherence.note_begun();
    }

    /// Gives up every copy of this process: changes may have been missed.
    async fn forget_copies(&self, followed: &Followed) {
        self.forget_near();
        self.tags.forget();
        self.clear_above(followed, Missed::Perhaps).await;
        self.events.emit(Event::LogGap { tier: Arc::clone(followed.log.tier()) });
        self.events.emit(Event::NearDropped { namespace: self.namespace.as_str().into() });
    }

    fn forget_near(&self) {
        if let Some(near) = &self.near {
            near.drop_values();
        }
        self.flights.detach_all();
    }
}

/// The mark of a change, to be compared with those that copies have seen: marks of one tier say
/// nothing about those of another.
const fn mark_of(notice: &Notice, place: usize) -> u64 {
    if place == 0 { notice.mark } else { u64::MAX }
}
