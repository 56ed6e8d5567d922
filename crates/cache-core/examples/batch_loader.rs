//! Many keys at once: one call a tier, and one call of the loader with what is missing.
//!
//!     cargo run -p cache-core --example batch_loader

use std::{collections::HashMap, io, time::Duration};

use cache_core::{Cache, Item, Version};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache: Cache<f64> = Cache::builder("price").ttl(Duration::from_secs(10)).build()?;
    cache.insert("AAPL", 187.5).await?;

    let symbols = ["AAPL", "MSFT", "NOPE", "GOOG"];
    let prices = cache.get_many_or_load(symbols, ask_the_exchange).await;

    for (symbol, price) in symbols.iter().zip(prices) {
        match price? {
            Some(hit) => println!("{symbol} {:.2} from {}", *hit, hit.origin()),
            None => println!("{symbol} is not listed"),
        }
    }
    Ok(())
}

/// The source: called once, with exactly the symbols that no tier has.
async fn ask_the_exchange(symbols: Vec<String>) -> io::Result<HashMap<String, Item<f64>>> {
    println!("asking the exchange for {symbols:?}");
    let listed = HashMap::from([("AAPL", 187.5), ("GOOG", 141.8), ("MSFT", 410.2)]);
    let quote = |symbol: String| {
        let price = *listed.get(symbol.as_str())?;
        // Where the source numbers its changes, no tier ever goes back to an older one.
        Some((symbol, Item::new(price).version(Version(1))))
    };
    Ok(symbols.into_iter().filter_map(quote).collect())
}
