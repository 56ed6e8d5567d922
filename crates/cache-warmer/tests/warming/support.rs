//! What the tests of the warmer share: a source that counts and obeys, and a clock on paused time.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{Cache, Clock, Item, Timestamp, Version};
use cache_warmer::{Answer, Source, SourceError, SourceErrorKind};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

/// Answers `KEY#N`, where N counts the loads of the key, unless the key's name says otherwise:
/// `missing…` is not there, `fails…` fails, `hangs…` never answers.
#[derive(Debug)]
pub(crate) struct Fake {
    batch_len_max: usize,
    loads: Mutex<HashMap<String, usize>>,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// What each call waits for.
    gate: Semaphore,
    version: Option<Version>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            batch_len_max: 100,
            loads: Mutex::default(),
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            version: None,
        }
    }

    pub(crate) fn batches_of(self, batch_len_max: usize) -> Self {
        Self { batch_len_max, ..self }
    }

    pub(crate) fn version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Lets no call end before `open`.
    pub(crate) fn closed(self) -> Self {
        Self { gate: Semaphore::new(0), ..self }
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// How many calls of the source there were.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often each key was loaded.
    pub(crate) fn loads_of(&self, key: &str) -> usize {
        self.loads.lock().get(key).copied().unwrap_or(0)
    }

    pub(crate) fn loaded_keys(&self) -> HashSet<String> {
        self.loads.lock().keys().cloned().collect()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    /// Waits until so many calls are under way.
    pub(crate) async fn under_way(&self, calls: usize) {
        while self.under_way.load(Ordering::SeqCst) < calls {
            tokio::task::yield_now().await;
        }
    }

    async fn answer(&self, key: &str) -> Answer<String> {
        let count = {
            let mut loads = self.loads.lock();
            let count = loads.entry(key.to_owned()).or_default();
            *count += 1;
            *count
        };
        if key.starts_with("hangs") {
            std::future::pending::<()>().await;
        }
        if key.starts_with("missing") {
            return Ok(None);
        }
        if key.starts_with("fails") {
            let kind = SourceErrorKind::Rejected { status: 429 };
            return Err(SourceError::new(kind, "asked too often").hint("ask less"));
        }
        if key.starts_with("garbage") {
            return Err(SourceError::new(SourceErrorKind::Malformed, "not JSON"));
        }
        assert!(!key.starts_with("panics"), "as it was told to");
        let item = Item::new(format!("{key}#{count}"));
        Ok(Some(match self.version {
            Some(version) => item.version(version),
            None => item,
        }))
    }
}

#[async_trait::async_trait]
impl Source<String> for Fake {
    async fn load(&self, key: &str) -> Answer<String> {
        self.answer(key).await
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let _pass = self.gate.acquire().await.expect("never closed");
        let mut answers = Vec::new();
        for key in keys {
            answers.push(self.answer(key).await);
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answers
    }

    fn batch_len_max(&self) -> usize {
        self.batch_len_max
    }
}

/// A cache's clock that goes with tokio's time, so that a test with paused time moves both.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.0.elapsed())
    }
}

/// A cache of texts that live for 10 s, on tokio's time.
pub(crate) fn prices() -> Cache<String> {
    Cache::builder("price")
        .ttl(Duration::from_secs(10))
        .clock(Arc::new(TokioClock(Instant::now())))
        .build()
        .expect("the settings are fine")
}
