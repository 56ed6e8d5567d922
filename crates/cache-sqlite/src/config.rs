//! The settings of the SQLite tier.

use std::path::PathBuf;

use cache_core::{ByteSize, Error, ErrorKind, Eviction, Result, Span, TTL_MAX};
use serde::{Deserialize, Serialize};

/// The write-ahead log may always become this long.
const LOG_LEN_MIN: ByteSize = ByteSize::mib(4);

/// How many notices the log keeps in a file that is large enough.
const NOTICES_MAX: u64 = 16_384;

/// For how many bytes of the file there is one notice, which takes about 80 of them.
const NOTICE_SHARE_BYTES: u64 = 2_048;

/// The settings of a [`SqliteTier`](crate::SqliteTier).
///
/// # Examples
///
/// ```
/// use cache_core::{ByteSize, Span};
/// use cache_sqlite::SqliteConfig;
///
/// let config = SqliteConfig {
///     bytes_max: ByteSize::mib(64),
///     fence_retention: Span::secs(120),
///     ..SqliteConfig::new("/var/cache/prices/cache.sqlite")
/// };
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The file. It and its directory are made when they are not there. On a disk of this machine:
    /// SQLite's write-ahead log does not work over a network.
    pub path: PathBuf,
    /// The tier's name in statistics, errors and results.
    #[serde(default = "default::name")]
    pub name: String,
    /// How much room the file's used pages may take; above seven eighths of it values give way. The
    /// write-ahead log beside it takes a sixteenth of this more, 4 MiB at least.
    #[serde(default = "default::bytes_max")]
    pub bytes_max: ByteSize,
    /// How many values there may be; above it they give way until 95 % are left. Nothing: as many
    /// as `bytes_max` has room for.
    #[serde(default)]
    pub entries_max: Option<u64>,
    /// Which values give way. `fifo` and `ttl` are followed to the letter. `random` takes runs of
    /// neighbours. The others choose among those that came first, by what was noted of reads: `lru`,
    /// `lfu` and `lfu-aging` (as which `w-tinylfu` counts) take the lower half of such a window;
    /// `s3-fifo`, `sieve` and `arc` take what was not read since it came, and give the rest a second
    /// chance.
    #[serde(default)]
    pub eviction: Eviction,
    /// How long a call waits while another process holds the file.
    #[serde(default = "default::busy_timeout")]
    pub busy_timeout: Span,
    /// What a power cut may take.
    #[serde(default)]
    pub durability: SqliteDurability,
    /// How long a removal or an insert is remembered at least. No load may take longer.
    #[serde(default = "default::fence_retention")]
    pub fence_retention: Span,
    /// How often expired entries are swept out.
    #[serde(default = "default::sweep_interval")]
    pub sweep_interval: Span,
    /// How often a task that waits for another process's changes, or for its lease, looks for them.
    /// Those of its own process wake it.
    #[serde(default = "default::log_poll")]
    pub log_poll: Span,
    /// The largest payload that is taken; at most a quarter of `bytes_max` counts.
    #[serde(default = "default::payload_len_max")]
    pub payload_len_max: ByteSize,
    /// Threads that read. One more writes.
    #[serde(default = "default::readers")]
    pub readers: usize,
}

/// What a [`SqliteTier`](crate::SqliteTier) keeps when the machine loses power. A crash of the
/// process loses nothing that was acknowledged in either mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqliteDurability {
    /// What was loaded last may be lost, and is loaded again. Inserts, removals and clears are kept:
    /// they wait for the disk.
    #[default]
    Relaxed,
    /// Nothing that was acknowledged is lost: every commit waits for the disk.
    Full,
}

