//! A plan that is carried out once, by one process of many, and survives each of them.

use std::{future::Future, hash::Hasher, pin::pin, sync::Arc, time::Duration};

use cache_core::{Clock, Error, ErrorKind, Event, Leases, Namespace, Result, Tier};
use futures::future::{Either, select};
use siphasher::sip::SipHasher13;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cursor::{Cursor, JobState, Stage},
    leader::Leader,
    outcome::DONE_BEFORE,
    plan::Plan,
    report::Report,
    run::Runner,
    warmer::{Mode, Progress, Warmer},
};

/// How many keys are settled between two notes of the cursor, unless set.
const CHUNK_LEN: usize = 1_000;

/// How long a dead leader holds the others up, unless set.
const LEASE_PERIOD: Duration = Duration::from_secs(3);

/// A plan under a name, with the place where its progress is kept.
///
/// It is carried out in chunks of keys. After each chunk the place in the plan is written to the
/// store, so that what was settled is not begun again after a crash: at most one chunk is. Where the
/// store gives leases, one process works on the job at a time, and another takes over within the
/// lease's period when that one dies. A leader that was paused and has lost its lease writes no
/// place any more: a later leader's has a higher version.
#[derive(Clone, Debug)]
pub struct Job {
    name: Arc<str>,
    plan: Plan,
    mode: Mode,
    chunk_len: usize,
    lease_period: Duration,
    occasion: String,
    cursor: Cursor,
    leases: Option<Arc<dyn Leases>>,
}

/// Where a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the first key, whatever was done before.
    Anew,
    /// Where it was left. One that is done is done.
    Resume,
    /// Where it was left, unless its keys or settings have changed since: then at the first key. For
    /// the nodes of a cluster, that all start it.
    Join,
}

/// How a job ended for this process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JobEnd {
    /// It is done, by this process or another: what became of all its keys.
    Done(Report),
    /// It was stopped, or its deadline has passed: what became of the keys so far. It can be
    /// resumed.
    Stopped(Report),
}

impl JobEnd {
    /// What became of the keys.
    #[must_use]
    pub const fn report(&self) -> &Report {
        match self {
            Self::Done(report) | Self::Stopped(report) => report,
        }
    }
}

impl Job {
    /// The job `name`: `plan` in the namespace `namespace`, with its progress in `store`. The store
    /// should be durable, such as PostgreSQL or SQLite.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for a name that cannot be a key.
    pub fn new(
        namespace: &Namespace,
        name: &str,
        plan: Plan,
        store: Arc<dyn Tier>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let key = namespace.reserved("warming").key(name)?;
        Ok(Self {
            name: name.into(),
            plan: plan.called(name),
            mode: Mode::Due,
            chunk_len: CHUNK_LEN,
            lease_period: LEASE_PERIOD,
            occasion: String::new(),
            leases: store.leases(),
            cursor: Cursor { store, key, clock },
        })
    }

    /// Which keys are loaded. [`Mode::Due`] unless set.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How many keys are settled between two notes of the place, at least 1. 1,000 unless set.
    #[must_use]
    pub fn chunk_len(self, keys: usize) -> Self {
        Self { chunk_len: keys.max(1), ..self }
    }

    /// Within what time another process takes over from one that died. 3 s unless set, and at least
    /// 100 ms.
    #[must_use]
    pub fn lease_period(self, period: Duration) -> Self {
        Self { lease_period: period.max(Duration::from_millis(100)), ..self }
    }

    /// What the job is carried out for, such as a date: for another occasion it is another job, and
    /// is carried out again.
    #[must_use]
    pub fn occasion(self, occasion: impl Into<String>) -> Self {
        Self { occasion: occasion.into(), ..self }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.cursor.clock
    }

    /// Its keys.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its identity: a hash of its keys, their order, its mode and its occasion.
    #[must_use]
    pub fn id(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        for key in self.plan.keys() {
            hasher.write(key.as_bytes());
            // No text has it, so that no two lists of keys are one text.
            hasher.write_u8(0xff);
        }
        hasher.write_u8(u8::from(self.mode == Mode::Forced));
        hasher.write(self.occasion.as_bytes());
        hasher.finish()
    }

    /// How it stands; nothing when it was never begun.
    ///
    /// # Errors
    ///
    /// Those of the store.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn state(&self) -> Result<Option<JobState>> {
        self.cursor.read().await
    }

    /// The state before a run that begins as `start` says.
    async fn first_state(&self, start: Start) -> Result<JobState> {
        let known = self.cursor.read().await?;
        let leaders = known.as_ref().map_or(0, |state| state.leaders);
        let fresh = JobState {
            name: self.name.as_ref().into(),
            id: self.id(),
            stage: Stage::Running,
            settled: 0,
            leaders,
            at_ms: 0,
            report: Report::new(0),
        };
        match known.filter(|_| start != Start::Anew) {
            Some(state) if state.id == fresh.id => Ok(state),
            Some(_) if start == Start::Resume => {
                let message = format!(
                    "the job `{}` cannot be resumed: its keys or settings are not those of before",
                    self.name
                );
                Err(Error::new(ErrorKind::Config, message)
                    .hint("name the same keys in the same order, or begin anew"))
            }
            Some(_) | None => Ok(fresh),
        }
    }
}

/// How a leader's work ended.
enum Led {
    Done(Report),
    Stopped(Report),
    /// Somebody else leads now.
    Lost,
}

