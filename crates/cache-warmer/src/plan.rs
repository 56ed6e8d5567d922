//! What to warm, and what of it is due.

use std::{collections::HashSet, ops::Range, path::Path, sync::Arc, time::Duration};

use cache_core::{ByteSize, Error, ErrorKind, Hit, Namespace, Result};

use crate::{config::WarmerConfig, files, market::SYMBOLS};

/// The most keys that a plan may name.
pub const PLAN_LEN_MAX: usize = 1_000_000;

/// The largest file of keys.
const FILE_LEN_MAX: ByteSize = ByteSize::mib(64);

/// The keys to warm, each once, in the order in which they are loaded. Cheap to clone.
///
/// # Examples
///
/// ```
/// use cache_warmer::Plan;
///
/// let plan = Plan::new(["IBM", "AAPL", "IBM"])?.and(&Plan::market())?;
/// assert_eq!(plan.keys()[..3], ["IBM", "AAPL", "MSFT"]);
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    keys: Arc<[String]>,
}

impl Plan {
    /// These keys. One that was named before is left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for a key that no cache accepts, and [`ErrorKind::TooLarge`] for
    /// more than [`PLAN_LEN_MAX`].
    pub fn new<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Result<Self> {
        let keys = keys.into_iter().enumerate();
        collect(keys.map(|(i, key)| (key.into(), format!("key {} of the plan", i + 1))))
    }

    /// The symbols of the market preset, [`SYMBOLS`].
    #[must_use]
    pub fn market() -> Self {
        Self { keys: SYMBOLS.iter().map(|symbol| symbol.key.to_owned()).collect() }
    }

    /// One key a line. Blank lines, blanks around keys, and lines that begin with `#` are left out.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), with the line.
    pub fn from_text(text: &str) -> Result<Self> {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        collect(keys.map(|(i, key)| (key.to_owned(), format!("line {}", i + 1))))
    }

    /// A file of keys, as [`from_text`](Self::from_text) reads them, of at most 64 MiB. It blocks.
    ///
    /// # Errors
    ///
    /// As `from_text`, and [`ErrorKind::Config`] when the file cannot be read or is not UTF-8.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read("the file of keys", path, FILE_LEN_MAX)?;
        let name = format!("file of keys `{}`", path.display());
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let line = e.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::new(ErrorKind::Config, format!("{name}, line {line}: it is not UTF-8"))
                .hint("save it as UTF-8")
        })?;
        Self::from_text(&text).map_err(|error| error.context(name))
    }

    /// The keys of this plan, then those of `other`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more than [`PLAN_LEN_MAX`].
    pub fn and(&self, other: &Self) -> Result<Self> {
        Self::new(self.keys.iter().chain(&*other.keys))
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// How many keys it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Some of its keys, by their places.
    pub(crate) fn pick(&self, places: &[usize]) -> Self {
        Self { keys: places.iter().map(|place| self.keys[*place].clone()).collect() }
    }

    /// The places of its keys, `len` at a time.
    pub(crate) fn batches(&self, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let all = self.len();
        (0..all).step_by(len).map(move |from| from..all.min(from + len))
    }
}

/// Checks keys that come with the words for where they are from.
fn collect(keys: impl Iterator<Item = (String, String)>) -> Result<Plan> {
    // Whether a text may be a key does not depend on the namespace.
    let namespace = Namespace::new("plan").expect("a short word is a namespace");
    let mut known = HashSet::new();
    let mut unique = Vec::new();
    for (key, place) in keys {
        namespace.key(&key).map_err(|error| error.context(place))?;
        if known.contains(&key) {
            continue;
        }
        if unique.len() == PLAN_LEN_MAX {
            let message = format!("the plan names more than {PLAN_LEN_MAX} keys");
            return Err(Error::new(ErrorKind::TooLarge, message).hint("warm it in parts"));
        }
        known.insert(key.clone());
        unique.push(key);
    }
    Ok(Plan { keys: unique.into() })
}

/// Where the value under a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) age: Duration,
    pub(crate) fresh_for: Duration,
}

impl Life {
    pub(crate) fn of<V>(hit: &Hit<V>) -> Self {
        Self { age: hit.age(), fresh_for: hit.fresh_for() }
    }

    /// How long until the key is due: until its fresh time is shorter than the lead. Zero: it is.
    pub(crate) fn due_in(self, config: &WarmerConfig) -> Duration {
        let lead = config.lead(self.age.saturating_add(self.fresh_for));
        self.fresh_for.saturating_sub(lead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_keeps_the_order_and_names_no_key_twice() {
        let plan = Plan::new(["b", "a", "b"]).unwrap();
        assert_eq!(plan.keys(), ["b", "a"]);
        assert_eq!(plan.and(&Plan::new(["c", "a"]).unwrap()).unwrap().keys(), ["b", "a", "c"]);
        assert_eq!(Plan::market().len(), SYMBOLS.len());
    }

    #[test]
    fn a_text_of_keys_has_one_a_line() {
        let plan = Plan::from_text("\u{feff}# shares\nAAPL\r\n\n  MSFT \nAAPL").unwrap();
        assert_eq!(plan.keys(), ["AAPL", "MSFT"]);
        assert!(Plan::from_text("").unwrap().is_empty());
    }

    #[test]
    fn a_bad_key_is_named_by_its_place() {
        let error = Plan::new(["a", ""]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert!(error.to_string().contains("key 2 of the plan"), "{error}");
        let error = Plan::from_text(&format!("a\n\n{}", "x".repeat(600))).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_or_not_text_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.txt");
        let error = Plan::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("keys.txt"), "{error}");
        std::fs::write(&path, b"AAPL\n\xff\xfe\n").unwrap();
        let error = Plan::from_file(&path).unwrap_err();
        assert!(error.to_string().contains("keys.txt`, line 2: it is not UTF-8"), "{error}");
        std::fs::write(&path, "AAPL\n").unwrap();
        assert_eq!(Plan::from_file(&path).unwrap().keys(), ["AAPL"]);
    }

    #[test]
    fn batches_cover_the_plan() {
        let plan = Plan::new((0..7).map(|i| i.to_string())).unwrap();
        assert_eq!(plan.batches(3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert_eq!(plan.pick(&[6, 0]).keys(), ["6", "0"]);
        assert_eq!(Plan::new(Vec::<String>::new()).unwrap().batches(3).count(), 0);
    }

    #[test]
    fn a_key_is_due_when_its_fresh_time_is_shorter_than_the_lead() {
        let config = WarmerConfig::default();
        let due_in_ms = |age: u64, fresh_for: u64| {
            let [age, fresh_for] = [age, fresh_for].map(Duration::from_millis);
            Life { age, fresh_for }.due_in(&config).as_millis()
        };
        assert_eq!(due_in_ms(0, 10_000), 7_000);
        assert_eq!(due_in_ms(6_999, 3_001), 1);
        assert_eq!(due_in_ms(7_000, 3_000), 0);
        assert_eq!(due_in_ms(12_000, 0), 0, "a stale value is due");
        assert_eq!(due_in_ms(0, 4_000), 2_000, "not at once, though the lead is 3 s");
    }
}
