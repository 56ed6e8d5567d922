//! The settings of the Redis tier.

use std::{path::PathBuf, time::Duration};

use cache_core::{ByteSize, Error, ErrorKind, Eviction, Result, ServerUrl, Span, TTL_MAX};
use serde::{Deserialize, Serialize};

/// The longest string that Redis takes, less room for a header.
const PAYLOAD_LEN_LIMIT: ByteSize = ByteSize::mib(511);

/// What is configured about a Redis tier. Everything but the address has a default.
///
/// # Examples
///
/// ```
/// use cache_core::Span;
/// use cache_redis::RedisConfig;
///
/// let config = RedisConfig {
///     response_timeout: Span::millis(100),
///     ..RedisConfig::new("redis://cache:secret@127.0.0.1:6379/0")
/// };
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// The server: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS,
    /// `redis+unix:///path/to/socket` for a Unix socket. Special characters in a password are
    /// percent-encoded. `?protocol=resp2` is for servers and proxies that do not know RESP3 and
    /// do not say so either.
    pub url: ServerUrl,
    /// A file of certificates in PEM form, by one of which that of the server must be signed;
    /// otherwise by a public authority. For `rediss://` only.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What every key in Redis begins with, before a colon: 1 to 32 letters, digits, `.`, `_` and
    /// `-`. Applications that share a server and must not share entries differ in it.
    #[serde(default = "defaults::prefix")]
    pub prefix: String,
    /// The name of the tier in statistics and errors.
    #[serde(default = "defaults::name")]
    pub name: String,
    /// The most connections to the server, 1 to 1,000. Each carries any number of requests at
    /// once, so few are enough; more keep large values from holding up small ones.
    #[serde(default = "defaults::pool_size")]
    pub pool_size: u32,
    /// How long to wait for a connection, 1 ms to 1 minute.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Span,
    /// How long to wait for an answer, 1 ms to 1 minute. A batch of puts is sent in parts of about
    /// 1 MiB, each of which has this time; a batch of lookups has it as a whole, however much it
    /// finds.
    #[serde(default = "defaults::response_timeout")]
    pub response_timeout: Span,
    /// How long a removal, an insert or a clear is remembered, 1 s to 366 days: longer than any
    /// load takes.
    #[serde(default = "defaults::fence_retention")]
    pub fence_retention: Span,
    /// The largest value that is stored, at most 511 MiB.
    #[serde(default = "defaults::payload_len_max")]
    pub payload_len_max: ByteSize,
    /// How long the server may say nothing at all while it is asked before it counts as hung, 1 ms
    /// to 10 s: see [`TierInfo::patience`](cache_core::TierInfo::patience).
    #[serde(default = "defaults::patience")]
    pub patience: Span,
    /// Whether changes are told to other processes. All that share a prefix agree on it.
    #[serde(default)]
    pub log: LogMode,
    /// How many changes the log holds, 1,000 to 100,000,000; up to twice as many at times. A process
    /// that is away while more than these are made drops its copies when it comes back.
    #[serde(default = "defaults::log_len_max")]
    pub log_len_max: u64,
    /// Which entries give way. The server evicts by its own `maxmemory-policy`, and a log line at
    /// the start says when that is another; with
    /// [`tracked_entries_max`](Self::tracked_entries_max) the tier does it itself. Then `fifo`,
    /// `ttl`, `lru`, `lfu` and `random` are followed to the letter, as far as reads are noted;
    /// `lfu-aging` and `w-tinylfu` count as `lfu`, the others as `lru`.
    #[serde(default)]
    pub eviction: Eviction,
    /// How many entries the tier holds at most, 1 to 100,000,000: it notes them all in Redis, in the
    /// order in which they go, which costs about 300 bytes and three times the key for each. For
    /// what the server has no policy for, or a server whose policy may not be changed. Nothing: the
    /// server evicts. All that share a prefix have the same.
    #[serde(default)]
    pub tracked_entries_max: Option<u64>,
    /// How many bytes the entries take at most, with what is noted of them, where the tier evicts;
    /// nothing: as many as they are. Tombstones of what was inserted lately and has given way come
    /// on top, for [`fence_retention`](Self::fence_retention), and the log.
    #[serde(default)]
    pub tracked_bytes_max: Option<ByteSize>,
}

/// Whether the tier keeps a [log](cache_core::Log) of its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogMode {
    /// It does: needs Redis 5 or later.
    #[default]
    On,
    /// It does not: near tiers of other processes learn of a change when their copies expire.
    Off,
}

