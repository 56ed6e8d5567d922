//! Warming, as a service does it: by the warmer, under the keys that are read afterwards.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use cache_core::Cache;
use cache_warmer::{DataKind, Mode, Plan, Report, Source, Warmer, WarmerConfig};

use crate::{bar::Bar, market::Market};

/// How long a daily bar is fresh. It does not change any more: as long as the preset keeps anything.
#[must_use]
pub const fn ttl() -> Duration {
    DataKind::Macro.ttl()
}

/// Warms `cache` with the symbols of the market preset, of which the source has some, and with
/// `bars`, of which it has all.
///
/// # Errors
///
/// A key failed, or a bar was not loaded.
///
/// # Cancel safety
///
/// A dropped future leaves some keys warm.
pub async fn warm(cache: &Cache<Bar>, market: &Arc<Market>, bars: &[Bar]) -> Result<Report> {
    let plan = Plan::market().and(&Plan::new(bars.iter().map(Bar::key))?)?;
    let source: Arc<dyn Source<Bar>> = market.clone();
    let warmer = Warmer::new(cache.clone(), source, WarmerConfig::default())?;
    let report = warmer.warm(&plan, Mode::Due).await;
    let warm = report.loaded + report.already_fresh;
    let wanted = bars.len() as u64;
    ensure!(report.failed_keys() == 0 && warm >= wanted, "warming failed\n{report}");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use cache_core::Origin;

    use super::*;

    #[tokio::test]
    async fn what_was_warmed_is_read_without_a_load() {
        let market = Arc::new(Market::shipped().unwrap());
        let bars = market.sample(100).unwrap();
        let cache: Cache<Bar> = Cache::builder("test").ttl(ttl()).build().unwrap();
        let report = warm(&cache, &market, &bars).await.unwrap();
        assert!(report.loaded > 100, "bars, and the latest prices of known symbols: {report}");
        for bar in &bars {
            let hit = cache.get(&bar.key()).await.unwrap().unwrap();
            assert_eq!((&*hit, hit.origin()), (bar, &Origin::Near));
        }
    }
}
