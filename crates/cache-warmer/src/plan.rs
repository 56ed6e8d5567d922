//! What to warm, and what of it is due.

use std::{collections::HashSet, fmt, ops::Range, path::Path, sync::Arc, time::Duration};

use cache_core::{ByteSize, Error, ErrorKind, Hit, Namespace, Result, Table};

use crate::{
    config::WarmerConfig,
    files,
    keys::{self, Budget, KeySource, PlanCost, SourceShare, Worth},
    market::SYMBOLS,
};

/// The most keys that a plan may name.
pub const PLAN_LEN_MAX: usize = 1_000_000;

/// How many keys are shown.
const SHOWN_MAX: usize = 20;

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
#[derive(Clone, Debug)]
pub struct Plan {
    name: Option<Arc<str>>,
    keys: Arc<[String]>,
    /// By place, why a key is there; nothing for keys that somebody just named.
    worth: Option<Arc<[Worth]>>,
    shares: Arc<[SourceShare]>,
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
        Self::named(SYMBOLS.iter().map(|symbol| symbol.key.to_owned()).collect())
    }

    /// What `sources` name, ranked by value (expected hits × load cost / size) and cut at `budget`.
    ///
    /// A key that several sources name is there once, with the largest expectation and the source
    /// that has it as its origin. A source that fails costs the plan its keys alone:
    /// [`shares`](Self::shares) tells why.
    ///
    /// # Errors
    ///
    /// That of the first source, where all of them fail.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives the questions up.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cache_warmer::{Budget, DataKind, KeySource, Plan, PresetKeys};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> cache_core::Result<()> {
    /// let preset: Arc<dyn KeySource> = Arc::new(PresetKeys::new(DataKind::Price));
    /// let plan = Plan::from_sources(&[preset], Budget::keys(10)).await?;
    /// assert_eq!((plan.len(), plan.keys()[0].as_str()), (10, "AAPL"));
    /// assert_eq!(plan.cost().loads_an_hour, 3_600.0, "ten prices of 10 s each");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_sources(sources: &[Arc<dyn KeySource>], budget: Budget) -> Result<Self> {
        let (ranked, shares) = keys::rank(sources, budget).await?;
        let (keys, worth): (Vec<_>, Vec<_>) = ranked.into_iter().unzip();
        let (worth, shares) = (Some(worth.into()), shares.into());
        Ok(Self { name: None, keys: keys.into(), worth, shares })
    }

    fn named(keys: Arc<[String]>) -> Self {
        Self { name: None, keys, worth: None, shares: Arc::default() }
    }

    /// Gives it a name, under which [`Warmer::stats`](crate::Warmer::stats) tells what its runs did
    /// and what came of it.
    #[must_use]
    pub fn called(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// What it is called: `unnamed` unless somebody has given it a name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed")
    }

    pub(crate) fn called_unless_named(self, name: &str) -> Self {
        if self.name.is_some() { self } else { self.called(name) }
    }

    /// Why the key at `place` is in the plan; nothing where it was just named.
    #[must_use]
    pub fn worth(&self, place: usize) -> Option<&Worth> {
        self.worth.as_ref()?.get(place)
    }

    /// Which source is the origin of the key at `place`.
    pub(crate) fn origin(&self, place: usize) -> Option<&Arc<str>> {
        Some(&self.worth(place)?.origin)
    }

    /// What became of the candidates of each source; none for keys that were just named.
    #[must_use]
    pub fn shares(&self) -> &[SourceShare] {
        &self.shares
    }

    /// What the plan costs. Of keys that were just named only their number is known.
    #[must_use]
    pub fn cost(&self) -> PlanCost {
        let start = PlanCost { keys: self.len(), ..PlanCost::default() };
        self.worth.iter().flat_map(|worth| worth.iter()).fold(start, |cost, worth| PlanCost {
            keys: cost.keys,
            bytes: cost.bytes.saturating_add(worth.size),
            load_time: cost.load_time.saturating_add(worth.load_cost),
            loads_an_hour: cost.loads_an_hour
                + worth.ttl.map_or(0.0, |ttl| 3_600.0 / ttl.fresh.as_secs_f64().max(0.001)),
            expected_hits: cost.expected_hits + worth.expected_hits,
        })
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

    /// The keys of this plan, then those of `other`, as keys that were just named, in a plan without
    /// a name.
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
        let worth = self.worth.as_ref();
        Self {
            name: self.name.clone(),
            keys: places.iter().map(|place| self.keys[*place].clone()).collect(),
            worth: worth.map(|worth| places.iter().map(|place| worth[*place].clone()).collect()),
            shares: Arc::clone(&self.shares),
        }
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
    Ok(Plan::named(unique.into()))
}

