//! What is loaded: one cache, the source behind it, and what each operation does to it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cache_core::{Cache, LoadError, Origin, PutOutcome};

use super::ledger::Ledger;
use crate::{bar::Bar, scenario::Operation};

/// A cache under load, and what is known of the values in it.
#[derive(Debug)]
pub struct Subject {
    cache: Cache<Bar>,
    source: Arc<Source>,
    keys: Vec<String>,
    ledger: Ledger,
}

/// Where loads go: it always answers, at once, and counts.
#[derive(Debug)]
struct Source {
    bars: Vec<Bar>,
    loads: AtomicU64,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Right {
        /// Whether the value came from the source.
        loaded: bool,
    },
    /// With another value than the one that was asked for.
    Wrong,
    /// With an error of this kind.
    Failed(String),
}

/// An operation that has ended.
#[derive(Clone, Debug)]
pub struct Performed {
    /// Which one.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// What it took: the call alone, not the check of its value.
    pub latency: Duration,
    /// When it ended.
    pub ended: Instant,
}

impl Subject {
    /// `cache`, asked for `bars`.
    #[must_use]
    pub fn new(cache: Cache<Bar>, bars: Vec<Bar>) -> Self {
        let keys: Vec<String> = bars.iter().map(Bar::key).collect();
        let ledger = Ledger::new(keys.len());
        let source = Arc::new(Source { bars, loads: AtomicU64::new(0) });
        Self { cache, source, keys, ledger }
    }

    /// The cache itself.
    #[must_use]
    pub const fn cache(&self) -> &Cache<Bar> {
        &self.cache
    }

    /// The keys, in the order in which operations name them.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// How often the source was asked.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.source.loads.load(Ordering::Relaxed)
    }

    /// A caller. Each task has its own: what callers share costs the processors time that a user's
    /// program would not spend.
    #[must_use]
    pub fn caller(self: &Arc<Self>) -> Caller {
        let source = Arc::new(Handle(Arc::clone(&self.source)));
        Caller { subject: Arc::clone(self), source }
    }

    /// How many keys hold, in `view`, something else than their last acknowledged write, or nothing.
    ///
    /// # Errors
    ///
    /// `view` cannot be read.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn lost_writes(&self, view: &Cache<Bar>, expected: Found) -> cache_core::Result<u64> {
        let mut lost = 0;
        for (key, hit) in view.get_many(&self.keys).await?.into_iter().enumerate() {
            let right = hit.as_ref().is_none_or(|hit| hit.is_of(&self.source.bars[key]));
            let found = hit.map(|hit| hit.revision);
            let may_lack = found.is_none() && expected == Found::Copies;
            lost += u64::from(!right || !(may_lack || self.ledger.allows(key, found)));
        }
        Ok(lost)
    }
}

/// What a view on a stack has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Every write that was acknowledged.
    Everything,
    /// Copies of what the tier below has, or nothing: where two writes at the same time ended in
    /// another order than below, the copy is removed.
    Copies,
}

/// One of those who load a [`Subject`].
#[derive(Debug)]
pub struct Caller {
    subject: Arc<Subject>,
    source: Arc<Handle>,
}

/// One caller's own way to the source: handing it to a loader touches no memory that others use.
#[derive(Debug)]
struct Handle(Arc<Source>);

impl Caller {
    /// Carries one operation out and checks what it brought.
    ///
    /// # Cancel safety
    ///
    /// A dropped write may have happened, and is not accounted for.
    pub async fn perform(&self, operation: Operation) -> Performed {
        match operation {
            Operation::Read(key) => self.read(operation, key).await,
            Operation::Write(key) => self.write(operation, key).await,
        }
    }

    async fn read(&self, operation: Operation, key: usize) -> Performed {
        let source = Arc::clone(&self.source);
        let started = Instant::now();
        let read = self.subject.cache.get_or_load(&self.subject.keys[key], move || async move {
            source.0.loads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(source.0.bars[key].clone())
        });
        let answer = read.await;
        let ended = Instant::now();
        let outcome = match answer {
            Ok(hit) if hit.is_of(&self.source.0.bars[key]) => {
                Outcome::Right { loaded: *hit.origin() == Origin::Load }
            }
            Ok(_) => Outcome::Wrong,
            Err(LoadError::Source(error)) => match *error {},
            Err(LoadError::Cache(error)) => Outcome::Failed(format!("{:?}", error.kind())),
        };
        Performed { operation, outcome, latency: ended - started, ended }
    }

    async fn write(&self, operation: Operation, key: usize) -> Performed {
        let ledger = &self.subject.ledger;
        let revision = ledger.begin();
        let bar = self.source.0.bars[key].revised(revision);
        let started = Instant::now();
        let answer = self.subject.cache.insert(&self.subject.keys[key], bar).await;
        let ended = Instant::now();
        if let Ok(PutOutcome::Stored) = answer {
            ledger.acknowledge(key, revision);
        } else {
            ledger.doubt(key, revision);
        }
        let outcome = match answer {
            Ok(PutOutcome::Stored) => Outcome::Right { loaded: false },
            Ok(refused) => Outcome::Failed(format!("{refused:?}")),
            Err(error) => Outcome::Failed(format!("{:?}", error.kind())),
        };
        Performed { operation, outcome, latency: ended - started, ended }
    }
}