impl SqliteConfig {
    /// The defaults, with the file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: default::name(),
            bytes_max: default::bytes_max(),
            entries_max: None,
            eviction: Eviction::default(),
            busy_timeout: default::busy_timeout(),
            durability: SqliteDurability::default(),
            fence_retention: default::fence_retention(),
            sweep_interval: default::sweep_interval(),
            log_poll: default::log_poll(),
            payload_len_max: default::payload_len_max(),
            readers: default::readers(),
        }
    }

    /// Checks every setting but whether a file can be at the path, which opening it shows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] with the setting and its range.
    pub(crate) fn validate(&self) -> Result<()> {
        let within = |size: ByteSize, from: ByteSize, to: ByteSize| (from..=to).contains(&size);
        let settings = [
            (!self.path.as_os_str().is_empty(), "path", "the name of a file"),
            (!self.name.is_empty(), "name", "not empty"),
            // Below it, the tables' own pages would be a good part of the file.
            (self.bytes_max >= ByteSize::mib(1), "bytes_max", "1MiB or more"),
            (self.entries_max != Some(0), "entries_max", "1 or more, or leave it out"),
            (self.busy_timeout <= Span::secs(3_600), "busy_timeout", "up to 1h"),
            (
                self.fence_retention >= Span::millis(1) && self.fence_retention.0 <= TTL_MAX,
                "fence_retention",
                "1ms to 366 days",
            ),
            (
                self.sweep_interval >= Span::millis(10) && self.sweep_interval.0 <= TTL_MAX,
                "sweep_interval",
                "10ms to 366 days",
            ),
            (
                (Span::millis(1)..=Span::secs(60)).contains(&self.log_poll),
                "log_poll",
                "1ms to 1min",
            ),
            (
                within(self.payload_len_max, ByteSize::bytes(1), ByteSize::mib(256)),
                "payload_len_max",
                "1 byte to 256MiB",
            ),
            ((1..=64).contains(&self.readers), "readers", "1 to 64"),
        ];
        match settings.iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, setting, range)) => {
                let fault = format!("the setting `sqlite.{setting}` is out of its range");
                Err(Error::new(ErrorKind::Config, fault).hint(format!("choose: {range}")))
            }
        }
    }

    /// How long the write-ahead log may become before it is written back, in bytes. The longer, the
    /// fewer waits for the disk.
    pub(crate) fn log_len_max(&self) -> u64 {
        (self.bytes_max.as_u64() / 16).max(LOG_LEN_MIN.as_u64())
    }

    /// How many notices the log keeps: 16,384, or fewer in a small file, where they would take the
    /// room of values.
    pub(crate) fn notices_max(&self) -> i64 {
        let fit = self.bytes_max.as_u64() / NOTICE_SHARE_BYTES;
        i64::try_from(fit.min(NOTICES_MAX)).expect("NOTICES_MAX is small")
    }

    /// The limit that holds: a value must leave room for others.
    pub(crate) fn payload_len_limit(&self) -> usize {
        let limit = self.payload_len_max.as_u64().min(self.bytes_max.as_u64() / 4);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

mod default {
    use cache_core::{ByteSize, PAYLOAD_LEN_MAX, Span};

    pub(super) fn name() -> String {
        "sqlite".to_owned()
    }

    pub(super) const fn bytes_max() -> ByteSize {
        ByteSize::mib(256)
    }

    pub(super) const fn busy_timeout() -> Span {
        Span::secs(2)
    }

    pub(super) const fn fence_retention() -> Span {
        Span::secs(60)
    }

    pub(super) const fn sweep_interval() -> Span {
        Span::secs(30)
    }

    pub(super) const fn log_poll() -> Span {
        Span::millis(50)
    }

    pub(super) const fn payload_len_max() -> ByteSize {
        ByteSize::bytes(PAYLOAD_LEN_MAX as u64)
    }

    pub(super) const fn readers() -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_all_that_is_needed() {
        let config: SqliteConfig = serde_json::from_str(r#"{"path": "/x/cache.sqlite"}"#).unwrap();
        assert_eq!(config, SqliteConfig::new("/x/cache.sqlite"));
        assert!(config.validate().is_ok());
    }

    #[test]
    fn settings_are_read_with_their_units() {
        let text = r#"{"path": "x", "bytes_max": "8MiB", "durability": "full", "readers": 1}"#;
        let config: SqliteConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.bytes_max, ByteSize::mib(8));
        assert_eq!(config.durability, SqliteDurability::Full);
        assert_eq!(config.payload_len_limit(), 2 << 20, "a quarter of the file");
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = serde_json::from_str::<SqliteConfig>(r#"{"path": "x", "byte_max": "8MiB"}"#);
        assert!(error.unwrap_err().to_string().contains("byte_max"));
    }

    #[test]
    fn a_setting_out_of_its_range_is_named_with_its_range() {
        let good = SqliteConfig::new("x");
        let faults = [
            (SqliteConfig::new(""), "`sqlite.path`"),
            (SqliteConfig { name: String::new(), ..good.clone() }, "`sqlite.name`"),
            (SqliteConfig { bytes_max: ByteSize::kib(1), ..good.clone() }, "1MiB or more"),
            (SqliteConfig { entries_max: Some(0), ..good.clone() }, "`sqlite.entries_max`"),
            (SqliteConfig { busy_timeout: Span::secs(7_200), ..good.clone() }, "up to 1h"),
            (SqliteConfig { fence_retention: Span::secs(0), ..good.clone() }, "1ms to 366 days"),
            (SqliteConfig { sweep_interval: Span::secs(0), ..good.clone() }, "10ms to 366 days"),
            (SqliteConfig { log_poll: Span::secs(0), ..good.clone() }, "1ms to 1min"),
            (SqliteConfig { payload_len_max: ByteSize::mib(1_024), ..good.clone() }, "256MiB"),
            (SqliteConfig { readers: 0, ..good.clone() }, "1 to 64"),
        ];
        for (config, told) in faults {
            let error = config.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
