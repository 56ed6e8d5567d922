//! The configuration: defaults, then the file, then the environment, then the flags.

mod environment;
mod faults;
mod file;
mod layer;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use cache_core::{
    ByteSize, Compression, CompressionAlgorithm, Error, ErrorKind, Eviction, Result, ServerUrl,
    Span, TTL_MAX, Ttl,
};
use cache_postgres::PostgresConfig;
use cache_redis::RedisConfig;
use cache_sqlite::SqliteConfig;
use cache_warmer::DataKind;
use figment::Figment;
use serde::Deserialize;

use self::layer::Layer;
use crate::{
    commands::{Origin, Preset},
    paths,
};

/// Everything that can be configured. No `Debug`: a source's address and headers may hold secrets.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Whether `warm --watch` may run.
    #[serde(default = "defaults::warming_enabled")]
    pub(crate) cache_warming_enabled: bool,
    /// How often `warm --watch` warms.
    #[serde(default = "defaults::warming_interval_seconds")]
    pub(crate) cache_warming_interval_seconds: u64,
    /// Which entry gives way, in every tier that does not say otherwise itself.
    #[serde(default)]
    pub(crate) cache_eviction_policy: Eviction,
    /// How many entries of Redis the cache notes, where it evicts there by itself.
    #[serde(default = "defaults::max_tracked_entries")]
    pub(crate) cache_max_tracked_entries: u64,
    /// From which part of its room on a tier is under pressure.
    #[serde(default = "defaults::memory_pressure_threshold")]
    pub(crate) cache_memory_pressure_threshold: f64,
    /// How long a value is fresh that is put without a time of its own.
    #[serde(default = "defaults::ttl")]
    pub(crate) ttl: Span,
    /// How long after that it may still be served when nothing better is to be had.
    #[serde(default = "defaults::max_stale")]
    pub(crate) max_stale: Span,
    /// Whether the SQLite file is used where no PostgreSQL is configured.
    #[serde(default = "defaults::embedded")]
    pub(crate) embedded: bool,
    #[serde(default)]
    pub(crate) near: NearConfig,
    /// L1.
    pub(crate) redis: Option<RedisConfig>,
    /// The bottom tier, on a server.
    pub(crate) postgres: Option<PostgresConfig>,
    /// The bottom tier, in a file.
    pub(crate) sqlite: Option<SqliteConfig>,
    #[serde(default)]
    pub(crate) compression: CompressionConfig,
    #[serde(default)]
    pub(crate) warm: WarmConfig,
    /// Where all this was found.
    #[serde(skip)]
    pub(crate) found: Found,
}

/// The tier in this process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NearConfig {
    /// How much memory it may take.
    pub(crate) bytes_max: ByteSize,
    /// How long it keeps a value at most.
    pub(crate) ttl: Span,
}

/// What is compressed in which tier. What is found compressed is read in any case.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompressionConfig {
    pub(crate) redis: CompressionAlgorithm,
    pub(crate) postgres: CompressionAlgorithm,
    pub(crate) sqlite: CompressionAlgorithm,
    /// From which length on a payload is compressed.
    pub(crate) len_min: ByteSize,
    /// How much of its length it must lose for that.
    pub(crate) saving_min_percent: u8,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        let Compression { algorithm, len_min, saving_min_percent } = Compression::off();
        let (redis, postgres, sqlite) = (algorithm, algorithm, algorithm);
        Self { redis, postgres, sqlite, len_min, saving_min_percent }
    }
}

impl CompressionConfig {
    /// The settings of a tier that has this algorithm.
    pub(crate) const fn by(&self, algorithm: CompressionAlgorithm) -> Compression {
        let Self { len_min, saving_min_percent, .. } = *self;
        Compression { algorithm, len_min, saving_min_percent }
    }
}

/// What `warm` does when its flags do not say otherwise.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WarmConfig {
    /// `sample`, `csv:PATH` or a URL.
    pub(crate) source: Option<Origin>,
    pub(crate) preset: Option<Preset>,
    /// Keys beside those of the preset.
    pub(crate) keys: Vec<String>,
    /// The kind of data, which is also the namespace.
    pub(crate) kind: Option<DataKind>,
    /// How long a warmed value is fresh.
    pub(crate) ttl: Option<Span>,
    /// The column of a CSV file that holds the key.
    pub(crate) key_column: Option<String>,
    /// The column that tells which of a key's rows is the latest.
    pub(crate) order_column: Option<String>,
    /// Where in an HTTP source's answer the value is, as a JSON pointer.
    pub(crate) pointer: Option<String>,
    /// Headers for an HTTP source.
    pub(crate) headers: BTreeMap<String, String>,
    /// How long an HTTP source's answer may take.
    pub(crate) timeout: Option<Span>,
    /// How many calls of the source may be under way at the same time.
    pub(crate) concurrency: Option<usize>,
    /// How long before it expires a value is loaded again, by `warm --watch`.
    pub(crate) refresh_ahead: Option<Span>,
    /// How long one run may take.
    pub(crate) deadline: Option<Span>,
    /// How many keys a second the source is asked for at most.
    pub(crate) keys_per_s_max: Option<f64>,
    /// How much live reads of the tiers may slow down before warming does.
    pub(crate) live_slowdown_max: Option<f64>,
}

/// Where a configuration was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The file, if there was one.
    pub(crate) file: Option<PathBuf>,
    /// Environment variables that look like settings and are none.
    pub(crate) ignored: Vec<String>,
}

/// What the flags say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) redis_url: Option<ServerUrl>,
    pub(crate) database_url: Option<ServerUrl>,
    pub(crate) data_file: Option<PathBuf>,
    pub(crate) without_embedded: Option<WithoutEmbedded>,
}

