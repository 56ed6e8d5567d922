//! Callers with one operation in flight each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::turns::Figures;

/// How much of a turn is run in before it counts.
const RUN_IN: f64 = 0.15;

/// Random numbers (xorshift), the same in each turn.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}

/// Has each of `callers` call again and again for as long as `lasting`, each time for another one
/// of `keys` things.
pub(crate) async fn closed_loop<F, Fut>(
    callers: usize,
    keys: usize,
    lasting: Duration,
    call: F,
) -> Result<Figures>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let phase = Arc::new(Phase(AtomicU8::new(Phase::RUN_IN)));
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (call, phase) = (call.clone(), Arc::clone(&phase));
        tasks.spawn(async move { go(caller, keys, &phase, call).await });
    }
    tokio::time::sleep(lasting.mul_f64(RUN_IN)).await;
    let began = phase.enter(Phase::MEASURED);
    tokio::time::sleep(lasting).await;
    let took = phase.enter(Phase::OVER) - began;
    let mut all = Vec::with_capacity(callers);
    while let Some(times) = tasks.join_next().await {
        all.push(times??);
    }
    Ok(figures(&all, took))
}

#[derive(Debug)]
struct Phase(AtomicU8);

impl Phase {
    const RUN_IN: u8 = 0;
    const MEASURED: u8 = 1;
    const OVER: u8 = 2;

    fn enter(&self, phase: u8) -> Instant {
        self.0.store(phase, Ordering::Relaxed);
        Instant::now()
    }
}

/// One caller; answers what its calls took that ended within the measured time, in nanoseconds. The
/// one that was under way at its end is counted with what it had taken until it ended, so that a
/// caller that is never served has a time as well.
async fn go<F, Fut>(caller: usize, keys: usize, phase: &Phase, call: F) -> Result<Times>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let mut random = Random::new(caller as u64 + 1);
    let mut times = Times::default();
    let mut began = Instant::now();
    loop {
        call(random.below(keys)).await?;
        // A caller that never waits would keep its thread, and with it the timer that ends the turn.
        tokio::task::consume_budget().await;
        let ended = Instant::now();
        match phase.0.load(Ordering::Relaxed) {
            Phase::RUN_IN => {}
            Phase::MEASURED => times.ended.push(nanos(ended - began)),
            _ => {
                times.last = nanos(ended - began);
                return Ok(times);
            }
        }
        began = ended;
    }
}

#[derive(Debug, Default)]
struct Times {
    ended: Vec<u32>,
    last: u32,
}

fn nanos(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

fn figures(all: &[Times], took: Duration) -> Figures {
    let count: usize = all.iter().map(|times| times.ended.len()).sum();
    let least = all.iter().map(|times| times.ended.len()).min().unwrap_or(0);
    let mut each: Vec<u32> =
        all.iter().flat_map(|times| times.ended.iter().copied().chain([times.last])).collect();
    each.sort_unstable();
    Figures {
        per_s: count as f64 / took.as_secs_f64(),
        p99_us: f64::from(each[(each.len() - 1) * 99 / 100]) / 1e3,
        evenness: least as f64 * all.len() as f64 / count.max(1) as f64,
    }
}
