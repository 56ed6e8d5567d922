//! How far a job has come, kept where every process and the next one finds it.

use std::{fmt, sync::Arc, time::Duration};

use cache_core::{
    Clock, CodecId, Condition, Entry, Error, ErrorKind, EvictionPriority, Key, Put, PutOutcome,
    Result, Tier, Ttl, Version,
};
use serde::{Deserialize, Serialize};

use crate::report::Report;

/// What wrote a job's state: JSON of this crate. Of the project's own codecs.
const CODEC: CodecId = CodecId(0x7701);

/// How long a state is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// A process works on it, or has died at it.
    Running,
    /// It was stopped, and can be resumed.
    Stopped,
    /// It is finished.
    Done,
}

/// How a [`Job`](crate::Job) stands, as its last leader has left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobState {
    /// What it is called.
    pub name: String,
    /// Of its keys and settings: a job with another identity does not go on from here.
    pub id: u64,
    /// How it stands.
    pub stage: Stage,
    /// How many of its keys, from the first on, are settled for good.
    pub settled: u64,
    /// How many processes have led it.
    pub leaders: u32,
    /// When this was written, in milliseconds since the epoch, by the clock of who wrote it.
    pub at_ms: u64,
    /// What became of the settled keys.
    pub report: Report,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running, or its process has died",
            Self::Stopped => "stopped, and can be resumed",
            Self::Done => "done",
        })
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, stage, settled, leaders, report, .. } = self;
        let planned = report.planned;
        writeln!(f, "{name}: {stage}; {settled} of {planned} keys, by {leaders} processes")?;
        write!(f, "{report}")
    }
}

/// Where the state of one job is kept, and in which order it may be written.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) store: Arc<dyn Tier>,
    pub(crate) key: Key,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Cursor {
    /// The state; nothing where there is none, or none that this program understands.
    pub(crate) async fn read(&self) -> Result<Option<JobState>> {
        let entry = self.store.get(&self.key).await?.entry;
        let entry = entry.filter(|entry| entry.codec == CODEC);
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.payload).ok()))
    }

    /// Writes the state, unless a later leader has written, or this one has come further: false.
    ///
    /// The version of the entry is what orders states: leaders first, then keys. It is a fill, so no
    /// other process is told of it.
    pub(crate) async fn write(&self, state: &JobState) -> Result<bool> {
        let now = self.clock.now();
        let state = JobState { at_ms: now.as_millis(), ..state.clone() };
        let payload = serde_json::to_vec(&state).map_err(|error| {
            Error::new(ErrorKind::Codec, format!("the state of a job: {error}"))
        })?;
        let done = u64::from(state.stage == Stage::Done);
        let version = (u64::from(state.leaders) << 32) | (state.settled << 1) | done;
        let entry = Entry::new(payload.into(), CODEC, now, Ttl::fresh(KEPT_FOR))
            .with_version(Some(Version(version)))
            .with_priority(EvictionPriority::High);
        let fence = self.store.get(&self.key).await?.fence;
        let condition = Condition::Unmoved(fence);
        let put = Put { key: self.key.clone(), entry, condition };
        match self.store.put_many(&[put]).await?[0] {
            PutOutcome::Stored => Ok(true),
            PutOutcome::Superseded => Ok(false),
            other => {
                let message =
                    format!("the state of the job `{}` was not kept: {other:?}", state.name);
                Err(Error::new(ErrorKind::Full, message)
                    .hint("keep it in a tier that takes it, or run without a job"))
            }
        }
    }
}
