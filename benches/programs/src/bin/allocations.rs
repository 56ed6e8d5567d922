//! `allocations`: how often a hit in the near tier allocates, counted by the allocator.

use std::{alloc::System, hint::black_box};

use anyhow::{Result, ensure};
use bytes::Bytes;
use cache_core::{Cache, Raw};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: usize = 1_000;
const ROUNDS: usize = 10;

/// Prints the number a hit, of `get` and `peek` together.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cache: Cache<Bytes> = Cache::builder_with("allocations", Raw).build()?;
    let keys: Vec<String> = (0..KEYS).map(|i| format!("quote:{i:06}:2026-12-01")).collect();
    for key in &keys {
        cache.insert(key, Bytes::from(vec![7; 256])).await?;
    }
    // The first round may make what is made once.
    read(&cache, &keys).await?;
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROUNDS {
        read(&cache, &keys).await?;
    }
    let change = region.change();
    let hits = (2 * KEYS * ROUNDS) as f64;
    println!("{}", (change.allocations + change.reallocations) as f64 / hits);
    Ok(())
}

async fn read(cache: &Cache<Bytes>, keys: &[String]) -> Result<()> {
    for key in keys {
        let got = black_box(cache.get(key).await?);
        ensure!(got.is_some() && black_box(cache.peek(key)).is_some(), "{key} is gone");
    }
    Ok(())
}
