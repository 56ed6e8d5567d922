//! Operations that need no server: the near tier, codecs, the wire format, and the stack over tiers
//! in this process.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use cache_core::{
    ByteSize, Cache, Clock, Codec, CodecId, Entry, Json, MemoryTier, PAYLOAD_LEN_MAX, SystemClock,
    Tier, Ttl, wire,
};

use super::Tally;
use crate::{bar::Bar, market::Market, warm};

/// Keys of each batch.
pub(super) const BATCH: usize = 100;

/// Counts all of them.
///
/// # Errors
///
/// The shipped sample is broken, or a cache does not take it: a bug.
///
/// # Cancel safety
///
/// A dropped future leaves the rest uncounted.
pub async fn count(tally: &mut Tally) -> Result<()> {
    let bars = Market::shipped()?.sample(BATCH)?;
    let keys: Vec<String> = bars.iter().map(Bar::key).collect();
    near(tally, &bars, &keys).await?;
    formats(tally, &bars[0]).await?;
    stack(tally, &bars, &keys).await
}

async fn near(tally: &mut Tally, bars: &[Bar], keys: &[String]) -> Result<()> {
    let cache: Cache<Bar> = Cache::builder("counters").ttl(warm::ttl()).build()?;
    for (key, bar) in keys.iter().zip(bars) {
        cache.insert(key, bar.clone()).await?;
    }
    let key = |round: usize| keys[round % BATCH].as_str();
    let peek = async |round| assert!(cache.peek(key(round)).is_some());
    tally.operation("near: peek", nothing, peek).await;
    let get = async |round| assert!(cache.get(key(round)).await.is_ok_and(|hit| hit.is_some()));
    tally.operation("near: get", nothing, get).await;
    let load = async |round| {
        let loader = || async { Err::<Bar, &str>("it is there: nobody asks for it") };
        assert!(cache.get_or_load(key(round), loader).await.is_ok());
    };
    tally.operation("near: get_or_load, a hit", nothing, load).await;
    let many = async |_| assert!(cache.get_many(keys).await.is_ok_and(|hits| all_there(&hits)));
    tally.operation("near: get_many of 100", nothing, many).await;
    let insert = async |round: usize| {
        let inserted = cache.insert(key(round), bars[round % BATCH].clone()).await;
        assert!(inserted.is_ok());
    };
    tally.operation("near: insert", nothing, insert).await;
    Ok(())
}

async fn formats(tally: &mut Tally, bar: &Bar) -> Result<()> {
    let payload = Json.encode(bar)?;
    let now = SystemClock::new().now();
    let entry = Entry::new(payload.clone(), CodecId(1), now, Ttl::fresh(warm::ttl()));
    let stored = Bytes::from(wire::encode_value(&entry, 7));
    let encode = async |_| drop(black_box(Json.encode(black_box(bar))));
    tally.operation("json: encode", nothing, encode).await;
    let decode = async |_| {
        let decoded: cache_core::Result<Bar> = Json.decode(black_box(&payload));
        drop(black_box(decoded));
    };
    tally.operation("json: decode", nothing, decode).await;
    let encode = async |_| drop(black_box(wire::encode_value(black_box(&entry), 7)));
    tally.operation("wire: encode", nothing, encode).await;
    let decode = async |_| drop(black_box(wire::decode(black_box(&stored), PAYLOAD_LEN_MAX)));
    tally.operation("wire: decode", nothing, decode).await;
    Ok(())
}

/// Over tiers that answer at once, so that what is counted is what the stack adds.
async fn stack(tally: &mut Tally, bars: &[Bar], keys: &[String]) -> Result<()> {
    let memory = |name| -> Arc<dyn Tier> {
        Arc::new(MemoryTier::new(ByteSize::mib(64), SystemClock::shared()).named(name))
    };
    let (l1, l2) = (memory("l1"), memory("l2"));
    let lower: Cache<Bar> =
        Cache::builder("counters").ttl(warm::ttl()).without_near().tier(l1).tier(l2).build()?;
    for (key, bar) in keys.iter().zip(bars) {
        lower.insert(key, bar.clone()).await?;
    }
    let key = |round: usize| keys[round % BATCH].as_str();
    let get = async |round| assert!(lower.get(key(round)).await.is_ok_and(|hit| hit.is_some()));
    tally.operation("stack in memory: l1 hit", nothing, get).await;
    let many = async |_| assert!(lower.get_many(keys).await.is_ok_and(|hits| all_there(&hits)));
    tally.operation("stack in memory: get_many of 100", nothing, many).await;
    let insert = async |round: usize| {
        assert!(lower.insert(key(round), bars[round % BATCH].clone()).await.is_ok());
    };
    tally.operation("stack in memory: insert", nothing, insert).await;
    let invalidate = async |round| assert!(lower.invalidate(key(round)).await.is_ok());
    tally.operation("stack in memory: invalidate", nothing, invalidate).await;
    Ok(())
}

pub(super) fn all_there<T>(hits: &[Option<T>]) -> bool {
    hits.iter().all(Option::is_some)
}

pub(super) async fn nothing(_: usize) {}
