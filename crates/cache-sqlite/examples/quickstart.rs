//! A persistent cache without any server: near + one SQLite file.
//!
//!     cargo run -p cache-sqlite --example quickstart
//!
//! Run it twice: the second run finds what the first one loaded.

use std::{io, time::Duration};

use cache_core::Cache;
use cache_sqlite::SqliteTier;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::temp_dir().join("cache-quickstart.sqlite3");
    let sqlite = SqliteTier::open(&file)?;
    let cache: Cache<f64> = Cache::builder("price")
        .tier(sqlite)
        .ttl(Duration::from_secs(60))
        .max_stale(Duration::from_secs(600))
        .build()?;

    for symbol in ["AAPL", "MSFT", "AAPL"] {
        let price = cache.get_or_load(symbol, move || ask_the_exchange(symbol)).await?;
        println!("{symbol} {:>7.2} from {}, {:?} old", *price, price.origin(), price.age());
    }

    println!("\n{}", cache.stats().await);
    cache.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// Stands for your source: slow, and not to be asked twice.
async fn ask_the_exchange(symbol: &str) -> io::Result<f64> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    match symbol {
        "AAPL" => Ok(187.5),
        "MSFT" => Ok(410.2),
        _ => Err(io::Error::other(format!("{symbol} is not listed"))),
    }
}
