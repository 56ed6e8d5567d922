//! The Redis tier of a tiered cache.
//!
//! ```no_run
//! use std::time::Duration;
//! use bytes::Bytes;
//! use cache_core::{Clock, CodecId, Entry, Namespace, SystemClock, TierExt, Tier, Ttl};
//! use cache_redis::RedisTier;
//!
//! # async fn example() -> cache_core::Result<()> {
//! let tier = RedisTier::open("redis://127.0.0.1:6379").await?;
//! let key = Namespace::new("price")?.key("AAPL")?;
//! let ttl = Ttl::fresh(Duration::from_secs(15));
//! let entry = Entry::new(Bytes::from("187.5"), CodecId(3), SystemClock::new().now(), ttl);
//! tier.put(key.clone(), entry).await?;
//! assert!(tier.get(&key).await?.entry.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! [`RedisTier::open`] takes an address and defaults; [`RedisTier::connect`] takes a
//! [`RedisConfig`] and a clock; [`RedisTier::connect_lazy`] does not need the server to be up.
//! Each gives an `Arc<RedisTier>`, which is an `Arc<dyn Tier>` wherever one is wanted.
//!
//! # When the server is away
//!
//! A call to a server that refuses connections fails at once, one to a server that does not answer
//! fails after [`connect_timeout`](RedisConfig::connect_timeout) or
//! [`response_timeout`](RedisConfig::response_timeout). Nothing is retried here. Once the server is
//! back the next call succeeds: connections that died are replaced, no restart is needed.
//!
//! # What it wants of the server
//!
//! Redis 4 or later, or what speaks its protocol and runs its scripts; not a cluster. Every entry
//! expires by itself, so nothing needs to be cleaned up; a key of 16 bytes for each namespace
//! stays. Set a `maxmemory`, and `maxmemory-policy` to `allkeys-lru`. The policies that evict at
//! random or what expires first (`volatile-ttl`) may evict the memory of a removal before a load
//! that began earlier has ended, which then writes an old value.
//!
//! A server that comes back empty, or lost the control key of a namespace, is noticed: whatever was
//! read before is not written after. One that comes back with an old snapshot is not, and shows
//! values that were removed after the snapshot until they expire: do not persist a cache, or use an
//! append-only file. The same holds for a replica that was behind when it took over.
//!
//! An access rule for the user needs `~PREFIX:* +mget +get +getrange +set +unlink +pttl +evalsha
//! +script|load +scan +info +ping +hello +auth +select`.
//!
//! # How it works
//!
//! A record is stored as its [wire form](cache_core::wire) under `PREFIX:NAMESPACE:TEXT`. Beside
//! them each namespace has one control key, `PREFIX:NAMESPACE`: the last mark that was given out,
//! and the floor, which is the mark of the last clear. Puts and removals are scripts that compare
//! the marks and write in one step; a lookup reads the control key and the record in one `MGET`; a
//! clear raises the floor, and the space is given back in the background by `SCAN` and `UNLINK`.
//!
//! Calls for one key that many tasks make at the same moment travel together, as one `MGET` or one
//! script call: the first goes at once, the others while it is on its way.

mod config;
mod connection;
mod error;
mod health;
mod inspect;
mod layout;
mod scripts;
mod single;
mod store;
mod sweep;
mod tier;
mod write;

pub use config::RedisConfig;
pub use inspect::RedisReport;
pub use tier::RedisTier;
