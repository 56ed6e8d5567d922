//! The settings of the tier.

use cache_core::{ByteSize, Error, ErrorKind, Eviction, Result, ServerUrl, Span};
use serde::{Deserialize, Serialize};

/// How to reach a PostgreSQL server, and how to use it.
///
/// # Examples
///
/// ```
/// use cache_core::{ServerUrl, Span};
/// use cache_postgres::PostgresConfig;
///
/// let config = PostgresConfig {
///     statement_timeout: Span::millis(250),
///     ..PostgresConfig::new("postgres://cache:secret@db.example/cache")
/// };
/// assert_eq!(config.schema, "cache");
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:5432/database`, or `?host=/path` for a Unix socket.
    ///
    /// `sslmode` is `disable` (as without it), `prefer`, `require` or `verify-full`; the last two
    /// both check the server's certificate and name. `sslrootcert=/path/ca.pem` names the
    /// authority of a private certificate; without it those of the web count.
    pub url: ServerUrl,
    /// The schema that holds the tables: lower-case letters, digits and `_`. Made when missing.
    #[serde(default = "default::schema")]
    pub schema: String,
    /// The tier's name in statistics and errors.
    #[serde(default = "default::name")]
    pub name: String,
    /// Connections at most, 1 to 1,000. Made when they are needed.
    #[serde(default = "default::pool_size")]
    pub pool_size: u32,
    /// How long to wait for a free or a new connection.
    #[serde(default = "default::connect_timeout")]
    pub connect_timeout: Span,
    /// How long one statement may take. The server ends it then; a server that does not even do
    /// that loses the connection a quarter of a second later.
    #[serde(default = "default::statement_timeout")]
    pub statement_timeout: Span,
    /// How long the server may say nothing at all, to nobody, while calls wait for it, before it
    /// counts as hung: [`TierInfo::patience`](cache_core::TierInfo::patience).
    #[serde(default = "default::patience")]
    pub patience: Span,
    /// What a crash of the server may cost.
    #[serde(default)]
    pub durability: PostgresDurability,
    /// How long a moved fence is remembered at least: longer than any load takes.
    #[serde(default = "default::fence_retention")]
    pub fence_retention: Span,
    /// How much room the table may take, with its index and the values that lie out of line. Values
    /// give way from 70 % of it down to 65 %; the rest is for rows that are dead and not yet
    /// vacuumed, and for holes. Nothing: no bound. A payload may have a sixteenth of it at most.
    #[serde(default)]
    pub bytes_max: Option<ByteSize>,
    /// How many values there may be; above it they give way until 95 % are left. Nothing: no bound.
    #[serde(default)]
    pub entries_max: Option<u64>,
    /// Which values give way. `fifo`, `ttl`, `lru` and `lfu` are followed as exactly as the clocks of
    /// the processes and the notes on reads allow, and `random` too; `lfu-aging` (as which
    /// `w-tinylfu` counts) counts reads the less the longer ago the last of them was. The others are approximated: what was not read since
    /// the last eviction goes, first in first out, and the rest gets a second chance.
    #[serde(default)]
    pub eviction: Eviction,
    /// How often rows that nobody can read any more are deleted; `"off"` leaves that to others.
    /// However many processes share the schema, one of them does it each time.
    #[serde(default = "default::sweep_interval", with = "span_or_off")]
    pub sweep_interval: Option<Span>,
    /// Rows that one statement of the sweeper deletes at most.
    #[serde(default = "default::sweep_batch")]
    pub sweep_batch: u32,
    /// The largest payload that is taken, at most 256 MiB.
    #[serde(default = "default::payload_len_max")]
    pub payload_len_max: ByteSize,
    /// Whether changes are told in a log, for the processes that keep copies. All processes that
    /// share the schema have it the same.
    #[serde(default)]
    pub log: PostgresLogging,
    /// How long a reader of the log waits before it looks again when nothing wakes it: how late a
    /// change by SQL is seen at most, while the server answers.
    #[serde(default = "default::log_poll")]
    pub log_poll: Span,
    /// How long a change stays in the log at least, unless [`log_len_max`](Self::log_len_max) comes
    /// first. A reader that was away for longer is told of a gap.
    #[serde(default = "default::log_retention")]
    pub log_retention: Span,
    /// How many changes stay in the log at most, 1 to 10,000,000; with those of the last seconds
    /// it may be more.
    #[serde(default = "default::log_len_max")]
    pub log_len_max: u32,
}

/// Whether changes are told in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresLogging {
    /// Each removal, insert and clear, by the statement that makes it.
    #[default]
    On,
    /// None but those by SQL: nobody keeps copies.
    Off,
}

/// What a crash of the server may cost. An insert, a removal or a clear that was acknowledged is
/// kept in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresDurability {
    /// What was loaded in the last moments (three times the server's `wal_writer_delay`, 0.6 s
    /// unless it is set otherwise), and is loaded again. Only that does not wait for the disk.
    #[default]
    Relaxed,
    /// Nothing that was acknowledged. Each write waits for the disk.
    Full,
}

impl PostgresConfig {
    /// The settings for the server at `url`, all others as they are when they are left out.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: ServerUrl::new(url),
            schema: default::schema(),
            name: default::name(),
            pool_size: default::pool_size(),
            connect_timeout: default::connect_timeout(),
            statement_timeout: default::statement_timeout(),
            patience: default::patience(),
            durability: PostgresDurability::default(),
            bytes_max: None,
            entries_max: None,
            eviction: Eviction::default(),
            fence_retention: default::fence_retention(),
            sweep_interval: default::sweep_interval(),
            sweep_batch: default::sweep_batch(),
            payload_len_max: default::payload_len_max(),
            log: PostgresLogging::default(),
            log_poll: default::log_poll(),
            log_retention: default::log_retention(),
            log_len_max: default::log_len_max(),
        }
    }

    /// Checks everything but the address, which is parsed by whoever connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] with the setting and its range.
    pub(crate) fn validate(&self) -> Result<()> {
        let millis = |span: Span| span.0.as_millis();
        let settings = [
            (
                is_schema(&self.schema),
                "schema",
                "lower-case letters, digits and `_`, no digit first, at most 63, not `pg_...`",
            ),
            (!self.name.is_empty(), "name", "not empty"),
            ((1..=1_000).contains(&self.pool_size), "pool_size", "1 to 1000"),
            (is_limit(millis(self.connect_timeout)), "connect_timeout", LIMITS),
            (is_limit(millis(self.statement_timeout)), "statement_timeout", LIMITS),
            (is_limit(millis(self.patience)), "patience", LIMITS),
            (is_limit(millis(self.log_poll)), "log_poll", LIMITS),
            ((1..=TTL_MAX_MS).contains(&millis(self.log_retention)), "log_retention", RANGE),
            ((1..=10_000_000).contains(&self.log_len_max), "log_len_max", "1 to 10000000"),
            ((1..=TTL_MAX_MS).contains(&millis(self.fence_retention)), "fence_retention", RANGE),
            (
                self.sweep_interval.is_none_or(|span| (1..=TTL_MAX_MS).contains(&millis(span))),
                "sweep_interval",
                "\"off\", or 1 ms to 366 days",
            ),
            (
                self.bytes_max.is_none_or(|max| max >= ByteSize::mib(1)),
                "bytes_max",
                "1MiB or more, or leave it out",
            ),
            (self.entries_max != Some(0), "entries_max", "1 or more, or leave it out"),
            ((1..=1_000_000).contains(&self.sweep_batch), "sweep_batch", "1 to 1000000"),
            (
                (1..=256 << 20).contains(&self.payload_len_max.as_u64()),
                "payload_len_max",
                "1 byte to 256MiB",
            ),
        ];
        match settings.iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, setting, range)) => {
                let message = format!("the setting `{setting}` of the tier {} is", self.name);
                Err(Error::new(ErrorKind::Config, format!("{message} out of its range"))
                    .hint(format!("choose: {range}")))
            }
        }
    }
}

const LIMITS: &str = "1 ms to 1 h";
const RANGE: &str = "1 ms to 366 days";
const TTL_MAX_MS: u128 = cache_core::TTL_MAX.as_millis();

fn is_limit(millis: u128) -> bool {
    (1..=3_600_000).contains(&millis)
}

/// Whether a name is safe between double quotes, equal to itself without them, and ours to take.
pub(crate) fn is_schema(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && name.len() <= 63
        && !name.starts_with("pg_")
        && name != "information_schema"
}

mod default {
    use cache_core::{ByteSize, PAYLOAD_LEN_MAX, Span};

    pub(super) fn schema() -> String {
        "cache".to_owned()
    }

    pub(super) fn name() -> String {
        "postgres".to_owned()
    }

    pub(super) const fn pool_size() -> u32 {
        8
    }

    pub(super) const fn connect_timeout() -> Span {
        Span::secs(2)
    }

    pub(super) const fn statement_timeout() -> Span {
        Span::secs(1)
    }

    pub(super) const fn patience() -> Span {
        Span::millis(250)
    }

    pub(super) const fn log_poll() -> Span {
        Span::millis(50)
    }

    pub(super) const fn log_retention() -> Span {
        Span::secs(600)
    }

    pub(super) const fn log_len_max() -> u32 {
        200_000
    }

    pub(super) const fn fence_retention() -> Span {
        Span::secs(60)
    }

    #[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
    pub(super) const fn sweep_interval() -> Option<Span> {
        Some(Span::secs(30))
    }

    pub(super) const fn sweep_batch() -> u32 {
        5_000
    }

    pub(super) const fn payload_len_max() -> ByteSize {
        ByteSize::bytes(PAYLOAD_LEN_MAX as u64)
    }
}

/// A span, or `"off"`: a TOML file has no word for nothing.
mod span_or_off {
    use cache_core::Span;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const OFF: &str = "off";

    pub(super) fn serialize<S: Serializer>(
        span: &Option<Span>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(span),
            None => serializer.serialize_str(OFF),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Span>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            OFF => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PostgresConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn only_the_address_is_needed() {
        let config = parse(r#"{"url": "postgres://u:s3cret@h/d"}"#).unwrap();
        assert_eq!(config, PostgresConfig::new("postgres://u:s3cret@h/d"));
        config.validate().unwrap();
        let shown = serde_json::to_string(&config).unwrap();
        assert!(
            !shown.contains("s3cret") && shown.contains(r#""sweep_interval":"30s""#),
            "{shown}"
        );
    }

    #[test]
    fn an_unknown_setting_and_a_missing_address_are_told() {
        let error = parse(r#"{"url": "postgres://h/d", "poolsize": 3}"#).unwrap_err();
        assert!(error.to_string().contains("poolsize"), "{error}");
        assert!(parse("{}").unwrap_err().to_string().contains("url"));
    }

    #[test]
    fn the_sweeper_can_be_turned_off() {
        let config = parse(r#"{"url": "postgres://h/d", "sweep_interval": "off"}"#).unwrap();
        assert_eq!(config.sweep_interval, None);
        assert!(serde_json::to_string(&config).unwrap().contains(r#""sweep_interval":"off""#));
    }

    #[test]
    fn the_log_can_be_turned_off() {
        let config = parse(r#"{"url": "postgres://h/d", "log": "off"}"#).unwrap();
        assert_eq!(config.log, PostgresLogging::Off);
        let unlike = parse(r#"{"url": "postgres://h/d", "log": "perhaps"}"#).unwrap_err();
        assert!(unlike.to_string().contains("perhaps"), "{unlike}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = PostgresConfig::new("postgres://h/d");
        let long = "x".repeat(64);
        for schema in ["", "Cache", "1st", "a-b", "a\"b", "pg_cache", "information_schema", &long] {
            let error = PostgresConfig { schema: schema.to_owned(), ..good.clone() }.validate();
            assert!(error.unwrap_err().to_string().contains("`schema`"), "{schema}");
        }
        let none = Span::millis(0);
        for (config, setting) in [
            (PostgresConfig { pool_size: 0, ..good.clone() }, "pool_size"),
            (PostgresConfig { connect_timeout: none, ..good.clone() }, "connect_timeout"),
            (PostgresConfig { statement_timeout: none, ..good.clone() }, "statement_timeout"),
            (PostgresConfig { patience: none, ..good.clone() }, "patience"),
            (PostgresConfig { log_poll: none, ..good.clone() }, "log_poll"),
            (PostgresConfig { log_retention: none, ..good.clone() }, "log_retention"),
            (PostgresConfig { log_len_max: 0, ..good.clone() }, "log_len_max"),
            (PostgresConfig { fence_retention: none, ..good.clone() }, "fence_retention"),
            (PostgresConfig { sweep_interval: Some(none), ..good.clone() }, "sweep_interval"),
            (PostgresConfig { sweep_batch: 0, ..good.clone() }, "sweep_batch"),
            (PostgresConfig { bytes_max: Some(ByteSize::kib(1)), ..good.clone() }, "bytes_max"),
            (PostgresConfig { entries_max: Some(0), ..good.clone() }, "entries_max"),
            (PostgresConfig { payload_len_max: ByteSize::mib(257), ..good.clone() }, "payload_len"),
        ] {
            let error = config.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
