//! Real prices: the values of every benchmark, and the source that they are loaded from.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use cache_core::{BATCH_LEN_MAX, Item};
use cache_warmer::{Answer, Source, sample};
use serde::Deserialize;

use crate::bar::Bar;

/// The variable that names a directory of files `SYMBOL.csv` with whole histories.
pub const DIRECTORY_VARIABLE: &str = "CACHE_MARKET_DIR";

/// Daily bars of some symbols.
///
/// As a source it knows a bar under `AAPL:2012-06-01`, and a symbol's latest bar under `AAPL`.
#[derive(Clone, Debug)]
pub struct Market {
    bars: Vec<Bar>,
    /// Places in `bars`.
    places: HashMap<String, usize>,
    origin: String,
}

/// One line of a CSV file. Its other columns are left out.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    ticker: String,
    date: String,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: u64,
}

impl Market {
    /// The histories in the directory that `CACHE_MARKET_DIR` names, or else the shipped sample.
    ///
    /// # Errors
    ///
    /// As [`from_directory`](Self::from_directory).
    pub fn from_environment() -> Result<Self> {
        match std::env::var_os(DIRECTORY_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::from_directory(path.as_ref())
                .with_context(|| format!("correct {DIRECTORY_VARIABLE}, or unset it")),
            None => Self::shipped(),
        }
    }

    /// The sample that `cache-warmer` brings along: a year of five shares.
    ///
    /// # Errors
    ///
    /// The sample is broken: a bug.
    pub fn shipped() -> Result<Self> {
        let bars = read(sample::prices_csv().as_bytes()).context("the shipped sample")?;
        let origin = format!("{} daily bars, the shipped sample", bars.len());
        Self::new(bars, origin)
    }

    /// Every file `SYMBOL.csv` of a directory, with the columns `Ticker`, `Date` (ISO 8601), `Open`,
    /// `High`, `Low`, `Close` and `Volume`.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, a column is missing, a number is none, or there are
    /// no bars.
    pub fn from_directory(path: &Path) -> Result<Self> {
        let entries = fs::read_dir(path).with_context(|| format!("cannot read {path:?}"))?;
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.with_context(|| format!("cannot read {path:?}"))?.path();
            if file.extension().is_some_and(|extension| extension == "csv") {
                files.push(file);
            }
        }
        // In an order that does not depend on the file system.
        files.sort();
        let mut bars = Vec::new();
        for file in &files {
            let text = fs::read(file).with_context(|| format!("cannot read {file:?}"))?;
            bars.extend(read(&text).with_context(|| format!("{file:?}"))?);
        }
        let origin = format!("{} daily bars of {} files", bars.len(), files.len());
        Self::new(bars, origin).with_context(|| format!("{path:?}"))
    }

    fn new(bars: Vec<Bar>, origin: String) -> Result<Self> {
        ensure!(!bars.is_empty(), "there are no bars");
        let mut places = HashMap::with_capacity(bars.len());
        let mut latest: HashMap<&str, usize> = HashMap::new();
        for (place, bar) in bars.iter().enumerate() {
            if places.insert(bar.key(), place).is_some() {
                bail!("`{}` is there twice", bar.key());
            }
            // ISO dates are in the order of their texts.
            let last = latest.entry(&bar.symbol).or_insert(place);
            if bars[*last].date < bar.date {
                *last = place;
            }
        }
        places.extend(latest.into_iter().map(|(symbol, place)| (symbol.to_owned(), place)));
        Ok(Self { bars, places, origin })
    }

    /// All bars, in the order of their files.
    #[must_use]
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// What they are, for a report.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `count` bars, spread evenly over all symbols and days.
    ///
    /// # Errors
    ///
    /// There are fewer.
    pub fn sample(&self, count: usize) -> Result<Vec<Bar>> {
        let all = self.bars.len();
        ensure!(count <= all, "{count} bars are needed, and there are {all}");
        Ok((0..count).map(|i| self.bars[i * all / count].clone()).collect())
    }

    /// The bar under `key`, if there is one.
    #[must_use]
    pub fn bar(&self, key: &str) -> Option<&Bar> {
        self.places.get(key).map(|place| &self.bars[*place])
    }
}

#[async_trait]
impl Source<Bar> for Market {
    async fn load(&self, key: &str) -> Answer<Bar> {
        Ok(self.bar(key).cloned().map(Item::new))
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<Bar>> {
        keys.iter().map(|key| Ok(self.bar(key).cloned().map(Item::new))).collect()
    }

    fn batch_len_max(&self) -> usize {
        BATCH_LEN_MAX
    }
}

fn read(csv: &[u8]) -> Result<Vec<Bar>> {
    let mut bars = Vec::new();
    for row in csv::Reader::from_reader(csv).into_deserialize() {
        let Row { ticker, date, open, high, low, close, volume } = row?;
        bars.push(Bar { symbol: ticker, date, open, high, low, close, volume, revision: 0 });
    }
    Ok(bars)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_shipped_sample_has_bars_enough_for_every_scenario() {
        let market = Market::shipped().unwrap();
        for scenario in crate::scenario::SCENARIOS {
            let bars = market.sample(scenario.keys).unwrap();
            let keys: HashSet<String> = bars.iter().map(Bar::key).collect();
            let symbols: HashSet<&str> = bars.iter().map(|bar| bar.symbol.as_str()).collect();
            assert_eq!((keys.len(), symbols.len()), (scenario.keys, 5));
        }
        assert!(market.sample(market.bars().len() + 1).is_err());
    }

    #[tokio::test]
    async fn as_a_source_it_knows_a_day_and_the_latest_day() {
        let market = Market::shipped().unwrap();
        let keys = ["AAPL:2012-06-01", "AAPL", "TSLA"].map(str::to_owned);
        let answers = market.load_many(&keys).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Some(_)))).count(), 2);
        assert_eq!(market.bar("AAPL:2012-06-01").unwrap().close, 560.99);
        assert_eq!(market.bar("AAPL").unwrap().date, "2013-03-01");
        assert!(market.load("TSLA").await.unwrap().is_none());
    }

    #[test]
    fn a_directory_of_histories_is_read_and_a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        assert!(Market::from_directory(directory.path()).is_err(), "empty");

        write("A.csv", "Ticker,Date,Open,High,Low,Close,Volume\nA,2020-01-02,1,2,0.5,1.5,10\n");
        write("notes.txt", "not a table");
        let market = Market::from_directory(directory.path()).unwrap();
        assert_eq!((market.bars().len(), market.bar("A").unwrap().high), (1, 2.0));
        assert_eq!(market.origin(), "1 daily bars of 1 files");

        for broken in [
            "Ticker,Date\nB,2020-01-02\n",
            "Ticker,Date,Open,High,Low,Close,Volume\nB,2020-01-02,x,2,1,1,1\n",
        ] {
            write("B.csv", broken);
            let error = Market::from_directory(directory.path()).unwrap_err();
            assert!(format!("{error:#}").contains("B.csv"), "{error:#}");
        }
    }
}
