//! Where warmed values come from.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use anyhow::Result;
use cache_warmer::{CsvConfig, CsvSource, DataKind, HttpConfig, HttpSource, Plan, sample};
use serde::Deserialize;
use serde_json::Value;

use crate::{config::WarmConfig, exit::BadInput};

/// The key's column in a CSV file, unless another is named.
const KEY_COLUMN: &str = "Ticker";

/// How long a value out of a file is fresh. See the help of `warm` for why.
const FILE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a person writes: `sample`, `csv:PATH`, a URL.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Origin {
    #[default]
    Sample,
    Csv(PathBuf),
    Http(String),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        match text.split_once(':') {
            _ if text == "sample" => Ok(Self::Sample),
            _ if is_url(text) => Ok(Self::Http(text.to_owned())),
            Some(("csv", path)) if !path.is_empty() => Ok(Self::Csv(path.into())),
            Some(("http", url)) if is_url(url) => Ok(Self::Http(url.to_owned())),
            _ => Err("it is no source; write sample, csv:PATH, or http://HOST/{key}".to_owned()),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a CSV file's columns are called, where it is not as usual.
pub(super) struct Columns {
    pub(super) key: Option<String>,
    pub(super) order: Option<String>,
}

/// A source that is open.
#[derive(Debug)]
pub(super) enum Source {
    File(CsvSource),
    Live(HttpSource),
}

impl Origin {
    /// Reads the file, or checks the URL.
    ///
    /// # Errors
    ///
    /// [`BadInput`] for a file that cannot be read or has a fault, with the place of it, and for a
    /// URL that cannot be used.
    pub(super) fn open(self, columns: Columns, config: &WarmConfig) -> Result<Source> {
        let bad = |error: cache_core::Error| BadInput(error.to_string());
        Ok(match self {
            Self::Sample => Source::File(sample::prices()),
            Self::Csv(path) => {
                let config = CsvConfig {
                    order_column: columns.order,
                    ..CsvConfig::new(columns.key.unwrap_or_else(|| KEY_COLUMN.to_owned()))
                };
                Source::File(CsvSource::open(path, &config).map_err(bad)?)
            }
            Self::Http(url) => Source::Live(HttpSource::new(http(url, config)).map_err(bad)?),
        })
    }
}

fn http(url: String, config: &WarmConfig) -> HttpConfig {
    let defaults = HttpConfig::new(url);
    HttpConfig {
        timeout: config.timeout.unwrap_or(defaults.timeout),
        concurrency: config.concurrency.unwrap_or(defaults.concurrency),
        pointer: config.pointer.clone(),
        headers: config.headers.clone(),
        ..defaults
    }
}

impl Source {
    /// How long its values are fresh.
    pub(super) const fn ttl(&self, kind: DataKind) -> Duration {
        match self {
            Self::File(_) => FILE_TTL,
            Self::Live(_) => kind.ttl(),
        }
    }

    /// The keys to warm when nobody names any: all that a file has. A live source cannot list its
    /// keys, so it is asked for the market preset.
    pub(super) fn all_keys(&self) -> cache_core::Result<Plan> {
        match self {
            Self::File(file) => Plan::new(file.keys()),
            Self::Live(_) => Ok(Plan::market()),
        }
    }

    pub(super) fn into_shared(self) -> Arc<dyn cache_warmer::Source<Value>> {
        match self {
            Self::File(file) => Arc::new(file),
            Self::Live(live) => Arc::new(live),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_the_sample_a_file_or_a_url() {
        let parse = |text: &str| text.parse::<Origin>();
        let url = "https://h/{key}?token=t";
        assert!(parse("sample") == Ok(Origin::Sample));
        assert!(parse("csv:/x:y.csv") == Ok(Origin::Csv("/x:y.csv".into())));
        assert!(parse(url) == Ok(Origin::Http(url.to_owned())));
        assert!(parse(&format!("http:{url}")) == Ok(Origin::Http(url.to_owned())));
        for text in ["", "csv:", "ftp://h", "prices.csv", "http:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
