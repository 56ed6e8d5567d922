//! Redis is flushed under load and refilled from PostgreSQL; then a warmer asks sources that are not
//! well; then writers, copies and flushes fight.
//!
//!     eval "$(cargo xtask services up)"   # sets DATABASE_URL
//!     cargo run --release -p cache-benches --bin refill
//!
//! The flush is shown twice: with reads of all keys alike, and with reads by Zipf's law. It starts a
//! Redis of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use cache_benches::refill::{Reads, Settings, run};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings {
        database_url: std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?,
        schema: format!("refill_uniform_{}", std::process::id()),
        keys: 100_000,
        reads: Reads::Uniform,
        readers: 16,
        think: Duration::from_millis(10),
        watch: Duration::from_secs(10),
        unwell: Duration::ZERO,
        fight: Duration::ZERO,
    };
    println!("reads of all keys alike\n{}", run(&settings).await?);
    let settings = Settings {
        schema: format!("refill_zipf_{}", std::process::id()),
        reads: Reads::Zipf,
        unwell: Duration::from_secs(5),
        fight: Duration::from_secs(60),
        ..settings
    };
    println!("reads by Zipf's law\n{}", run(&settings).await?);
    Ok(())
}
