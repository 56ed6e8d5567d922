//! The PostgreSQL tier of a tiered cache: shared by every process that can reach the server, and
//! kept when it restarts.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use cache_core::{CodecId, Entry, Namespace, SystemClock, Tier, TierExt, Ttl};
//! use cache_postgres::{PostgresConfig, PostgresTier};
//!
//! # async fn example() -> cache_core::Result<()> {
//! let clock = SystemClock::shared();
//! let config = PostgresConfig::new("postgres://cache@localhost/cache");
//! let tier: Arc<dyn Tier> = PostgresTier::connect(&config, clock.clone()).await?;
//!
//! let key = Namespace::new("price")?.key("AAPL")?;
//! let ttl = Ttl::fresh(Duration::from_secs(60));
//! tier.put(key.clone(), Entry::new("187.50".into(), CodecId(3), clock.now(), ttl)).await?;
//! assert!(tier.get(&key).await?.entry.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # On the server
//!
//! PostgreSQL 14 or later, reached by tokio-postgres and diesel-async: no libpq is needed. All
//! tables are in one schema ([`PostgresConfig::schema`]), which is made at the first connection,
//! by one process at a time. A role that may not make it can use one that was made before, with
//! `USAGE` on the schema, `SELECT, INSERT, UPDATE, DELETE` on its tables and `SELECT, UPDATE` on
//! its sequence. A schema of a later version is refused, not changed. Two caches share a database
//! by two schemas, and a schema by two namespaces.
//!
//! A pooler in between must keep a session on one connection (`session` mode).
//!
//! # Speed
//!
//! - A batch is one statement: one round trip, whatever the number of keys. (Puts take another for
//!   fills beside inserts, for a key that occurs twice, and for each 8 MiB of payload.)
//! - Single gets, puts and removals of the same moment travel together, without waiting for each
//!   other on a timer: a thousand concurrent callers are a few statements. The error of such a
//!   statement is that of all its calls.
//! - Each statement is prepared once a connection.
//!
//! # Durability
//!
//! By default what was loaded is written without waiting for the disk (`synchronous_commit = off`):
//! when the server crashes, the loads of its last moments are gone, and are loaded again.
//! [`PostgresDurability::Full`] waits for those too. An insert, a removal or a clear waits in either
//! case: no loader brings it again, and one that was acknowledged and lost would bring the value
//! before it back.
//!
//! # Other processes
//!
//! What is removed, inserted or cleared is told in a log by the statement that does it
//! ([`Tier::log`](cache_core::Tier::log)), for the processes that keep copies. It is read by
//! commits: nothing that was committed is missed, in whatever order, nothing is held up by a
//! transaction that stays open, and nothing that was rolled back is told. A reader is woken within
//! milliseconds by a `NOTIFY`, which is sent apart from the writes and at most once in 5 ms, and
//! looks by itself after [`PostgresConfig::log_poll`]. One that was away for longer than
//! [`PostgresConfig::log_retention`], or whose position is of before a crash, a failover or a
//! restored backup, is told of a gap, once. A tier whose log is read has one connection more than
//! its pool. A standby has no log.
//!
//! [`Tier::leases`](cache_core::Tier::leases) are rows with an end by the clock of who took them:
//! clocks that differ make a lease longer or shorter by as much. They are lost when the server
//! crashes.
//!
//! # From SQL
//!
//! A program that knows nothing of this crate invalidates within its own transaction, here with
//! the default schema:
//!
//! ```sql
//! BEGIN;
//! UPDATE price SET close = 187.5 WHERE symbol = 'AAPL';
//! SELECT cache.invalidate('price', 'AAPL');
//! COMMIT;
//! ```
//!
//! | function | removes |
//! | --- | --- |
//! | `invalidate(namespace, key)` | a key, named as in Rust |
//! | `invalidate('namespace:key')` | a key in its encoded form |
//! | `invalidate_many(namespace, keys[])`, `invalidate_many(encoded[])` | many keys |
//! | `invalidate_tag(namespace, tag)` | what carries the tag |
//! | `invalidate_namespace(namespace)` | everything of the namespace |
//!
//! A rollback invalidates nothing, and a commit is never missed. The work is done at the commit,
//! so a transaction that stays open keeps no call of the cache waiting. (At the isolation levels
//! above `read committed` the commit may fail to serialize, and is to be tried again.) Other
//! processes see it within [`PostgresConfig::log_poll`]: it wakes nobody, because a `NOTIFY` within
//! a transaction makes commits wait for each other. A name that no key can have is an error.
//!
//! A role needs `GRANT USAGE ON SCHEMA cache` for that and nothing else: the functions act with the
//! rights of the role that made the tables, and with a search path of their own. Whoever may call
//! them may invalidate every key. [`invalidate`](fn@invalidate) and [`invalidate_tags`] are the
//! same for diesel.
//!
//! # Space
//!
//! A clear costs one row, however much it removes. What has expired, was removed or was cleared is
//! deleted by a sweeper: one process of all that share the schema reads the table once in each
//! [`PostgresConfig::sweep_interval`], a few megabytes at a time and at most half of the time. The
//! values above 2 kB are not read for that. Space is reused, and given back to the system only by
//! `VACUUM FULL`.
//!
//! # Cancel safety
//!
//! A connection whose caller left would still be busy with the caller's statement, and let the
//! next one wait behind it. So when a caller's future is dropped, a task goes on with what it had
//! begun, and other callers that travel with it notice nothing: a read is finished for nobody, and
//! a write is finished, or not begun when it had not travelled yet.
//!
//! # When the server is slow or gone
//!
//! A call waits at most [`PostgresConfig::connect_timeout`] for a free connection, the same for a
//! new one, and [`PostgresConfig::statement_timeout`] for each statement. The server ends a
//! statement in time; when it does not even do that, the connection is closed a quarter of a
//! second later, and a write's error says that it may have happened. A server that refuses
//! connections fails calls at once. When it is back, the next call connects.

mod address;
mod calls;
mod config;
mod connection;
mod ending;
mod error;
mod evictor;
mod inspect;
mod invalidate;
mod leases;
mod listener;
mod log;
mod migrations;
mod position;
mod puts;
mod record;
mod room;
mod setup;
mod single;
mod sql;
mod store;
mod survey;
mod sweeper;
mod tier;
#[cfg(feature = "tls")]
mod tls;
mod trim;
mod wake;

pub use config::{PostgresConfig, PostgresDurability, PostgresLogging};
pub use inspect::PostgresReport;
pub use invalidate::{invalidate, invalidate_tags};
pub use tier::PostgresTier;
