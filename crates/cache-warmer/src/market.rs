//! The market preset: symbols that are always asked for, and how long what kind of data lasts.

use std::{fmt, str::FromStr, time::Duration};

use cache_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// A symbol of the preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Symbol {
    /// The key that it is read under: the ticker of a share or fund listed in the United States, a
    /// pair such as `BTC-USD` of a crypto currency. Coins and shares have tickers in common (`BTC`
    /// is also a fund), so a coin's alone would be ambiguous.
    pub key: &'static str,
    /// What it is.
    pub group: Group,
}

/// What a [`Symbol`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Group {
    /// One of the largest companies of the United States.
    MegaCap,
    /// A fund that follows an index.
    IndexEtf,
    /// A share that many ask for.
    Popular,
    /// A crypto currency, in US dollars.
    Crypto,
}

/// The symbols of the preset, those that are asked for most in front.
pub const SYMBOLS: [Symbol; 28] = [
    mega_cap("AAPL"),
    mega_cap("MSFT"),
    mega_cap("GOOGL"),
    mega_cap("AMZN"),
    mega_cap("META"),
    mega_cap("NVDA"),
    mega_cap("TSLA"),
    index_etf("SPY"),
    index_etf("QQQ"),
    index_etf("DIA"),
    index_etf("IWM"),
    popular("AMD"),
    popular("NFLX"),
    popular("DIS"),
    popular("INTC"),
    popular("PYPL"),
    popular("CRM"),
    popular("ADBE"),
    popular("BRK.B"),
    popular("JPM"),
    popular("V"),
    crypto("BTC-USD"),
    crypto("ETH-USD"),
    crypto("BNB-USD"),
    crypto("SOL-USD"),
    crypto("ADA-USD"),
    crypto("XRP-USD"),
    crypto("DOGE-USD"),
];

const fn mega_cap(key: &'static str) -> Symbol {
    Symbol { key, group: Group::MegaCap }
}

const fn index_etf(key: &'static str) -> Symbol {
    Symbol { key, group: Group::IndexEtf }
}

const fn popular(key: &'static str) -> Symbol {
    Symbol { key, group: Group::Popular }
}

const fn crypto(key: &'static str) -> Symbol {
    Symbol { key, group: Group::Crypto }
}

/// A kind of market data. Each has a namespace, and with that a cache, of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataKind {
    /// The latest price: 10 s.
    Price,
    /// Indicators computed from prices: 5 min.
    Technical,
    /// Headlines: 10 min.
    News,
    /// A company's figures: 1 h.
    Fundamentals,
    /// An economy's figures: 24 h.
    Macro,
    /// Anything else: 5 min.
    Other,
}

impl DataKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Price, Self::Technical, Self::News, Self::Fundamentals, Self::Macro, Self::Other];

    /// The namespace of its cache: `price`, `technical`, and so on.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Technical => "technical",
            Self::News => "news",
            Self::Fundamentals => "fundamentals",
            Self::Macro => "macro",
            Self::Other => "other",
        }
    }

    /// How long a value is fresh.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(match self {
            Self::Price => 10,
            Self::Technical | Self::Other => 300,
            Self::News => 600,
            Self::Fundamentals => 3_600,
            Self::Macro => 86_400,
        })
    }
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace())
    }
}

impl FromStr for DataKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.namespace() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::namespace).join(", ");
            Error::new(ErrorKind::Config, format!("`{text}` is no kind of data"))
                .hint(format!("choose one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_preset_has_every_group_and_no_symbol_twice() {
        let keys: HashSet<&str> = SYMBOLS.iter().map(|symbol| symbol.key).collect();
        assert_eq!(keys.len(), SYMBOLS.len());
        let groups: HashSet<Group> = SYMBOLS.iter().map(|symbol| symbol.group).collect();
        assert_eq!(groups.len(), 4);
        for symbol in SYMBOLS {
            assert_eq!(symbol.key.ends_with("-USD"), symbol.group == Group::Crypto, "{symbol:?}");
        }
    }

    #[test]
    fn a_kind_is_known_by_its_namespace() {
        for kind in DataKind::ALL {
            assert_eq!(kind.to_string().parse::<DataKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.namespace());
        }
        let error = "prices".parse::<DataKind>().unwrap_err().to_string();
        assert!(error.contains("`prices`") && error.contains("price, technical"), "{error}");
    }
}
