//! One trading day of one symbol: the value that is cached.

use serde::{Deserialize, Serialize};

/// A daily bar, in US dollars and shares, as its source has it or as a writer revised it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Which share: `AAPL`.
    pub symbol: String,
    /// Which day: `2012-06-01`.
    pub date: String,
    /// The first price.
    pub open: f64,
    /// The highest price.
    pub high: f64,
    /// The lowest price.
    pub low: f64,
    /// The last price.
    pub close: f64,
    /// Shares traded.
    pub volume: u64,
    /// Which write this is: 0 as the source has it, larger in what the load writes.
    #[serde(default)]
    pub revision: u64,
}

impl Bar {
    /// The key that readers ask for: `AAPL:2012-06-01`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.symbol, self.date)
    }

    /// The same day, as the write `revision` leaves it.
    #[must_use]
    pub fn revised(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// Whether this is `source` in any revision: the right symbol, the right day, the right prices.
    #[must_use]
    pub fn is_of(&self, source: &Self) -> bool {
        let Self { symbol, date, open, high, low, close, volume, revision: _ } = self;
        (symbol, date, volume) == (&source.symbol, &source.date, &source.volume)
            && [open, high, low, close] == [&source.open, &source.high, &source.low, &source.close]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_of_another_day_or_price_is_found_out_and_a_revision_is_not() {
        let bar = Bar {
            symbol: "AAPL".to_owned(),
            date: "2012-06-01".to_owned(),
            open: 569.16,
            high: 572.65,
            low: 560.52,
            close: 560.99,
            volume: 18_606_700,
            revision: 0,
        };
        assert_eq!(bar.key(), "AAPL:2012-06-01");
        assert!(bar.revised(7).is_of(&bar));
        assert!(!Bar { date: "2012-06-04".to_owned(), ..bar.clone() }.is_of(&bar));
        assert!(!Bar { close: 561.0, ..bar.clone() }.is_of(&bar));
    }
}