impl<V: Send + Sync + 'static> Warmer<V> {
    /// Carries `job` out, or waits until another process has.
    ///
    /// `stop` ends it in good order: no further load is begun, those under way come to their end,
    /// and the place is kept. [`deadline`](crate::WarmerConfig::deadline) does the same. Failures of
    /// keys are no error: the report counts them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when a job to be resumed has changed; else what the store says when
    /// the place cannot be read at the beginning. A store that does not take the place has the job
    /// go on without.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, no further load is begun, and whoever resumes the job goes on at
    /// the chunk that was under way, once the lease has ended.
    pub async fn run_job(
        &self,
        job: &Job,
        start: Start,
        stop: impl Future<Output = ()> + Send,
        progress: &dyn Progress,
    ) -> Result<JobEnd> {
        let token = CancellationToken::new();
        let work = pin!(self.runner().job(job, start, &token, progress));
        match select(work, pin!(stop)).await {
            Either::Left((end, _)) => end,
            Either::Right(((), work)) => {
                token.cancel();
                work.await
            }
        }
    }
}

impl<V: Send + Sync + 'static> Runner<V> {
    async fn job(
        &self,
        job: &Job,
        mut start: Start,
        stop: &CancellationToken,
        progress: &dyn Progress,
    ) -> Result<JobEnd> {
        if start == Start::Join {
            tokio::select! {
                () = self.pause_at_start() => {}
                () = stop.cancelled() => {}
            }
        }
        let deadline = self.config.deadline.map(|deadline| Instant::now() + deadline.0);
        loop {
            let leader = match &job.leases {
                Some(leases) => {
                    let elected = Leader::elect(leases, &job.cursor.key, job.lease_period).await?;
                    if elected.is_none() {
                        tokio::select! {
                            waited = leases.wait(&job.cursor.key, job.lease_period) => waited?,
                            () = stop.cancelled() => {
                                let state = job.cursor.read().await?;
                                let report = state.map(|state| state.report).unwrap_or_default();
                                return Ok(JobEnd::Stopped(report));
                            }
                        }
                        // What the other one has done is not begun anew.
                        if start == Start::Anew {
                            start = Start::Join;
                        }
                        continue;
                    }
                    elected
                }
                None => None,
            };
            let led = self.lead(job, start, leader.as_ref(), stop, deadline, progress).await;
            if let Some(leader) = leader {
                leader.resign().await;
            }
            match led? {
                Led::Done(report) => return Ok(JobEnd::Done(report)),
                Led::Stopped(report) => return Ok(JobEnd::Stopped(report)),
                Led::Lost => {
                    self.cache.events().emit(Event::WarmingLost { plan: Arc::clone(&job.name) });
                    start = Start::Join;
                }
            }
        }
    }

    /// Works on the job until it is done, stopped, or somebody else leads it.
    async fn lead(
        &self,
        job: &Job,
        start: Start,
        leader: Option<&Leader>,
        stop: &CancellationToken,
        deadline: Option<Instant>,
        progress: &dyn Progress,
    ) -> Result<Led> {
        let mut state = job.first_state(start).await?;
        if state.stage == Stage::Done {
            return Ok(Led::Done(state.report));
        }
        state.leaders += 1;
        state.stage = Stage::Running;
        state.report.planned = job.plan.len() as u64;
        if !keep(job, &state).await {
            return Ok(Led::Lost);
        }
        let events = self.cache.events();
        let done = usize::try_from(state.settled).unwrap_or(usize::MAX).min(job.plan.len());
        let keys = job.plan.len();
        events.emit(Event::WarmingBegan { plan: Arc::clone(&job.name), keys, done });
        let mut own = Report::new(job.plan.len());
        if done > 0 {
            own.skipped.insert(DONE_BEFORE.to_owned(), done as u64);
        }
        let work = async {
            let mut from = done;
            while from < keys {
                let places: Vec<usize> = (from..keys.min(from + job.chunk_len)).collect();
                let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                if stop.is_cancelled() || left.is_some_and(|left| left.is_zero()) {
                    return Ok(Led::Stopped(state.report.clone()));
                }
                let chunk = job.plan.pick(&places);
                let before = &state.report;
                let mut on_settled = |_: &[_], so_far: &Report| {
                    progress.advanced(&before.with(so_far));
                };
                let report = self.run(&chunk, job.mode, stop, left, &mut on_settled).await;
                let is_whole =
                    !["stopped", "deadline"].iter().any(|r| report.failed.contains_key(*r));
                own.merge_keys(&report);
                if !is_whole {
                    state.stage = Stage::Stopped;
                    // The keys of this chunk are looked at again; what was loaded is fresh then.
                    keep(job, &state).await;
                    return Ok(Led::Stopped(state.report.with(&report)));
                }
                from += places.len();
                state.report = state.report.with(&report);
                state.settled = from as u64;
                if from == keys {
                    state.stage = Stage::Done;
                }
                if !keep(job, &state).await {
                    return Ok(Led::Lost);
                }
            }
            if keys == 0 {
                state.stage = Stage::Done;
                keep(job, &state).await;
            }
            Ok(Led::Done(state.report.clone()))
        };
        let led = match leader {
            Some(leader) => match select(pin!(work), pin!(leader.kept())).await {
                Either::Left((led, _)) => led,
                Either::Right(((), _)) => Ok(Led::Lost),
            },
            None => work.await,
        };
        if let Ok(Led::Stopped(_)) = &led {
            tracing::info!(job = %job.name, "a warming job was stopped; it can be resumed");
        }
        self.stats.lock().add_plan(&job.name, &own);
        events.emit(Event::WarmingEnded {
            plan: Arc::clone(&job.name),
            warmed: own.warmed(),
            failed: own.failed_keys(),
        });
        led
    }
}

/// Keeps the place; false when a later leader has kept another. A store that fails costs the place,
/// not the work.
async fn keep(job: &Job, state: &JobState) -> bool {
    job.cursor.write(state).await.unwrap_or_else(|error| {
        tracing::warn!(job = %job.name, %error, "the place of a warming job was not kept");
        true
    })
}
