//! Sources, plans and schedules that keep a tiered cache warm.
//!
//! A [`Source`] is asked for values, a [`Plan`] names the keys, and a [`Warmer`] brings one to the
//! other: it writes what the source returned under the keys that readers read.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use cache_core::Cache;
//! use cache_warmer::{DataKind, Mode, Plan, Warmer, WarmerConfig, sample};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> cache_core::Result<()> {
//! let kind = DataKind::Price;
//! let prices: Cache<serde_json::Value> =
//!     Cache::builder(kind.namespace()).ttl(kind.ttl()).build()?;
//! let source = Arc::new(sample::prices());
//! let warmer = Warmer::new(prices.clone(), source, WarmerConfig::default())?;
//!
//! let report = warmer.warm(&Plan::market(), Mode::Due).await;
//! assert_eq!((report.loaded, report.failed_keys()), (2, 0));
//! // The sample has prices of five shares, and the report says so.
//! assert_eq!(report.missing_at_source, report.planned - 2);
//!
//! let apple = prices.get("AAPL").await?.expect("it has just been warmed");
//! assert_eq!(apple["Close"], 430.47);
//! # Ok(())
//! # }
//! ```

mod access;
mod agenda;
mod brake;
mod calendar;
mod config;
mod copy;
mod csv;
mod cursor;
mod files;
#[cfg(feature = "http")]
mod http;
mod job;
mod keys;
mod leader;
mod learn;
mod market;
mod market_ttl;
mod outcome;
mod pace;
mod payoff;
mod plan;
mod planning;
mod report;
mod run;
pub mod sample;
mod schedule;
mod source;
mod source_error;
mod warmer;
mod when;

pub use access::AccessLogKeys;
pub use calendar::TradingHours;
pub use config::{Ahead, WarmerConfig};
pub use copy::{Copier, Refilling};
pub use csv::{CsvConfig, CsvSource};
pub use cursor::{JobState, Stage};
#[cfg(feature = "http")]
pub use http::{HttpConfig, HttpSource};
pub use job::{Job, JobEnd, Start};
pub use keys::{Budget, Candidate, FileKeys, KeySource, PlanCost, PresetKeys, SourceShare, Worth};
#[cfg(feature = "sql")]
pub use keys::{SqlConfig, SqlKeys};
pub use learn::{
    About, Foreseen, HotKey, HotKeys, Learner, LearnerConfig, Learning, Predictor, PredictorConfig,
    PredictorStats,
};
pub use market::{DataKind, Group, SYMBOLS, Symbol};
pub use market_ttl::MarketTtl;
pub use payoff::{Payoff, PlanPayoff};
pub use plan::{PLAN_LEN_MAX, Plan};
pub use planning::Planning;
pub use report::{Failures, Report, SourceReport, WarmerStats};
pub use schedule::{Readiness, Ready, Schedule};
pub use source::{Answer, Source, load_each};
pub use source_error::{SourceError, SourceErrorKind};
pub use warmer::{Mode, Progress, Warmer};
pub use when::{Timetable, When};
