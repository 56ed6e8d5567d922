//! What warming does to live reads on real servers.
//!
//!     eval "$(cargo xtask services up)"   # sets DATABASE_URL
//!     cargo run --release -p cache-programs --bin refill [zipf] [uniform] [unwell] [fight]
//!
//! Redis, one of its own, is flushed under load and refilled from PostgreSQL, with reads by Zipf's
//! law and with reads of all keys alike; a warmer asks sources that are not well; writers, copies
//! and flushes fight. All of it, or the parts that are named.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cache_benches::refill::{Part, Reads, Settings, run};

/// Flushes of which each is followed by a refill: machines have good and bad seconds.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let all = [
        ("zipf", Reads::Zipf, Part::Refill(ROUNDS)),
        ("uniform", Reads::Uniform, Part::Refill(ROUNDS)),
        ("unwell", Reads::Zipf, Part::Unwell(Duration::from_secs(10))),
        ("fight", Reads::Zipf, Part::Fight(Duration::from_secs(60))),
    ];
    let named: Vec<String> = std::env::args().skip(1).collect();
    for name in &named {
        ensure!(all.iter().any(|(known, ..)| known == name), "`{name}` is no part of this");
    }
    let database_url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    for (name, reads, part) in all {
        if !named.is_empty() && !named.iter().any(|wanted| wanted == name) {
            continue;
        }
        let settings = Settings {
            database_url: database_url.clone(),
            schema: format!("refill_{name}_{}", std::process::id()),
            keys: 100_000,
            reads,
            readers: 16,
            think: Duration::from_millis(10),
            watch: Duration::from_secs(10),
            parts: vec![part],
        };
        println!("{name}\n{}", run(&settings).await?);
    }
    Ok(())
}
