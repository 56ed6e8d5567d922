//! The command line's grammar and its help.

use std::{convert::Infallible, path::PathBuf};

use cache_core::ServerUrl;
use clap::{Args, Parser};

use crate::{
    commands::Command,
    config::{Flags, WithoutEmbedded},
    exit,
    output::Format,
};

/// Look into a tiered cache, change it, warm it and check it.
#[derive(Parser)]
#[command(
    name = "cache-cli",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{CONFIGURATION}\n\n{}", exit::HELP),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,

    /// How answers are written
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    #[arg(help_heading = "Output")]
    pub(crate) format: Format,

    /// Log more to standard error; twice for even more. RUST_LOG says it in detail
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Output")]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command has in common.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tiers and configuration")]
pub(crate) struct Settings {
    /// The TOML file to read [default: $CACHE_CONFIG, else the user's own, if there is one]
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,

    /// Adds Redis as L1
    #[arg(long, value_name = "URL", global = true)]
    #[arg(env = "REDIS_URL", hide_env_values = true, value_parser = server_url)]
    redis_url: Option<ServerUrl>,

    /// Makes PostgreSQL the bottom tier, in place of the SQLite file
    #[arg(long, value_name = "URL", global = true)]
    #[arg(env = "DATABASE_URL", hide_env_values = true, value_parser = server_url)]
    database_url: Option<ServerUrl>,

    /// The SQLite file [default: cache-cli/cache.sqlite3 in the user's data directory]
    #[arg(long, value_name = "PATH", global = true)]
    data_file: Option<PathBuf>,

    /// Does without the SQLite file
    #[arg(long, global = true, conflicts_with = "data_file")]
    no_embedded: bool,
}

impl Settings {
    pub(crate) fn into_flags(self) -> Flags {
        Flags {
            config: self.config,
            redis_url: self.redis_url,
            database_url: self.database_url,
            data_file: self.data_file,
            without_embedded: self.no_embedded.then_some(WithoutEmbedded),
        }
    }
}

/// Every text is taken: whoever connects says what is wrong with it, without its password.
#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
pub(crate) fn server_url(text: &str) -> Result<ServerUrl, Infallible> {
    Ok(ServerUrl::new(text))
}

const EXAMPLES: &str = "\
Examples:
  cache-cli warm                               fill the embedded store from the built-in sample
  cache-cli get price:AAPL                     a value, where it came from, how old it is
  cache-cli get price:AAPL price:MSFT --format json
  cache-cli put news:AAPL '{\"title\": \"...\"}' --ttl 10m
  echo hello | cache-cli put notes:today - --string
  cache-cli remove price:AAPL price:MSFT
  cache-cli remove --namespace price --tag nasdaq
  cache-cli clear price --yes
  cache-cli watch --for 1m                     what processes tell one another of changes
  cache-cli simulate reads.csv --html curves.html   which policy and size suits these reads
  cache-cli record on run/reads --sample 0.05   have running caches log their reads
  cache-cli --redis-url redis://127.0.0.1 --database-url postgres://127.0.0.1/cache doctor
  cache-cli completions bash > ~/.local/share/bash-completion/completions/cache-cli";

const CONFIGURATION: &str = "\
Keys:
  `namespace:text`. The first colon ends the namespace; a key without one is in `default`.

Tiers:
  near (in this process), then Redis if there is an address of one, then PostgreSQL if there is an
  address of one, else a SQLite file unless `embedded = false`. A server that is configured must
  answer; `doctor` says what is wrong when it does not.

Settings, each in the TOML file, as an environment variable, or both (the variable counts more, and
a flag most):
  cache_warming_enabled            CACHE_WARMING_ENABLED            true: `warm --watch` may run
  cache_warming_interval_seconds   CACHE_WARMING_INTERVAL_SECONDS   300, at least so often
  cache_eviction_policy            CACHE_EVICTION_POLICY            s3-fifo-adaptive (*)
  cache_max_tracked_entries        CACHE_MAX_TRACKED_ENTRIES        10000: of Redis (+)
  cache_memory_pressure_threshold  CACHE_MEMORY_PRESSURE_THRESHOLD  0.9: of a tier's room
  ttl                              CACHE_TTL                        \"5m\": of a value put without one
  max_stale                        CACHE_MAX_STALE                  \"0s\": served so long after that
  embedded                         CACHE_EMBEDDED                   true: SQLite, if no PostgreSQL
  [near]      bytes_max, ttl                  CACHE_NEAR__BYTES_MAX and so on
  [redis]     url, prefix, pool_size, patience, log, eviction, tracked_entries_max, ...
                                              CACHE_REDIS__URL, or REDIS_URL
  [postgres]  url, schema, pool_size, patience, log, bytes_max, entries_max, eviction, ...
                                              CACHE_POSTGRES__URL, or DATABASE_URL
  [sqlite]    path, bytes_max, entries_max, eviction, ...   CACHE_SQLITE__PATH
  [compression]  redis, postgres, sqlite: off, lz4 or zstd; len_min, saving_min_percent
                                              CACHE_COMPRESSION__REDIS and so on
  [warm]      source, keys, kind, ttl, concurrency, ...     CACHE_WARM__SOURCE
  (*) What gives way in each tier that is full: lru, lfu, lfu-aging, fifo, ttl, s3-fifo,
  s3-fifo-adaptive, sieve, w-tinylfu, arc or random. `doctor` says how each tier follows it.
  (+) Where the cache evicts by itself: by fifo, ttl and random, or if tracked_entries_max is set.
  Times are written as \"250ms\", \"30s\" or \"1h 30m\", sizes as \"64MiB\".";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }
}
