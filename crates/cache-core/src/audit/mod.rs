//! Whether the tiers agree, measured on samples.
//!
//! An [`Auditor`] looks at single keys in every tier at once and compares what it finds, from the
//! top down. What it cannot tell it does not count: a tier that has nothing may have evicted it, and
//! a tier that does not answer is left out.

mod compare;
mod notes;
mod stats;
#[cfg(test)]
mod tests;

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use compare::{Finding, FindingKind, Held};
use compare::{Look, Sample, findings};
use notes::Notes;
pub use stats::AuditStats;
use stats::Counts;

use crate::{
    clock::Clock,
    entry::Version,
    error::Result,
    event::{Event, Events},
    key::Key,
    tier::Tier,
};

/// One of so many reads is worth a note.
const READS_PER_NOTE: u32 = 1_024;

/// How long a tier or the source may take. An audit is in no hurry, but it must go on.
const PATIENCE: Duration = Duration::from_secs(2);

/// How an [`Auditor`] goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditConfig {
    /// The most keys that are looked at in each tier a second, half of them recently invalidated
    /// ones where there are enough. 10, unless told otherwise.
    pub samples_per_second: u32,
    /// How long after a difference the key is looked at once more. Only a difference that is still
    /// the same counts: changes take a while from tier to tier. 250 ms, unless told otherwise.
    pub confirm_after: Duration,
    /// By how much the clocks of processes may differ. An entry counts as older than a removal when
    /// it was written at least this long before. 1 s, unless told otherwise.
    pub clocks_differ_by: Duration,
    /// How many keys are remembered at most, of those that were read and of those that were
    /// invalidated. 1,024, unless told otherwise.
    pub keys_max: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            samples_per_second: 10,
            confirm_after: Duration::from_millis(250),
            clocks_differ_by: Duration::from_secs(1),
            keys_max: 1_024,
        }
    }
}

/// Compares the tiers of a stack, and the source's versions, for recently read and recently
/// invalidated keys.
///
/// Cheap to clone; clones are the same. Its lookups are ordinary ones: given the tiers of a cache as
/// they are observed, they count there as reads.
#[derive(Clone)]
pub struct Auditor(Arc<Inner>);

type Source = Arc<dyn Fn(Key) -> BoxFuture<'static, Result<Option<Version>>> + Send + Sync>;
type Near = Arc<dyn Fn(&Key) -> Option<Held> + Send + Sync>;

struct Inner {
    tiers: Vec<Arc<dyn Tier>>,
    near: Option<Near>,
    source: Option<Source>,
    clock: Arc<dyn Clock>,
    config: AuditConfig,
    events: Events,
    notes: Mutex<Notes>,
    counts: Mutex<Counts>,
}

/// What one round of an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Keys that could be compared: at least two tiers have them, or a tier and the source, or they
    /// were invalidated.
    pub samples: usize,
    /// Of these, those of which every copy was right.
    pub consistent: usize,
    /// Of these, those that differed at the first look and not at the second. They count as
    /// consistent.
    pub passing: usize,
    /// What was wrong at both looks, for each tier that was.
    pub findings: Vec<Finding>,
}

impl Auditor {
    /// Compares `tiers`, topmost first.
    #[must_use]
    pub fn new(
        tiers: Vec<Arc<dyn Tier>>,
        clock: Arc<dyn Clock>,
        config: AuditConfig,
        events: Events,
    ) -> Self {
        let notes = Mutex::new(Notes::new(config.keys_max));
        let counts = Mutex::default();
        let (near, source) = (None, None);
        Self(Arc::new(Inner { tiers, near, source, clock, config, events, notes, counts }))
    }

    /// Also compares what is above the tiers, in this process: `near` tells what is held of a key.
    ///
    /// # Panics
    ///
    /// When the auditor was cloned before.
    #[must_use]
    pub fn with_near(
        mut self,
        near: impl Fn(&Key) -> Option<Held> + Send + Sync + 'static,
    ) -> Self {
        self.unshared().near = Some(Arc::new(near));
        self
    }

    /// Also asks the source for the version of each sample: nothing where it does not have the key
    /// or does not know. It is asked as often as there are samples, see
    /// [`AuditConfig::samples_per_second`].
    ///
    /// # Panics
    ///
    /// When the auditor was cloned before.
    #[must_use]
    pub fn with_source<F, Fut>(mut self, version: F) -> Self
    where
        F: Fn(Key) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Version>>> + Send + 'static,
    {
        self.unshared().source = Some(Arc::new(move |key| version(key).boxed()));
        self
    }

