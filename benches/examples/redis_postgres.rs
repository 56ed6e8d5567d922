//! The whole stack: near, Redis, PostgreSQL, and then the source.
//!
//!     eval "$(cargo xtask services up)"   # sets REDIS_URL and DATABASE_URL
//!     cargo run -p cache-benches --example redis_postgres
//!     cargo xtask services down

use std::{io, time::Duration};

use anyhow::{Context, Result};
use cache_core::{Cache, Item, Version};
use cache_postgres::PostgresTier;
use cache_redis::RedisTier;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let redis = std::env::var("REDIS_URL").context("REDIS_URL is not set")?;
    let database = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;

    // One process, and another one that shares Redis and PostgreSQL with it.
    let (here, there) = (open(&redis, &database).await?, open(&redis, &database).await?);
    for cache in [&here, &here, &there] {
        let quote = cache.get_or_load("AAPL", || ask_the_exchange("AAPL", 1)).await?;
        println!("{} {} from {}", quote.symbol, quote.cents, quote.origin());
    }

    println!("the price changes, and this process says so");
    here.invalidate_before("AAPL", Version(2)).await?;
    let lagging = here.get_or_load("AAPL", || ask_the_exchange("AAPL", 1)).await?;
    println!("a lagging replica still answers {}, which no tier keeps", lagging.cents);
    let quote = here.get_or_load("AAPL", || ask_the_exchange("AAPL", 2)).await?;
    println!("{} {} from {}", quote.symbol, quote.cents, quote.origin());

    println!("\n{}", here.stats().await);
    here.clear().await?;
    Ok(())
}

async fn open(redis: &str, database: &str) -> Result<Cache<Quote>> {
    Ok(Cache::builder("example-quote")
        .tier(RedisTier::open(redis).await?)
        .tier(PostgresTier::open(database).await?)
        .ttl(Duration::from_secs(60))
        .build()?)
}

/// Stands for your source, which numbers its changes.
async fn ask_the_exchange(symbol: &str, version: u64) -> io::Result<Item<Quote>> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let quote = Quote { symbol: symbol.to_owned(), cents: 18_000 + version };
    Ok(Item::new(quote).version(Version(version)))
}
