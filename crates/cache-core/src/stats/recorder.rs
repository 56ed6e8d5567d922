//! What a tier did, counted while it does it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use super::{LatencyHistogram, OperationStats};
use crate::error::{Error, ErrorKind};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Put,
    Remove,
    Load,
}

/// How it ended. Only a get ends in `Hit` or `Miss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    Miss,
    Done,
    Error,
}

/// The counters of one tier: a histogram for each operation and outcome, made at first use.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    cells: [[Mutex<Option<Box<LatencyHistogram>>>; 4]; 4],
    pub(crate) superseded: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    errors: Mutex<Errors>,
}

/// The errors of one tier.
#[derive(Debug, Default)]
struct Errors {
    by_kind: BTreeMap<ErrorKind, u64>,
    last: Option<Error>,
}

impl Recorder {
    /// Notes `keys` keys whose `operation` ended in `outcome` after `latency`.
    pub(crate) fn record(
        &self,
        operation: Operation,
        outcome: Outcome,
        latency: Duration,
        keys: usize,
    ) {
        if keys > 0 {
            let mut cell = self.cells[operation as usize][outcome as usize].lock();
            cell.get_or_insert_default().record(latency, keys as u64);
        }
    }

    /// Notes `keys` keys whose `operation` failed after `latency`.
    pub(crate) fn record_error(
        &self,
        operation: Operation,
        error: &Error,
        latency: Duration,
        keys: usize,
    ) {
        self.record(operation, Outcome::Error, latency, keys);
        let mut errors = self.errors.lock();
        *errors.by_kind.entry(error.kind()).or_default() += keys as u64;
        errors.last = Some(error.clone());
    }

    /// The last error, as text.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.errors.lock().last.as_ref().map(ToString::to_string)
    }

    /// How many keys' operations failed, by the name of the kind of error.
    pub(crate) fn errors_by_kind(&self) -> BTreeMap<String, u64> {
        let errors = self.errors.lock();
        errors.by_kind.iter().map(|(kind, count)| (format!("{kind:?}"), *count)).collect()
    }

    pub(crate) fn note_superseded(&self, puts: usize) {
        self.superseded.fetch_add(puts as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_corrupt(&self, records: usize) {
        self.corrupt.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// What reads took, whatever they found.
    pub(crate) fn reads(&self) -> LatencyHistogram {
        let mut reads = LatencyHistogram::new();
        for outcome in [Outcome::Hit, Outcome::Miss] {
            if let Some(known) = &*self.cells[Operation::Get as usize][outcome as usize].lock() {
                reads.merge(known);
            }
        }
        reads
    }

    pub(crate) fn snapshot(&self, operation: Operation) -> OperationStats {
        let of = |outcome: Outcome| {
            let cell = self.cells[operation as usize][outcome as usize].lock();
            cell.as_ref().map(|histogram| histogram.summary())
        };
        OperationStats {
            hit: of(Outcome::Hit),
            miss: of(Outcome::Miss),
            done: of(Outcome::Done),
            error: of(Outcome::Error),
        }
    }
}
