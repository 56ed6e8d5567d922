//! A file as a source of keys.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use cache_core::{ByteSize, Error, ErrorKind, Result};

use super::{Candidate, KeySource};
use crate::files;

/// The largest file of keys.
const FILE_LEN_MAX: ByteSize = ByteSize::mib(64);

/// A file of keys, one a line, read anew for each plan.
///
/// A line has a key, and behind tabs, as far as they are known: its expected hits within an hour,
/// milliseconds of its load, and bytes of its value. A key without hits is expected to be read as
/// often as [`hits_an_hour`](Self::hits_an_hour) says. Blank lines and lines that begin with `#` are
/// left out.
#[derive(Clone, Debug)]
pub struct FileKeys {
    path: PathBuf,
    name: String,
    hits_an_hour: f64,
}

impl FileKeys {
    /// The file at `path`, of at most 64 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: format!("file {}", path.display()), path, hits_an_hour: 1.0 }
    }

    /// Says how often a key is read within an hour whose line does not tell. 1 unless set.
    #[must_use]
    pub fn hits_an_hour(self, hits: f64) -> Self {
        Self { hits_an_hour: hits, ..self }
    }

    fn parse(&self, text: &str, max: usize) -> Result<Vec<Candidate>> {
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let lines = lines.map(|(i, line)| (i, line.trim()));
        let mut found = Vec::new();
        for (i, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let candidate = self.candidate(line).map_err(|column| {
                Error::new(
                    ErrorKind::Config,
                    format!("{}, line {}: `{column}` is no number of 0 or more", self.name, i + 1),
                )
                .hint("write a key, or a key, its hits an hour, milliseconds of its load and bytes, with tabs between them")
            })?;
            found.push(candidate);
        }
        found.sort_by(|a, b| b.expected_hits.total_cmp(&a.expected_hits));
        found.truncate(max);
        Ok(found)
    }

    fn candidate<'l>(&self, line: &'l str) -> Result<Candidate, &'l str> {
        let mut columns = line.split('\t').map(str::trim);
        let key = columns.next().unwrap_or_default();
        let mut number = || match columns.next().filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
                _ => Err(text),
            },
        };
        let (hits, load_ms, bytes) = (number()?, number()?, number()?);
        Ok(Candidate {
            load_cost: load_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()),
            // A cast of a number that is too large gives the largest.
            size: bytes.map(|bytes| bytes as u64),
            ..Candidate::new(key, hits.unwrap_or(self.hits_an_hour))
        })
    }
}

#[async_trait]
impl KeySource for FileKeys {
    fn name(&self) -> &str {
        &self.name
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        let path = self.path.clone();
        let read = move || files::read("the file of keys", &path, FILE_LEN_MAX);
        let bytes = tokio::task::spawn_blocking(read).await.map_err(|error| {
            Error::new(ErrorKind::Internal, format!("reading {} failed: {error}", self.name))
        })??;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::new(ErrorKind::Config, format!("{} is not UTF-8", self.name))
                .hint("save it as UTF-8")
        })?;
        self.parse(&text, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_tells_as_much_as_is_known_and_the_most_read_come_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.txt");
        std::fs::write(&path, "# hot\nIBM\nAAPL\t120\t300\t2048\n\nMSFT\t\t50\n").unwrap();
        let keys = FileKeys::new(&path).hits_an_hour(2.0).candidates(9).await.unwrap();
        let aapl = Candidate::new("AAPL", 120.0).load_cost(Duration::from_millis(300)).size(2_048);
        let msft = Candidate::new("MSFT", 2.0).load_cost(Duration::from_millis(50));
        assert_eq!(keys, [aapl, Candidate::new("IBM", 2.0), msft]);
        assert_eq!(FileKeys::new(&path).candidates(1).await.unwrap()[0].key, "AAPL");
    }

    #[tokio::test]
    async fn a_bad_number_is_named_by_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.txt");
        for bad in ["often", "-1", "NaN", "inf"] {
            std::fs::write(&path, format!("IBM\nAAPL\t{bad}\n")).unwrap();
            let error = FileKeys::new(&path).candidates(9).await.unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(bad), "{error}");
        }
    }
}
