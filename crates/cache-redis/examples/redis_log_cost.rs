//! What the log costs: removals and inserts a second with it and without, side by side in turns.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379 cargo run --release -p cache-redis --example redis_log_cost
//! ```
//!
//! It leaves a log and a control key under a prefix of its own, so give it a server for tests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cache_core::{
    Clock, CodecId, Entry, ErrorKind, Key, Namespace, Result, SystemClock, Tier, TierExt, Ttl,
};
use cache_redis::{LogMode, RedisConfig, RedisTier};
use futures::future::try_join_all;

const TASKS: usize = 64;
const CALLS: usize = 1_000;
const TURNS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for turn in 0..=TURNS {
        for (place, log) in [LogMode::Off, LogMode::On].into_iter().enumerate() {
            let prefix = format!("log_cost_{}_{place}", std::process::id());
            let config = RedisConfig { prefix, log, ..RedisConfig::new(url.clone()) };
            let tier = RedisTier::connect(&config, SystemClock::shared()).await?;
            let run = [measure(&tier, Work::Remove).await?, measure(&tier, Work::Insert).await?];
            // The first turn warms up.
            if turn > 0 {
                rates[0][place].push(run[0]);
                rates[1][place].push(run[1]);
            }
            tier.close().await?;
        }
    }
    for (name, [off, on]) in ["removals", "inserts"].into_iter().zip(rates) {
        let (off, on) = (median(off), median(on));
        println!("{name}/s: {off:.0} without the log, {on:.0} with it: {:.3}", on / off);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Work {
    Remove,
    Insert,
}

/// Calls a second of many tasks, each of which makes one after the other.
async fn measure(tier: &Arc<RedisTier>, work: Work) -> Result<f64> {
    let namespace = Namespace::new("n")?;
    let began = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let (tier, namespace) = (Arc::clone(tier), namespace.clone());
        tokio::spawn(async move {
            for call in 0..CALLS {
                let key = namespace.key(&format!("{task}:{call}"))?;
                make(&tier, key, work).await?;
            }
            Ok::<_, cache_core::Error>(())
        })
    });
    let done = try_join_all(tasks).await;
    let done = done.map_err(|cause| {
        cache_core::Error::new(ErrorKind::Internal, "a task has panicked").caused_by(cause)
    })?;
    done.into_iter().collect::<Result<Vec<()>>>()?;
    Ok((TASKS * CALLS) as f64 / began.elapsed().as_secs_f64())
}

async fn make(tier: &RedisTier, key: Key, work: Work) -> Result<()> {
    match work {
        Work::Remove => tier.remove(key).await,
        Work::Insert => {
            let ttl = Ttl::fresh(Duration::from_secs(30));
            let payload = Bytes::from_static(&[7; 200]);
            let entry = Entry::new(payload, CodecId(3), SystemClock::new().now(), ttl);
            tier.put(key, entry).await.map(|_| ())
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
