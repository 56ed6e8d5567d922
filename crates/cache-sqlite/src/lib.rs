//! The embedded durable tier of a tiered cache: one SQLite file, no server.
//!
//! [`SqliteTier`] keeps entries through restarts, within a bound in bytes, and may be opened by
//! several processes of one machine at once. It stands where the PostgreSQL tier stands, below the
//! near tier and above the loader, and gives the same answers.
//!
//! ```
//! use std::time::Duration;
//!
//! use cache_core::{Clock, CodecId, Entry, Namespace, PutOutcome, SystemClock, TierExt, Ttl, Tier};
//! use cache_sqlite::SqliteTier;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> cache_core::Result<()> {
//! # let directory = tempfile::tempdir().expect("a temporary directory");
//! # let path = directory.path().join("cache.sqlite");
//! let tier = SqliteTier::open(&path)?;
//! let key = Namespace::new("price")?.key("AAPL")?;
//! let ttl = Ttl::fresh(Duration::from_secs(60));
//! let entry = Entry::new("187.5".into(), CodecId(1), SystemClock::new().now(), ttl);
//! assert_eq!(tier.put(key.clone(), entry.clone()).await?, PutOutcome::Stored);
//! tier.close().await?;
//!
//! // Another process, or this one after a restart.
//! let tier = SqliteTier::open(&path)?;
//! assert_eq!(tier.get(&key).await?.entry, Some(entry));
//! # tier.close().await
//! # }
//! ```
//!
//! # How it works
//!
//! SQLite blocks, so connections live on threads of their own: one that writes and a few that read
//! (`worker`). The writer carries out all that has gathered in one transaction (`writer`), by the
//! rules of fences and versions that every tier has (`apply`); a reader answers all that has
//! gathered from one snapshot (`reader`). Between two transactions the writer keeps the file within
//! its bounds (`room`: what goes is chosen by the policy, `victims`, which may go by reads), sweeps out what nobody can see any more (`sweep`), and writes SQLite's log
//! back (`connection`).
//!
//! Each change also leaves a notice in the same transaction (`log`), so that the processes that share
//! the file hear of each other's, and leases (`leases`) keep them from loading the same key at once.
//! A process's own tasks are woken (`bells`); those of others look every `log_poll`.
//!
//! The file must be on a disk of this machine. While it is open there are two more beside it,
//! `…-wal` and `…-shm`, which belong to it: move or delete all three, with no process using them.

mod apply;
mod bells;
mod config;
mod connection;
mod error;
mod inspect;
mod leases;
mod log;
mod migrate;
mod place;
mod reader;
mod room;
mod sql;
mod sweep;
mod tier;
mod victims;
mod worker;
mod writer;

pub use config::{SqliteConfig, SqliteDurability};
pub use inspect::SqliteReport;
pub use tier::SqliteTier;

/// A moment as a column. The last moments there are become one, 292 million years from now.
fn millis(moment: cache_core::Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}
