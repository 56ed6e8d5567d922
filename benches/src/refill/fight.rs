//! Writers, copies and flushes, let loose on each other.

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use cache_core::Version;
use cache_warmer::Plan;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::sleep;

use super::{Bench, truth::value};

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fought {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Keys that were copied.
    pub copied: u64,
    /// Looks at a tier that found a version older than one that had been acknowledged before.
    pub overwritten: u64,
}

impl fmt::Display for Fought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "against writes: {} writes, {} keys copied, {} newer values overwritten",
            self.writes, self.copied, self.overwritten,
        )
    }
}

/// Writers, refills and flushes at the same time, and a reader of each tier that knows which version
/// was acknowledged before it looked.
pub(super) async fn fight(bench: &Bench<'_>, time: Duration) -> Result<Fought> {
    let Bench { server, cache, tiers, truth, plan, .. } = bench;
    // Without heed of live reads, so that there are many copies.
    let warmer = bench.warmer(1_000.0)?;
    let hot = Plan::new(plan.keys().iter().take(64))?;
    let acked = Mutex::new(HashMap::<String, u64>::new());
    let [writes, copied, overwritten] = [(); 3].map(|()| AtomicU64::new(0));
    let end = Instant::now() + time;
    let write = async |seed: u64| {
        let mut rng = SmallRng::seed_from_u64(seed);
        while Instant::now() < end {
            let key = &hot.keys()[rng.random_range(0..hot.len())];
            let version = truth.next(key);
            let write = if rng.random_bool(0.7) {
                cache.insert(key, value(key, version)).await.map(drop)
            } else {
                cache.invalidate_before(key, Version(version)).await
            };
            // A flush makes calls fail: whether those came about is not known.
            if write.is_ok() {
                writes.fetch_add(1, Ordering::Relaxed);
                let mut acked = acked.lock();
                let known = acked.entry(key.clone()).or_default();
                *known = version.max(*known);
            }
        }
    };
    let copy = async {
        while Instant::now() < end {
            let report = warmer.refill(&hot, "redis").await;
            copied.fetch_add(report.copied, Ordering::Relaxed);
        }
    };
    let look = async {
        let mut rng = SmallRng::seed_from_u64(99);
        while Instant::now() < end {
            let key = &hot.keys()[rng.random_range(0..hot.len())];
            let known = acked.lock().get(key).copied().unwrap_or(0);
            for tier in tiers {
                let Ok(lookup) = tier.get(&cache.namespace().key(key)?).await else { continue };
                let version = lookup.entry.and_then(|entry| entry.version);
                if version.is_some_and(|Version(version)| version < known) {
                    overwritten.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        anyhow::Ok(())
    };
    let flush = async {
        while Instant::now() < end {
            sleep(Duration::from_millis(500)).await;
            server.flush()?;
        }
        anyhow::Ok(())
    };
    let (_, _, _, looked, flushed) = tokio::join!(write(1), write(2), copy, look, flush);
    looked?;
    flushed?;
    Ok(Fought {
        writes: writes.into_inner(),
        copied: copied.into_inner(),
        overwritten: overwritten.into_inner(),
    })
}
