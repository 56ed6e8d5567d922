//! Which keys are warmed.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use async_trait::async_trait;
use cache_core::{ReadTap, ServerUrl, Span};
use cache_warmer::{
    AccessLogKeys, Budget, Candidate, DataKind, FileKeys, KeySource, Learner, LearnerConfig,
    PLAN_LEN_MAX, Plan, PresetKeys, SqlConfig, SqlKeys,
};
use clap::Args;

use super::{Preset, origin::Source};
use crate::{
    args::server_url,
    config::{Config, WarmConfig},
    exit::BadInput,
    output,
    wiring::Session,
};

/// How long a query may take.
const QUERY_TIMEOUT: Span = Span::secs(30);

/// The keys that somebody asks for.
#[derive(Args)]
pub(super) struct Wanted {
    /// Warm the keys of a preset; `market` has 28 shares, index funds and crypto currencies
    #[arg(long, value_enum, value_name = "NAME")]
    preset: Option<Preset>,

    /// Warm these keys, without their namespace
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    keys: Vec<String>,

    /// Warm the keys of a file, one a line
    #[arg(long, value_name = "PATH")]
    keys_file: Option<PathBuf>,

    /// Warm the keys of an access log, the most read first: see `record on --plain-keys`
    #[arg(long, value_name = "PATH")]
    access_log: Option<PathBuf>,

    /// Of the access log, warm the keys that are usually read so long from now
    ///
    /// By the time of day and the day of the week.
    #[arg(long, value_name = "SPAN", requires = "access_log")]
    ahead: Option<Span>,

    /// The time zone of --ahead, such as `America/New_York` [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "ahead")]
    zone: Option<String>,

    /// Warm the keys that services found hot, as their `Learner` keeps them in the bottom tier
    #[arg(long)]
    learned: bool,

    /// Warm the keys of a query of PostgreSQL
    ///
    /// Its columns are `key`, and what is known of `hits` (an hour), `load_ms`, `bytes`, `ttl_s`.
    #[arg(long, value_name = "SQL")]
    query: Option<String>,

    /// The database of the query [default: that of the bottom tier]
    #[arg(long, value_name = "URL", value_parser = server_url)]
    query_url: Option<ServerUrl>,

    /// Rank the keys by expected hits x load cost / size, and warm so many at most
    #[arg(long, value_name = "KEYS")]
    max_keys: Option<usize>,
}

/// What names the keys.
pub(super) enum Keys {
    /// They are known.
    Named(Plan),
    /// They are asked for, and ranked.
    Ranked { sources: Vec<Arc<dyn KeySource>>, is_learned: bool, budget: Budget },
}

/// Keys of the command line or the configuration, of which nothing more is known.
#[derive(Debug)]
struct Listed(Vec<String>);

#[async_trait]
impl KeySource for Listed {
    fn name(&self) -> &str {
        "named"
    }

    async fn candidates(&self, max: usize) -> cache_core::Result<Vec<Candidate>> {
        Ok(self.0.iter().take(max).map(|key| Candidate::new(key.trim(), 1.0)).collect())
    }
}

impl Wanted {
    /// The keys that the flags name, else those of the configuration, else what suits the source.
    ///
    /// # Errors
    ///
    /// [`BadInput`] for a file or a key that cannot be used, a query without a database, and where
    /// no key is named.
    pub(super) fn keys(&self, config: &Config, source: &Source, kind: DataKind) -> Result<Keys> {
        let asks =
            self.learned || self.query.is_some() || self.ahead.is_some() || self.max_keys.is_some();
        if asks { self.ranked(config, kind) } else { self.named(&config.warm, source, kind) }
    }

    fn by_flags(&self) -> bool {
        self.preset.is_some()
            || !self.keys.is_empty()
            || self.keys_file.is_some()
            || self.access_log.is_some()
            || self.learned
            || self.query.is_some()
    }