/// The flag `--no-embedded` was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithoutEmbedded;

impl Config {
    /// Reads file and environment and puts the flags on top.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], naming the setting and where it was found. No message holds the value
    /// of a setting that may contain a password.
    pub(crate) fn load(flags: &Flags) -> Result<Self> {
        let (file, file_layer) = match file::find(flags.config.clone())? {
            Some((path, layer)) => (Some(path), Some(layer)),
            None => (None, None),
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let environment = environment::read(variables);
        let default_path = paths::data_file().map(|path| {
            Layer::setting("the default", "sqlite.path", path.to_string_lossy().into_owned())
        });
        let layers = default_path
            .into_iter()
            .chain(file_layer)
            .chain(environment.layers)
            .chain(flags.layers()?);
        let figment = layers.fold(Figment::new(), Figment::merge);
        let mut config: Self = figment.extract().map_err(faults::explain)?;
        config.found = Found { file, ignored: environment.ignored };
        config.set_policy(&figment);
        config.check(flags)?;
        Ok(config)
    }

    /// Has each tier evict by `cache_eviction_policy`, unless its own section names a policy. In
    /// Redis the cache does so itself where the server has no such policy.
    fn set_policy(&mut self, figment: &Figment) {
        let names_none =
            |section: &str| figment.find_value(&format!("{section}.eviction")).is_err();
        let policy = self.cache_eviction_policy;
        if let Some(redis) = &mut self.redis {
            if names_none("redis") {
                redis.eviction = policy;
            }
            let is_foreign =
                matches!(redis.eviction, Eviction::Fifo | Eviction::Ttl | Eviction::Random);
            if is_foreign && redis.tracked_entries_max.is_none() {
                redis.tracked_entries_max = Some(self.cache_max_tracked_entries);
            }
        }
        if let Some(postgres) = self.postgres.as_mut().filter(|_| names_none("postgres")) {
            postgres.eviction = policy;
        }
        if let Some(sqlite) = self.sqlite.as_mut().filter(|_| names_none("sqlite")) {
            sqlite.eviction = policy;
        }
    }

    /// The time to live of a value that is put without one.
    pub(crate) fn ttl(&self) -> Ttl {
        Ttl { fresh: self.ttl.0, stale: self.max_stale.0 }
    }

    /// Checks what each setting alone cannot tell.
    fn check(&self, flags: &Flags) -> Result<()> {
        if !(1..=TTL_MAX.as_secs()).contains(&self.cache_warming_interval_seconds) {
            let value = self.cache_warming_interval_seconds;
            return Err(out_of_range("cache_warming_interval_seconds", value, "1 to 31622400"));
        }
        if !(1..=100_000_000).contains(&self.cache_max_tracked_entries) {
            let value = self.cache_max_tracked_entries;
            return Err(out_of_range("cache_max_tracked_entries", value, "1 to 100000000"));
        }
        let threshold = self.cache_memory_pressure_threshold;
        if !(threshold > 0.0 && threshold <= 1.0) {
            let range = "above 0 and at most 1";
            return Err(out_of_range("cache_memory_pressure_threshold", threshold, range));
        }
        self.ttl().validate().map_err(|error| error.context("`ttl` and `max_stale`"))?;
        let compression = self.compression.by(self.compression.redis).validate();
        compression.map_err(|error| error.context("`compression`"))?;
        if flags.data_file.is_some() && self.postgres.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "--data-file names a SQLite file, and PostgreSQL is configured as the bottom tier",
            )
            .hint("leave out one of them: --data-file, or `postgres` with --database-url and DATABASE_URL"));
        }
        Ok(())
    }
}

impl Flags {
    fn layers(&self) -> Result<Vec<Layer>> {
        let url = |url: &Option<ServerUrl>| {
            url.as_ref().map(|url| url.expose().to_owned()).filter(|url| !url.is_empty())
        };
        let mut layers = Vec::new();
        if let Some(url) = url(&self.redis_url) {
            layers.push(Layer::setting("--redis-url or REDIS_URL", "redis.url", url));
        }
        if let Some(url) = url(&self.database_url) {
            layers.push(Layer::setting("--database-url or DATABASE_URL", "postgres.url", url));
        }
        if let Some(path) = &self.data_file {
            let path = path.to_str().ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("--data-file {} is not UTF-8", path.display()),
                )
                .hint("choose another name for the file")
            })?;
            layers.push(Layer::setting("--data-file", "sqlite.path", path.to_owned()));
        }
        if self.without_embedded.is_some() {
            layers.push(Layer::setting("--no-embedded", "embedded", false));
        }
        Ok(layers)
    }
}

impl Default for NearConfig {
    fn default() -> Self {
        Self { bytes_max: ByteSize::mib(64), ttl: Span(TTL_MAX) }
    }
}

fn out_of_range(setting: &str, value: impl fmt::Display, range: &str) -> Error {
    Error::new(ErrorKind::Config, format!("`{setting}` is {value}"))
        .hint(format!("set it to a number {range}"))
}

mod defaults {
    use cache_core::Span;

    pub(super) const fn warming_enabled() -> bool {
        true
    }

    pub(super) const fn warming_interval_seconds() -> u64 {
        300
    }

    pub(super) const fn max_tracked_entries() -> u64 {
        10_000
    }

    pub(super) const fn memory_pressure_threshold() -> f64 {
        0.9
    }

    pub(super) const fn ttl() -> Span {
        Span::secs(300)
    }

    pub(super) const fn max_stale() -> Span {
        Span::secs(0)
    }

    pub(super) const fn embedded() -> bool {
        true
    }
}
