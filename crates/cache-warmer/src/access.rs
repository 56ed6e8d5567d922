//! A plan from what was read.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{
    AccessLogReader, AccessRecord, Error, ErrorKind, KeyForm, Result, Timestamp, Ttl,
};

use jiff::tz::TimeZone;

use crate::{
    calendar::time_zone,
    keys::{Candidate, KeySource},
    learn::{Profiles, Season},
    plan::{PLAN_LEN_MAX, Plan},
};

/// Of so many keys the habits are kept, of which each takes 224 bytes: of more, those that were read
/// lately.
const USUAL_KEYS_MAX: usize = 100_000;

impl Plan {
    /// The keys of a namespace in an access log, those first that were read most. The log must have
    /// been recorded with its keys ([`KeyForm::Plain`]). A log that is torn is read up to there, and
    /// of more than [`PLAN_LEN_MAX`] keys those count that came first. It blocks.
    ///
    /// # Errors
    ///
    /// With the file: [`ErrorKind::Config`] when it cannot be read or has hashes in place of keys,
    /// and [`ErrorKind::Incompatible`] when it is no access log.
    pub fn from_access_log(path: impl AsRef<Path>, namespace: &str) -> Result<Self> {
        let path = path.as_ref();
        let name = format!("the access log `{}`", path.display());
        let file = File::open(path).map_err(|error| {
            Error::new(ErrorKind::Config, format!("cannot read {name}: {error}"))
                .hint("check its name and its permissions")
                .caused_by(error)
        })?;
        read(BufReader::new(file), namespace).map_err(|error| error.context(name))
    }
}

fn read(source: impl std::io::Read, namespace: &str) -> Result<Plan> {
    let mut reader = keyed(source)?;
    // With the place of the first read, so that equals keep their order in each run.
    let mut reads: HashMap<Box<str>, (u64, usize)> = HashMap::new();
    while let Some(records) = reader.next_block()? {
        for key in records.into_iter().filter_map(|record| record.key) {
            let Some(text) = in_namespace(&key, namespace) else { continue };
            let place = reads.len();
            match reads.get_mut(text) {
                Some((count, _)) => *count += 1,
                None if place < PLAN_LEN_MAX => drop(reads.insert(text.into(), (1, place))),
                None => {}
            }
        }
    }
    let mut keys: Vec<_> = reads.into_iter().collect();
    keys.sort_unstable_by_key(|(_, (count, place))| (Reverse(*count), *place));
    Plan::new(keys.into_iter().map(|(key, _)| String::from(key)))
}

/// An access log with its keys as a source: what was read of a namespace within it, an hour.
///
/// What a load takes, what a value takes and how long it lives is known from the log too. Of more
/// than [`PLAN_LEN_MAX`] keys those count that came first.
#[derive(Clone, Debug)]
pub struct AccessLogKeys {
    path: PathBuf,
    namespace: String,
    name: String,
    usual: Option<Usual>,
}

/// A time whose habits count.
#[derive(Clone, Debug)]
struct Usual {
    at: Timestamp,
    zone: TimeZone,
}

impl AccessLogKeys {
    /// The keys of `namespace` in the log at `path`, which is read anew for each plan.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, namespace: impl Into<String>) -> Self {
        let path = path.into();
        let name = format!("access log {}", path.display());
        Self { path, namespace: namespace.into(), name, usual: None }
    }

    /// Names only the keys that are usually read at the time of day of `at`, more or less by the day
    /// of the week, in the IANA time zone `zone`, and expects them as often as they were read then:
    /// as [`Learner::seasonal`](crate::Learner::seasonal), of what a log has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for what is no zone.
    pub fn usual_at(self, at: Timestamp, zone: &str) -> Result<Self> {
        Ok(Self { usual: Some(Usual { at, zone: time_zone(zone)? }), ..self })
    }
}

#[async_trait]
impl KeySource for AccessLogKeys {
    fn name(&self) -> &str {
        &self.name
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        let (path, namespace) = (self.path.clone(), self.namespace.clone());
        let usual = self.usual.clone();
        let count = move || count(BufReader::new(open(&path)?), &namespace, usual);
        let counted = tokio::task::spawn_blocking(count).await.map_err(|error| {
            Error::new(ErrorKind::Internal, format!("reading {} failed: {error}", self.name))
        })?;
        let mut found = counted.map_err(|error| error.context(self.name.clone()))?;
        found.sort_by(|a, b| {
            b.expected_hits.total_cmp(&a.expected_hits).then_with(|| a.key.cmp(&b.key))
        });
        found.truncate(max);
        Ok(found)
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        Error::new(ErrorKind::Config, format!("cannot be read: {error}"))
            .hint("check its name and its permissions")
            .caused_by(error)
    })
}

