//! A CSV file as a source.

mod columns;
mod rows;

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;
use cache_core::{BATCH_LEN_MAX, ByteSize, Item, Result};
use csv::StringRecord;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use self::columns::Columns;
use crate::{
    files,
    source::{Answer, Source, load_each},
    source_error::{SourceError, SourceErrorKind},
};

/// How a [`CsvSource`] reads its file.
///
/// The file has a line of headings and is UTF-8, with commas between fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvConfig {
    /// The column of the key, such as `Ticker`.
    pub key_column: String,
    /// The column, such as `Date`, whose largest value tells which of a key's rows counts. Numbers
    /// are compared as numbers and anything else as text, so dates should be written as in ISO
    /// 8601. Without it, and among equals, the last row of a key counts.
    #[serde(default)]
    pub order_column: Option<String>,
    /// Columns that are text, though they begin with something that looks like a number.
    #[serde(default)]
    pub text_columns: Vec<String>,
    /// The most rows. 1,000,000 unless set.
    #[serde(default = "rows_max")]
    pub rows_max: usize,
    /// The largest file. 64 MiB unless set. In memory it takes up to five times as much.
    #[serde(default = "bytes_max")]
    pub bytes_max: ByteSize,
}

const fn rows_max() -> usize {
    1_000_000
}

const fn bytes_max() -> ByteSize {
    ByteSize::mib(64)
}

impl CsvConfig {
    /// Keys from the column `key_column`; of several rows of a key the last one counts.
    #[must_use]
    pub fn new(key_column: impl Into<String>) -> Self {
        Self {
            key_column: key_column.into(),
            order_column: None,
            text_columns: Vec::new(),
            rows_max: rows_max(),
            bytes_max: bytes_max(),
        }
    }

    /// Of several rows of a key the one counts whose value in this column is largest.
    #[must_use]
    pub fn order_by(self, order_column: impl Into<String>) -> Self {
        Self { order_column: Some(order_column.into()), ..self }
    }
}

/// A CSV file, read once, with one value a key: a JSON object of the key's row without the key
/// column, as any type that is read from one.
///
/// A column whose first field is a number, as JSON writes numbers, is a column of numbers: its
/// values are numbers, and a field that is none is an error. An empty field is `null`. Values have
/// no version.
///
/// # Examples
///
/// ```
/// use cache_warmer::{CsvConfig, CsvSource};
///
/// let text = "Ticker,Date,Close\nAAPL,2013-03-01,430.47\nAAPL,2013-02-28,441.4\n";
/// let source = CsvSource::from_text(text, &CsvConfig::new("Ticker").order_by("Date"))?;
/// let apple = source.value("AAPL").map(serde_json::Value::from);
/// assert_eq!(apple, Some(serde_json::json!({"Date": "2013-03-01", "Close": 430.47})));
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Debug)]
pub struct CsvSource {
    name: String,
    columns: Columns,
    rows: BTreeMap<String, StringRecord>,
}

impl CsvSource {
    /// Reads and checks the file at `path`. It blocks.
    ///
    /// # Errors
    ///
    /// With the file, the line and the column: [`ErrorKind::Config`] when the file cannot be read,
    /// is not UTF-8, lacks a column, or a row has too many or too few fields or a bad number;
    /// [`ErrorKind::InvalidKey`]; [`ErrorKind::TooLarge`] above a limit.
    ///
    /// [`ErrorKind::Config`]: cache_core::ErrorKind::Config
    /// [`ErrorKind::InvalidKey`]: cache_core::ErrorKind::InvalidKey
    /// [`ErrorKind::TooLarge`]: cache_core::ErrorKind::TooLarge
    pub fn open(path: impl AsRef<Path>, config: &CsvConfig) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read("the CSV file", path, config.bytes_max)?;
        rows::read(format!("CSV file `{}`", path.display()), &bytes, config)
    }

    /// Reads and checks a text, as [`open`](Self::open) does a file.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub fn from_text(text: &str, config: &CsvConfig) -> Result<Self> {
        rows::read("CSV text".to_owned(), text.as_bytes(), config)
    }

    /// Its keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// The row of a key as it is answered.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Map<String, Value>> {
        self.rows.get(key).map(|row| self.columns.object(row))
    }

    fn answer<V: DeserializeOwned>(&self, key: &str) -> Answer<V> {
        let Some(row) = self.rows.get(key) else { return Ok(None) };
        let value = serde_json::from_value(self.columns.object(row).into());
        value.map(|value| Some(Item::new(value))).map_err(|e| {
            let place = format!("{}, line {}", self.name, rows::line_of(row));
            let message = format!("{place}: the row of `{key}` is no such value: {e}");
            SourceError::new(SourceErrorKind::Malformed, message)
                .hint("correct the row, or the type of the cache's values")
        })
    }
}

#[async_trait]
impl<V: DeserializeOwned + Send + 'static> Source<V> for CsvSource {
    async fn load(&self, key: &str) -> Answer<V> {
        self.answer(key)
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<V>> {
        load_each(self, keys, 1).await
    }

    fn batch_len_max(&self) -> usize {
        BATCH_LEN_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Bar {
        #[expect(dead_code, reason = "only its presence and type matter here")]
        close: f64,
    }

    #[tokio::test]
    async fn a_row_is_answered_as_the_type_of_the_values() {
        let text = "Ticker,Close\nAAPL,430.47\nIBM,\n";
        let source = CsvSource::from_text(text, &CsvConfig::new("Ticker")).unwrap();
        let source: &dyn Source<Bar> = &source;
        assert!(source.load("AAPL").await.unwrap().is_some());
        assert!(source.load("MSFT").await.unwrap().is_none());
        let error = source.load("IBM").await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Malformed);
        assert!(error.to_string().contains("line 3: the row of `IBM`"), "{error}");
        let keys = ["IBM", "AAPL"].map(str::to_owned);
        let answers = source.load_many(&keys).await;
        assert!(answers[0].is_err() && answers[1].is_ok());
    }

    #[test]
    fn a_file_is_named_in_its_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prices.csv");
        let error = CsvSource::open(&path, &CsvConfig::new("Ticker")).unwrap_err();
        assert!(error.to_string().contains("prices.csv"), "{error}");
        std::fs::write(&path, "Ticker,Close\nAAPL,1\n").unwrap();
        assert_eq!(CsvSource::open(&path, &CsvConfig::new("Ticker")).unwrap().keys().count(), 1);
        let error = CsvSource::open(&path, &CsvConfig::new("Symbol")).unwrap_err();
        assert!(error.to_string().contains("prices.csv`, line 1"), "{error}");
        let small = CsvConfig { bytes_max: ByteSize::bytes(4), ..CsvConfig::new("Ticker") };
        let error = CsvSource::open(&path, &small).unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::TooLarge);
    }

    #[test]
    fn settings_have_defaults_and_no_unknown_names() {
        let config: CsvConfig = serde_json::from_str(r#"{"key_column": "Ticker"}"#).unwrap();
        assert_eq!(config, CsvConfig::new("Ticker"));
        assert!(serde_json::from_str::<CsvConfig>(r#"{"key_column": "T", "sep": 1}"#).is_err());
    }
}