impl RedisConfig {
    /// The defaults, for the server at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: ServerUrl::new(url),
            ca_file: None,
            prefix: defaults::prefix(),
            name: defaults::name(),
            pool_size: defaults::pool_size(),
            connect_timeout: defaults::connect_timeout(),
            response_timeout: defaults::response_timeout(),
            fence_retention: defaults::fence_retention(),
            payload_len_max: defaults::payload_len_max(),
            patience: defaults::patience(),
            log: LogMode::default(),
            log_len_max: defaults::log_len_max(),
            eviction: Eviction::default(),
            tracked_entries_max: None,
            tracked_bytes_max: None,
        }
    }

    /// Checks every setting but the address, which is parsed by whoever connects.
    pub(crate) fn validate(&self) -> Result<()> {
        check_name("redis.prefix", &self.prefix)?;
        check_name("redis.name", &self.name)?;
        if !(1..=1_000).contains(&self.pool_size) {
            return Err(fault("redis.pool_size", self.pool_size, "a number from 1 to 1000"));
        }
        let timeout = Duration::from_millis(1)..=Duration::from_secs(60);
        for (setting, span) in [
            ("redis.connect_timeout", self.connect_timeout),
            ("redis.response_timeout", self.response_timeout),
        ] {
            if !timeout.contains(&span.0) {
                return Err(fault(setting, span, "a time from \"1ms\" to \"1m\""));
            }
        }
        if !(Duration::from_secs(1)..=TTL_MAX).contains(&self.fence_retention.0) {
            let wanted = "a time from \"1s\" to \"366days\", longer than any load takes";
            return Err(fault("redis.fence_retention", self.fence_retention, wanted));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&self.patience.0) {
            return Err(fault("redis.patience", self.patience, "a time from \"1ms\" to \"10s\""));
        }
        if !(1_000..=100_000_000).contains(&self.log_len_max) {
            let wanted = "a number from 1000 to 100000000";
            return Err(fault("redis.log_len_max", self.log_len_max, wanted));
        }
        if let Some(entries) = self.tracked_entries_max
            && !(1..=100_000_000).contains(&entries)
        {
            let wanted = "a number from 1 to 100000000, or leave it out";
            return Err(fault("redis.tracked_entries_max", entries, wanted));
        }
        if let Some(bytes) = self.tracked_bytes_max
            && (bytes < ByteSize::mib(1) || self.tracked_entries_max.is_none())
        {
            let wanted = "a size from \"1MiB\", together with `redis.tracked_entries_max`";
            return Err(fault("redis.tracked_bytes_max", bytes, wanted));
        }
        if self.payload_len_max > PAYLOAD_LEN_LIMIT {
            let wanted = "a size of at most \"511MiB\"";
            return Err(fault("redis.payload_len_max", self.payload_len_max, wanted));
        }
        Ok(())
    }
}

/// A name must not hold what means something to Redis: a glob character, the separator.
fn check_name(setting: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=32).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(fault(setting, format!("{name:?}"), "1 to 32 letters, digits, `.`, `_` and `-`"))
}

fn fault(setting: &str, value: impl std::fmt::Display, wanted: &str) -> Error {
    Error::new(ErrorKind::Config, format!("`{setting}` is {value}"))
        .hint(format!("set it to {wanted}"))
}

mod defaults {
    use cache_core::{ByteSize, Span};

    pub(super) fn prefix() -> String {
        "cache".to_owned()
    }

    pub(super) fn name() -> String {
        "redis".to_owned()
    }

    pub(super) const fn pool_size() -> u32 {
        4
    }

    pub(super) const fn connect_timeout() -> Span {
        Span::millis(250)
    }

    pub(super) const fn response_timeout() -> Span {
        Span::millis(250)
    }

    pub(super) const fn fence_retention() -> Span {
        Span::secs(60)
    }

    pub(super) const fn payload_len_max() -> ByteSize {
        ByteSize::mib(16)
    }

    pub(super) const fn patience() -> Span {
        Span::millis(20)
    }

    pub(super) const fn log_len_max() -> u64 {
        100_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_enough() {
        let read: RedisConfig = serde_json::from_str(r#"{"url": "redis://h"}"#).unwrap();
        assert_eq!(read, RedisConfig::new("redis://h"));
        read.validate().unwrap();
    }

    #[test]
    fn the_log_is_on_or_off() {
        let read = |log: &str| -> Result<RedisConfig, _> {
            serde_json::from_str(&format!(r#"{{"url": "redis://h", "log": {log}}}"#))
        };
        assert_eq!(read(r#""off""#).unwrap().log, LogMode::Off);
        assert_eq!(read(r#""on""#).unwrap().log, LogMode::On);
        let error = read(r#""sometimes""#).unwrap_err().to_string();
        assert!(error.contains("unknown variant `sometimes`, expected `on` or `off`"), "{error}");
    }

    #[test]
    fn a_missing_address_and_an_unknown_setting_are_refused_by_name() {
        for (text, fault) in
            [("{}", "missing field `url`"), (r#"{"url": "", "pool": 1}"#, "unknown field `pool`")]
        {
            let error = serde_json::from_str::<RedisConfig>(text).unwrap_err();
            assert!(error.to_string().contains(fault), "{error}");
        }
    }

    #[test]
    fn a_setting_out_of_its_range_is_refused_by_name() {
        let good = || RedisConfig::new("redis://h");
        for (config, setting) in [
            (RedisConfig { prefix: String::new(), ..good() }, "redis.prefix"),
            (RedisConfig { prefix: "a*".to_owned(), ..good() }, "redis.prefix"),
            (RedisConfig { prefix: "a:b".to_owned(), ..good() }, "redis.prefix"),
            (RedisConfig { name: "x".repeat(33), ..good() }, "redis.name"),
            (RedisConfig { pool_size: 0, ..good() }, "redis.pool_size"),
            (RedisConfig { connect_timeout: Span::millis(0), ..good() }, "redis.connect_timeout"),
            (RedisConfig { response_timeout: Span::secs(61), ..good() }, "redis.response_timeout"),
            (RedisConfig { fence_retention: Span::millis(1), ..good() }, "redis.fence_retention"),
            (RedisConfig { patience: Span::millis(0), ..good() }, "redis.patience"),
            (RedisConfig { patience: Span::secs(11), ..good() }, "redis.patience"),
            (RedisConfig { log_len_max: 999, ..good() }, "redis.log_len_max"),
            (RedisConfig { log_len_max: 100_000_001, ..good() }, "redis.log_len_max"),
            (RedisConfig { tracked_entries_max: Some(0), ..good() }, "redis.tracked_entries_max"),
            (
                RedisConfig { tracked_bytes_max: Some(ByteSize::mib(2)), ..good() },
                "redis.tracked_bytes_max",
            ),
            (
                RedisConfig { payload_len_max: ByteSize::mib(512), ..good() },
                "redis.payload_len_max",
            ),
        ] {
            let error = config.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with(&format!("`{setting}` is ")), "{error}");
        }
    }
}
