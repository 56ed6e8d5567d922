//! Real prices that come with the crate: a source that needs no file and no network.
//!
//! 1,196 daily bars of AAPL, FB, GOOG, IBM and MSFT up to March 2013, public domain; the crate's
//! `data/README.md` names their origin.

use crate::csv::{CsvConfig, CsvSource};

/// The sample as CSV, with the columns `Ticker`, `Date`, `Open`, `High`, `Low`, `Close`, `Volume`
/// and `Adj Close`.
#[must_use]
pub const fn prices_csv() -> &'static str {
    include_str!("../data/prices-sample.csv")
}

/// The columns of the sample: one value a symbol, its latest bar.
#[must_use]
pub fn prices_config() -> CsvConfig {
    CsvConfig::new("Ticker").order_by("Date")
}

/// The sample as a source.
///
/// # Panics
///
/// Never: a test reads the sample.
#[must_use]
pub fn prices() -> CsvSource {
    CsvSource::from_text(prices_csv(), &prices_config()).expect("a test reads the sample")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_the_latest_price_of_five_shares() {
        let source = prices();
        let keys: Vec<&str> = source.keys().collect();
        assert_eq!(keys, ["AAPL", "FB", "GOOG", "IBM", "MSFT"]);
        for key in keys {
            let row = source.value(key).unwrap();
            assert_eq!(row["Date"], "2013-03-01");
            assert!(row["Volume"].as_u64().unwrap() > 1_000_000);
        }
    }
}
