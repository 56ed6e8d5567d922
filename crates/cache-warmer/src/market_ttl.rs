//! How long market data is fresh, by whether the market trades.

use std::time::Duration;

use cache_core::{LoadSeen, TtlRule};

use crate::{calendar::TradingHours, market::DataKind};

/// How long a value is kept at most while the market is closed.
const CLOSED_MAX: Duration = Duration::from_secs(86_400);

/// Fresh for the kind's own time while the market trades; while it does not, until it opens, and at
/// most for a day. For prices and what is computed from them, which only trading changes; any other
/// kind has its own time always.
///
/// # Examples
///
/// ```
/// use cache_core::Cache;
/// use cache_warmer::{DataKind, MarketTtl, TradingHours};
///
/// let prices: Cache<serde_json::Value> = Cache::builder(DataKind::Price.namespace())
///     .ttl_rule(MarketTtl::new(DataKind::Price, TradingHours::us_shares()))
///     .build()?;
/// # let _ = prices;
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MarketTtl {
    kind: DataKind,
    hours: TradingHours,
}

impl MarketTtl {
    /// The times of `kind` in a market of `hours`.
    #[must_use]
    pub const fn new(kind: DataKind, hours: TradingHours) -> Self {
        Self { kind, hours }
    }
}

impl TtlRule for MarketTtl {
    fn fresh_for(&self, load: &LoadSeen<'_>) -> Option<Duration> {
        let own = self.kind.ttl();
        let follows_trade = matches!(self.kind, DataKind::Price | DataKind::Technical);
        if !follows_trade || self.hours.is_open(load.at) {
            return Some(own);
        }
        // Never beyond the opening, however near that is: the first trade changes everything.
        let opens_in = self.hours.next_open(load.at).map(|open| open.since(load.at));
        Some(opens_in.unwrap_or(CLOSED_MAX).min(CLOSED_MAX))
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Timestamp;

    use super::*;

    fn secs(kind: DataKind, at: u64) -> u64 {
        let rule = MarketTtl::new(kind, TradingHours::us_shares());
        let at = Timestamp::from_millis(at * 1_000);
        rule.fresh_for(&LoadSeen::new("AAPL", at, None, Duration::from_secs(1))).unwrap().as_secs()
    }

    #[test]
    fn a_price_is_short_lived_in_trading_hours_and_lasts_until_they_begin() {
        // Wednesday, 3 July 2024: it opens at 13:30 UTC.
        let open = 1_720_013_400;
        assert_eq!(secs(DataKind::Price, open), 10);
        assert_eq!(secs(DataKind::Technical, open + 3_600), 300);
        assert_eq!(secs(DataKind::Price, open - 5), 5);
        assert_eq!(secs(DataKind::Price, open - 7_200), 7_200);
        assert_eq!(secs(DataKind::Price, open + 13 * 3_600 / 2), 63_000, "from the close on");
        assert_eq!(secs(DataKind::News, open - 7_200), 600);
        // Friday evening: a day, and not until Monday.
        assert_eq!(secs(DataKind::Price, open + 2 * 86_400 + 8 * 3_600), 86_400);
    }
}
