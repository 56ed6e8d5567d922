//! The second process of tests over two processes: see `cache_benches::processes`.

use anyhow::{Context, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let place = std::env::args().nth(1).context("usage: peer PLACE, as JSON")?;
    cache_benches::processes::serve(serde_json::from_str(&place)?).await
}