/// A table: what the plan costs, which source named how much of it, and its first keys.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanCost { keys, bytes, load_time, loads_an_hour, expected_hits } = self.cost();
        writeln!(f, "{keys} keys")?;
        let Some(worth) = &self.worth else { return Ok(()) };
        writeln!(
            f,
            "{}, {load_time:.1?} of loading, {loads_an_hour:.0} loads an hour to keep them, \
             {expected_hits:.0} hits expected an hour",
            ByteSize::bytes(bytes),
        )?;
        for SourceShare { name, candidates, planned, refused, error } in &*self.shares {
            write!(f, "{name}: {planned} planned of {candidates} named")?;
            if *refused > 0 {
                write!(f, ", {refused} refused")?;
            }
            match error {
                Some(error) => writeln!(f, "; it failed: {error}")?,
                None => writeln!(f)?,
            }
        }
        let mut table = Table::new(["key", "origin", "value", "hits/h", "load", "bytes"]);
        for (key, worth) in self.keys.iter().zip(&**worth).take(SHOWN_MAX) {
            table.row([
                key.clone(),
                worth.origin.to_string(),
                format!("{:.3}", worth.value),
                format!("{:.1}", worth.expected_hits),
                format!("{:.1?}", worth.load_cost),
                worth.size.to_string(),
            ]);
        }
        write!(f, "{table}")
    }
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
    use crate::keys::Candidate;

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

    #[derive(Debug)]
    struct Known(&'static str, Result<Vec<Candidate>>);

    #[async_trait::async_trait]
    impl KeySource for Known {
        fn name(&self) -> &str {
            self.0
        }

        async fn candidates(&self, _max: usize) -> Result<Vec<Candidate>> {
            self.1.clone()
        }
    }

    #[tokio::test]
    async fn sources_are_ranked_by_hits_times_load_cost_over_size() {
        let ms = Duration::from_millis;
        let log = vec![
            Candidate::new("slow", 10.0).load_cost(ms(4_000)).size(1_024),
            Candidate::new("large", 100.0).load_cost(ms(1_000)).size(102_400),
            Candidate::new("both", 5.0).load_cost(ms(1_000)).size(1_024),
        ];
        let learned = vec![Candidate::new("both", 20.0), Candidate::new("", 9.0)];
        let broken = Error::new(ErrorKind::Unavailable, "no server");
        let sources: [Arc<dyn KeySource>; 3] = [
            Arc::new(Known("log", Ok(log))),
            Arc::new(Known("learned", Ok(learned))),
            Arc::new(Known("sql", Err(broken))),
        ];
        let plan = Plan::from_sources(&sources, Budget::keys(3)).await.unwrap();
        assert_eq!(plan.keys(), ["slow", "both", "large"]);
        let both = plan.worth(1).unwrap();
        assert_eq!((&*both.origin, both.expected_hits, both.value), ("learned", 20.0, 20.0));
        assert_eq!(plan.worth(2).unwrap().value, 1.0);
        let shares: Vec<_> =
            plan.shares().iter().map(|share| (share.planned, share.refused)).collect();
        assert_eq!(shares, [(2, 0), (1, 1), (0, 0)]);
        let text = plan.to_string();
        assert!(text.contains("no server") && text.contains("learned: 1 planned of 2"), "{text}");

        let small = Plan::from_sources(&sources, Budget::keys(9).bytes(2_048)).await.unwrap();
        assert_eq!(small.keys(), ["slow", "both"]);
        assert_eq!(small.cost().load_time, ms(5_000));
        let none = Plan::from_sources(&sources[2..], Budget::keys(9)).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::Unavailable);
        assert_eq!(small.pick(&[1]).worth(0).unwrap().origin, both.origin);
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
