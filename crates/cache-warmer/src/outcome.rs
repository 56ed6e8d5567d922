//! What became of one key of a run.

use std::{borrow::Cow, time::Duration};

use cache_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::source_error::SourceError;

/// A key of a run, by its place in the run's plan, and what became of it.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) place: usize,
    pub(crate) outcome: Outcome,
    /// Its part of the calls of the source: a third of a call that named three keys.
    pub(crate) calls: f64,
}

/// What became of a key.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The cache has it fresh; the source was not asked.
    AlreadyFresh { due_at: Instant },
    /// A lower tier had it fresh, and the tiers above have it now.
    Copied { due_at: Instant, bytes: u64 },
    /// The source brought it.
    Loaded { due_at: Instant, bytes: u64 },
    /// Nothing was done, or what was done was for nothing.
    Skipped { why: &'static str },
    /// The source does not have it.
    MissingAtSource,
    /// There is no telling.
    Failed(Fault),
}

/// Its key was changed during its load, or a newer version is known.
pub(crate) const SUPERSEDED: &str = "superseded";
/// Nobody has read it since its last load.
pub(crate) const NOT_READ: &str = "not_read";
/// An earlier run of the same job has settled it.
pub(crate) const DONE_BEFORE: &str = "done_before";

/// Why a key failed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// A word to count by.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) is_retryable: bool,
    /// How long the source wants to be left alone.
    pub(crate) pause: Option<Duration>,
}

impl Fault {
    /// The run's own time was over.
    pub(crate) fn deadline() -> Self {
        Self {
            reason: "deadline".into(),
            message: "the run reached its deadline first; raise `deadline` or `concurrency`"
                .to_owned(),
            is_retryable: true,
            pause: None,
        }
    }

    /// The schedule was stopped before the key's turn.
    pub(crate) fn stopped() -> Self {
        Self {
            reason: "stopped".into(),
            message: "the schedule was stopped first".to_owned(),
            is_retryable: true,
            pause: None,
        }
    }
}

impl From<&SourceError> for Fault {
    fn from(error: &SourceError) -> Self {
        Self {
            reason: error.kind().to_string().into(),
            message: error.to_string(),
            is_retryable: error.is_retryable(),
            pause: error.pause(),
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::Closed => "cache_closed",
            // The source took longer than the cache lets any load take.
            ErrorKind::Timeout => "timed_out",
            ErrorKind::Load => "source_panicked",
            ErrorKind::Overloaded => "cache_overloaded",
            _ => "cache",
        };
        Self {
            reason: reason.into(),
            message: error.to_string(),
            is_retryable: error.is_retryable(),
            pause: None,
        }
    }
}