    fn unshared(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.0).expect("an auditor is completed before it is cloned")
    }

    /// Whether the caller's next read is worth a [note](Self::note_read): one of 1,024 is, for each
    /// thread. Takes a nanosecond, so that it may be asked at every hit.
    #[must_use]
    pub fn wants_read() -> bool {
        thread_local! {
            static READS: Cell<u32> = const { Cell::new(0) };
        }
        READS.with(|reads| {
            reads.set((reads.get() + 1) % READS_PER_NOTE);
            reads.get() == 0
        })
    }

    /// Remembers a key that was read. The oldest are forgotten.
    pub fn note_read(&self, key: &Key) {
        self.0.notes.lock().read(key);
    }

    /// Remembers a key that has just been removed from every tier, by whichever process. The oldest
    /// are forgotten.
    pub fn note_invalidated(&self, key: &Key) {
        let now = self.0.clock.now();
        self.0.notes.lock().invalidated(key, now);
    }

    /// Notes how long after a change of another process this one heard of it.
    pub fn record_lag(&self, lag: Duration) {
        self.0.counts.lock().lag.record(lag, 1);
    }

    /// Looks at as many keys as are due for one second, at those that differ once more, and counts
    /// and tells what is wrong.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has counted nothing; the keys that it took are forgotten.
    pub async fn run_once(&self) -> AuditReport {
        let samples_max = self.0.config.samples_per_second as usize;
        let samples = self.0.notes.lock().take(samples_max);
        let seen = self.0.look(samples).await;
        let mut report = AuditReport::default();
        let mut suspects = Vec::new();
        for (sample, found) in seen {
            report.samples += usize::from(sample.is_comparable());
            if found.is_empty() {
                report.consistent += usize::from(sample.is_comparable());
            } else {
                suspects.push((sample, found));
            }
        }
        if !suspects.is_empty() {
            sleep(self.0.config.confirm_after).await;
            let keys = suspects.iter().map(|(sample, _)| sample.again()).collect();
            for ((_, before), (_, mut found)) in suspects.into_iter().zip(self.0.look(keys).await) {
                found.retain(|finding| before.iter().any(|earlier| earlier.is_same(finding)));
                let passed = usize::from(found.is_empty());
                report.passing += passed;
                report.consistent += passed;
                report.findings.append(&mut found);
            }
        }
        self.0.counts.lock().add(&report);
        for finding in &report.findings {
            let (key, finding) = (finding.key.encoded().into(), finding.to_string().into());
            self.0.events.emit(Event::Inconsistent { key, finding });
        }
        report
    }

    /// Runs an audit each second until the answer is dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(&self) -> Auditing {
        let auditor = self.clone();
        let work = async move {
            let mut seconds = interval(Duration::from_secs(1));
            seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                seconds.tick().await;
                auditor.run_once().await;
            }
        };
        Auditing { _task: AbortOnDropHandle::new(tokio::spawn(work)) }
    }

    /// What all rounds have found so far.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        self.0.counts.lock().stats()
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// An audit that runs. Dropping it ends it.
#[derive(Debug)]
#[must_use = "the audit ends when this is dropped"]
pub struct Auditing {
    _task: AbortOnDropHandle<()>,
}

impl Inner {
    /// Asks every tier, and the source, for each sample, and compares.
    async fn look(&self, mut samples: Vec<Sample>) -> Vec<(Sample, Vec<Finding>)> {
        let keys: Vec<Key> = samples.iter().map(|sample| sample.key.clone()).collect();
        if keys.is_empty() {
            return Vec::new();
        }
        let (tiers, versions) = futures::future::join(
            join_all(self.tiers.iter().map(|tier| ask(&**tier, &keys))),
            join_all(keys.iter().map(|key| self.version(key))),
        )
        .await;
        let now = self.clock.now();
        let mut seen = Vec::with_capacity(samples.len());
        for (index, mut sample) in samples.drain(..).enumerate() {
            if let Some(near) = &self.near {
                sample
                    .looks
                    .push(("near".into(), near(&sample.key).map_or(Look::Lacks, Look::Has)));
            }
            for (tier, looks) in self.tiers.iter().zip(&tiers) {
                sample.looks.push((Arc::clone(&tier.info().name), looks[index].clone()));
            }
            sample.source = versions[index];
            let found = findings(&sample, now, self.config.clocks_differ_by);
            seen.push((sample, found));
        }
        seen
    }

    async fn version(&self, key: &Key) -> Option<Version> {
        let source = self.source.as_ref()?;
        timeout(PATIENCE, source(key.clone())).await.ok()?.ok()?
    }
}

/// What one tier has of each key.
async fn ask(tier: &dyn Tier, keys: &[Key]) -> Vec<Look> {
    match timeout(PATIENCE, tier.get_many(keys)).await {
        Ok(Ok(found)) => found
            .into_iter()
            .map(|lookup| lookup.entry.map_or(Look::Lacks, |entry| Look::Has(Held::of(&entry))))
            .collect(),
        Ok(Err(_)) | Err(_) => vec![Look::Unknown; keys.len()],
    }
}
