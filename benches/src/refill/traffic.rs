//! Live reads, and what they take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use cache_core::{Cache, LatencyHistogram};
use cache_warmer::{Plan, Source};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{task::JoinSet, time::sleep};

use super::{Reads, Settings, truth::Truth};
use crate::popularity::Zipf;

/// YCSB's.
const ZIPF_EXPONENT: f64 = 0.99;

/// Readers that go on until they are told to end.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    readers: JoinSet<Result<()>>,
}

struct Shared {
    phase: Mutex<LatencyHistogram>,
    over: AtomicBool,
}

/// Which key is read next.
#[derive(Clone)]
enum Choice {
    Uniform(usize),
    Zipf(Arc<Zipf>),
}

impl Traffic {
    pub(super) fn begin(
        settings: &Settings,
        cache: &Cache<String>,
        truth: &Arc<Truth>,
        plan: &Plan,
    ) -> Self {
        let shared = Arc::new(Shared { phase: Mutex::default(), over: AtomicBool::new(false) });
        let choice = match settings.reads {
            Reads::Uniform => Choice::Uniform(plan.len()),
            Reads::Zipf => Choice::Zipf(Arc::new(Zipf::new(plan.len(), ZIPF_EXPONENT))),
        };
        let mut readers = JoinSet::new();
        for number in 0..settings.readers {
            let (cache, truth, shared) = (cache.clone(), Arc::clone(truth), Arc::clone(&shared));
            let (plan, choice, think) = (plan.clone(), choice.clone(), settings.think);
            readers.spawn(async move {
                let mut rng = SmallRng::seed_from_u64(number as u64);
                while !shared.over.load(Ordering::Relaxed) {
                    let key = &plan.keys()[choice.next(&mut rng)];
                    let (source, name) = (Arc::clone(&truth), key.clone());
                    let began = Instant::now();
                    let read = cache.get_or_load(key, || async move {
                        source.load(&name).await.map(|item| item.expect("it has every key"))
                    });
                    read.await.map_err(|error| anyhow::anyhow!("{error}"))?;
                    shared.phase.lock().record(began.elapsed(), 1);
                    sleep(think).await;
                }
                Ok(())
            });
        }
        Self { shared, readers }
    }

    /// What reads took since the last call.
    pub(super) fn take(&self) -> LatencyHistogram {
        std::mem::take(&mut *self.shared.phase.lock())
    }

    /// Ends it: what a read failed with, if one did.
    pub(super) async fn end(mut self) -> Result<()> {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(reader) = self.readers.join_next().await {
            reader??;
        }
        Ok(())
    }
}

impl Choice {
    fn next(&self, rng: &mut SmallRng) -> usize {
        match self {
            Self::Uniform(keys) => rng.random_range(0..*keys),
            Self::Zipf(zipf) => zipf.pick(rng),
        }
    }
}
