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
//! # What other processes learn
//!
//! [`RedisTier::log`](cache_core::Tier::log) is a stream in Redis, `PREFIX:~log`, to which the
//! scripts that remove, insert and clear append in the same step. It holds at
//! least the last [`log_len_max`](RedisConfig::log_len_max) changes; a reader that was away for more, or whose
//! position is from before the server lost data, is told of a gap. Readers wait on connections of
//! their own. Programs in other languages follow it by the form of its entries:
//!
//! | field | content |
//! |-------|---------|
//! | id | `SEQ-NONCE`: a number that grows by one with each entry, and a random one |
//! | `p` | the `NONCE` of the entry before: if it is another, something is missing |
//! | `t` | when, by the clock of the process that did it, in milliseconds since 1970 |
//! | `c` | `key` (keys were removed or inserted), `clear` (a namespace was cleared), `beat` |
//! | `n` | the names of what has changed, one after the other; empty for a beat |
//! | `m` | for each name the mark that the change has set, in 8 bytes; empty for a beat |
//! | `a` | `cache`, or `app` for a removal by [`INVALIDATE_SCRIPT`] |
//!
//! An entry holds the changes of one call, up to 256. A name is 4 bytes for the checksum of the
//! record if it was inserted, otherwise 0; 4 bytes for the length of what follows; and the encoded
//! key `NAMESPACE:TEXT`, or the name of the namespace. A mark is the key's fence, or the floor of
//! the namespace, and 0 where nothing has changed: that name is to be passed over. The numbers in
//! `n` and `m` are big-endian.
//!
//! The key `PREFIX:~log:end` holds the id of the last entry, a space, and what the scripts need to
//! know themselves. A program that knows Redis only removes
//! a key, and has it told, with [`INVALIDATE_SCRIPT`]. What is added to the stream in another way
//! is a gap to all readers.
//!
//! [`RedisTier::leases`](cache_core::Tier::leases) are keys `PREFIX:NAMESPACE~lease:TEXT` that end
//! by themselves. A release is told on the channel `PREFIX:~leases`, and whoever waits looks four
//! times a second as well, one for all waiters of a key.
//!
//! # What it wants of the server
//!
//! Redis 5 or later, 4 with [`log`](RedisConfig::log) off, or what speaks its protocol and runs its
//! scripts; not a cluster. Every entry expires by itself, so nothing needs to be cleaned up; a key
//! of 16 bytes for each namespace stays, and the log. Set a `maxmemory`, and `maxmemory-policy` to `allkeys-lru`. The policies that evict at
//! random or what expires first (`volatile-ttl`) may evict the memory of a removal before a load
//! that began earlier has ended, which then writes an old value.
//!
//! A server that comes back empty or with an old snapshot, a replica that was behind when it took
//! over, and the loss of a namespace's control key are noticed by the first call of any process that
//! has met a newer mark of the namespace. What is left of the namespace is given up in the server,
//! the log gets a gap, and the call fails with [`LostData`](cache_core::ErrorKind::LostData), having
//! done nothing; the next finds the namespace empty. A process that has met none of what was lost
//! (it has just started, or did not use the namespace in between) cannot tell: until another one
//! does, it sees values that were removed after the snapshot. So a cache is best not persisted, or
//! with an append-only file. What is remembered are 10,000 namespaces a process.
//!
//! An access rule for the user needs `~PREFIX:* &PREFIX:* +mget +get +getrange +set +unlink +pttl
//! +evalsha +script|load +scan +info +ping +hello +auth +select +xadd +xread +publish +subscribe`.
//! Where the tier evicts by itself ([`tracked_entries_max`](RedisConfig::tracked_entries_max)) also
//! `+zadd +zrem +zcard +zscore +zcount +zpopmin +hget +hmget +hset +hdel +hincrby +hscan`.
//! Without the right to `+xadd` changes are made all the same, and are gaps to the readers of the
//! log; without `+publish +subscribe` who waits for a lease looks by itself.
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
mod fit;
mod health;
mod inspect;
mod layout;
mod lease;
mod log;
mod marks;
mod scripts;
mod single;
mod store;
mod sweep;
mod tier;
mod tracker;
mod waiting;
mod write;

pub use config::{LogMode, RedisConfig};
pub use fit::Disagreement;
pub use inspect::RedisReport;
pub use scripts::INVALIDATE_SCRIPT;
pub use tier::RedisTier;