fn count(
    source: impl std::io::Read,
    namespace: &str,
    usual: Option<Usual>,
) -> Result<Vec<Candidate>> {
    let mut reader = keyed(source)?;
    let mut profiles =
        usual.as_ref().map(|usual| Profiles::new(USUAL_KEYS_MAX, usual.zone.clone()));
    let mut counts: HashMap<String, Candidate> = HashMap::new();
    let (mut first, mut last) = (Timestamp::MAX, Timestamp::default());
    while let Some(records) = reader.next_block()? {
        for AccessRecord { key, time, size, ttl_ms, load_cost_us, .. } in records {
            (first, last) = (first.min(time), last.max(time));
            let Some(text) = key.as_deref().and_then(|key| in_namespace(key, namespace)) else {
                continue;
            };
            if counts.len() >= PLAN_LEN_MAX && !counts.contains_key(text) {
                continue;
            }
            let fresh = || Candidate::new(text, 0.0);
            let one = counts.entry(text.to_owned()).or_insert_with(fresh);
            one.expected_hits += 1.0;
            if let Some(profiles) = &mut profiles {
                profiles.note(text, time);
            }
            if size > 0 {
                one.size = Some(size.into());
            }
            if ttl_ms > 0 {
                one.ttl = Some(Ttl::fresh(Duration::from_millis(ttl_ms.into())));
            }
            if load_cost_us > 0 {
                one.load_cost = Some(Duration::from_micros(load_cost_us.into()));
            }
        }
    }
    if let Some((profiles, usual)) = profiles.zip(usual) {
        let seasons = profiles.expected(USUAL_KEYS_MAX, usual.at).into_iter();
        let known = seasons.filter_map(|Season { key, reads_an_hour }| {
            Some(Candidate { expected_hits: reads_an_hour, ..counts.remove(&*key)? })
        });
        return Ok(known.collect());
    }
    // A few reads of one moment are not thousands an hour.
    let hours = last.since(first).as_secs_f64().max(60.0) / 3_600.0;
    let an_hour = |one: Candidate| Candidate { expected_hits: one.expected_hits / hours, ..one };
    Ok(counts.into_values().map(an_hour).collect())
}

/// A log, unless it has hashes in place of keys.
fn keyed<R: std::io::Read>(source: R) -> Result<AccessLogReader<R>> {
    let reader = AccessLogReader::new(source)?;
    if reader.keys() != KeyForm::Plain {
        return Err(Error::new(ErrorKind::Config, "it has hashes in place of keys")
            .hint("record with `cache-cli record on DIRECTORY --plain-keys`"));
    }
    Ok(reader)
}

fn in_namespace<'k>(key: &'k str, namespace: &str) -> Option<&'k str> {
    key.strip_prefix(namespace)?.strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::{AccessLog, AccessLogConfig, Cache, ManualClock, Recording};

    use super::*;

    async fn log(directory: &Path, keys: KeyForm) -> std::path::PathBuf {
        let config = AccessLogConfig {
            sample: 1.0,
            keys,
            recording: Recording::Always,
            ..AccessLogConfig::new(directory)
        };
        let log = AccessLog::open(config, Arc::new(ManualClock::new())).unwrap();
        for (namespace, reads) in [("price", "ABBCCCA"), ("pricey", "ZZZZZ")] {
            let builder = Cache::<u64>::builder(namespace).access_log(log.clone());
            let cache = builder.build().unwrap();
            for key in reads.chars() {
                cache.get(&key.to_string()).await.unwrap();
            }
        }
        directory.join("access.log")
    }

    #[tokio::test]
    async fn what_was_read_most_is_warmed_first() {
        let home = tempfile::tempdir().unwrap();
        let path = log(home.path(), KeyForm::Plain).await;
        let plan = Plan::from_access_log(&path, "price").unwrap();
        assert_eq!(plan.keys(), ["C", "A", "B"]);
        assert!(Plan::from_access_log(&path, "news").unwrap().is_empty());
        let keys = AccessLogKeys::new(&path, "price").candidates(2).await.unwrap();
        assert_eq!(keys, [Candidate::new("C", 180.0), Candidate::new("A", 120.0)]);
    }

    #[tokio::test]
    async fn of_a_log_those_keys_are_named_that_are_usually_read_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let config = AccessLogConfig {
            sample: 1.0,
            keys: KeyForm::Plain,
            recording: Recording::Always,
            ..AccessLogConfig::new(home.path())
        };
        let clock = ManualClock::new();
        let log = AccessLog::open(config, Arc::new(clock.clone())).unwrap();
        let builder = Cache::<u64>::builder("price").access_log(log);
        let cache = builder.clock(Arc::new(clock.clone())).build().unwrap();
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        let began = cache_core::Clock::now(&clock);
        for key in ["open", "open", "close"].into_iter().cycle().take(6) {
            cache.get(key).await.unwrap();
            clock.advance(if key == "close" { hours(17) } else { hours(7) / 2 });
        }
        // The log is written to its end with the last of its users.
        drop(cache);
        let path = home.path().join("access.log");
        let named = async |after: u64| {
            let at = began.after(hours(48 + after));
            let keys = AccessLogKeys::new(&path, "price").usual_at(at, "UTC").unwrap();
            let keys = keys.candidates(9).await.unwrap();
            keys.into_iter().map(|candidate| candidate.key).collect::<Vec<_>>()
        };
        assert_eq!(named(0).await, ["open"]);
        assert_eq!(named(7).await, ["close"]);
        assert!(AccessLogKeys::new(&path, "price").usual_at(began, "Nowhere").is_err());
    }

    #[tokio::test]
    async fn a_log_without_keys_says_how_to_get_one() {
        let home = tempfile::tempdir().unwrap();
        let path = log(home.path(), KeyForm::Hashed).await;
        let error = Plan::from_access_log(&path, "price").unwrap_err().to_string();
        assert!(error.contains("--plain-keys") && error.contains("access.log"), "{error}");
        let keys = AccessLogKeys::new(&path, "price");
        let error = keys.candidates(9).await.unwrap_err().to_string();
        assert!(error.contains("--plain-keys") && error.contains("access.log"), "{error}");
        let error = Plan::from_access_log("none.log", "price").unwrap_err().to_string();
        assert!(error.contains("none.log"), "{error}");
    }
}