    fn named(&self, config: &WarmConfig, source: &Source, kind: DataKind) -> Result<Keys> {
        let bad = |error: cache_core::Error| BadInput(error.to_string());
        let (preset, keys) = match self.by_flags() {
            true => (self.preset, &self.keys),
            false => (config.preset, &config.keys),
        };
        let mut plan = Plan::new(keys.iter().map(|key| key.trim())).map_err(bad)?;
        if let Some(path) = &self.keys_file {
            plan = plan.and(&Plan::from_file(path).map_err(bad)?).map_err(bad)?;
        }
        if let Some(path) = &self.access_log {
            let read = Plan::from_access_log(path, kind.namespace()).map_err(bad)?;
            plan = plan.and(&read).map_err(bad)?;
        }
        match preset {
            Some(Preset::Market) => plan = plan.and(&Plan::market()).map_err(bad)?,
            None if plan.is_empty() && !self.by_flags() => {
                plan = source.all_keys().map_err(bad)?;
            }
            None => {}
        }
        if plan.is_empty() { Err(no_key().into()) } else { Ok(Keys::Named(plan)) }
    }

    fn ranked(&self, config: &Config, kind: DataKind) -> Result<Keys> {
        let (preset, keys) = match self.by_flags() {
            true => (self.preset, &self.keys),
            false => (config.warm.preset, &config.warm.keys),
        };
        let mut sources: Vec<Arc<dyn KeySource>> = Vec::new();
        if !keys.is_empty() {
            sources.push(Arc::new(Listed(keys.clone())));
        }
        if let Some(path) = &self.keys_file {
            sources.push(Arc::new(FileKeys::new(path)));
        }
        if let Some(path) = &self.access_log {
            let log = AccessLogKeys::new(path, kind.namespace());
            sources.push(match self.ahead {
                Some(ahead) => {
                    let zone = self.zone.as_deref().unwrap_or("UTC");
                    let at = cache_core::Clock::now(&*cache_core::SystemClock::shared());
                    let seasonal = log.usual_at(at.after(ahead.0), zone);
                    Arc::new(seasonal.map_err(|error| BadInput(error.to_string()))?)
                }
                None => Arc::new(log),
            });
        }
        if let Some(query) = &self.query {
            let own = config.postgres.as_ref().map(|postgres| postgres.url.clone());
            let url = self.query_url.clone().or(own).ok_or_else(|| {
                BadInput(
                    "--query has no database; name it by --query-url, or a bottom tier by \
                     --database-url"
                        .to_owned(),
                )
            })?;
            let query = query.clone();
            sources.push(Arc::new(SqlKeys::new(SqlConfig { url, query, timeout: QUERY_TIMEOUT })));
        }
        if preset == Some(Preset::Market) {
            sources.push(Arc::new(PresetKeys::new(kind)));
        }
        if sources.is_empty() && !self.learned {
            return Err(no_key().into());
        }
        let budget = Budget::keys(self.max_keys.unwrap_or(PLAN_LEN_MAX));
        Ok(Keys::Ranked { sources, is_learned: self.learned, budget })
    }
}

impl Keys {
    /// The keys in their order.
    ///
    /// # Errors
    ///
    /// Where no source names a key, why; and what the bottom tier says that is asked for hot keys.
    pub(super) async fn plan(self, session: &Session, kind: DataKind) -> Result<Plan> {
        let (mut sources, is_learned, budget) = match self {
            Self::Named(plan) => return Ok(plan),
            Self::Ranked { sources, is_learned, budget } => (sources, is_learned, budget),
        };
        if is_learned {
            sources.push(learned(session, kind).await?);
        }
        let plan = Plan::from_sources(&sources, budget).await?;
        for share in plan.shares() {
            if let Some(error) = &share.error {
                output::note(format_args!("warning: {} names no keys: {error}", share.name));
            }
        }
        if plan.is_empty() {
            let message = "no source names a key; a service has what it finds hot kept by \
                           `Learner::keep_in`, and `warm plan` tells what each source names";
            return Err(BadInput(message.to_owned()).into());
        }
        Ok(plan)
    }
}

/// What services found hot, and have kept in the bottom tier.
async fn learned(session: &Session, kind: DataKind) -> Result<Arc<dyn KeySource>> {
    let bottom = session.tiers.last().expect("a session has a tier");
    let clock = Arc::clone(&session.clock);
    let learner = Learner::new(LearnerConfig::default(), ReadTap::new(1.0)?, clock)?;
    let learner = learner.keep_in(Arc::clone(bottom), kind.namespace())?;
    learner.restore().await?;
    Ok(learner.hot())
}

fn no_key() -> BadInput {
    BadInput(
        "no key is named; see --keys, --keys-file, --access-log, --learned, --query, --preset"
            .to_owned(),
    )
}
