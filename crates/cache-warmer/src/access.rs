//! A plan from what was read.

use std::{cmp::Reverse, collections::HashMap, fs::File, io::BufReader, path::Path};

use cache_core::{AccessLogReader, Error, ErrorKind, KeyForm, Result};

use crate::plan::{PLAN_LEN_MAX, Plan};

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
    let mut reader = AccessLogReader::new(source)?;
    if reader.keys() != KeyForm::Plain {
        return Err(Error::new(ErrorKind::Config, "it has hashes in place of keys")
            .hint("record with `cache-cli record on DIRECTORY --plain-keys`"));
    }
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
    }

    #[tokio::test]
    async fn a_log_without_keys_says_how_to_get_one() {
        let home = tempfile::tempdir().unwrap();
        let path = log(home.path(), KeyForm::Hashed).await;
        let error = Plan::from_access_log(&path, "price").unwrap_err().to_string();
        assert!(error.contains("--plain-keys") && error.contains("access.log"), "{error}");
        let error = Plan::from_access_log("none.log", "price").unwrap_err().to_string();
        assert!(error.contains("none.log"), "{error}");
    }
}
