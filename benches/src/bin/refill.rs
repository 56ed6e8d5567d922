//! Redis is flushed under load and refilled from PostgreSQL; then writers, copies and flushes fight.
//!
//!     eval "$(cargo xtask services up)"   # sets DATABASE_URL
//!     cargo run --release -p cache-benches --bin refill
//!
//! It starts a Redis of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use cache_benches::refill::{Settings, run};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings {
        database_url: std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?,
        schema: format!("refill_{}", std::process::id()),
        keys: 100_000,
        readers: 16,
        think: Duration::from_millis(10),
        watch: Duration::from_secs(10),
        fight: Duration::from_secs(60),
    };
    print!("{}", run(&settings).await?);
    Ok(())
}
