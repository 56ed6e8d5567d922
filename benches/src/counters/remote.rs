//! Operations that go to servers, on ways that count what is sent.
//!
//! A tier is asked alone as it is configured by default. The stack's caches have tiers without
//! logs: what readers of a log ask is not an operation's own, and comes when it likes.

use std::sync::Arc;

use anyhow::{Context, Result};
use cache_core::{
    Cache, Clock, Codec, Entry, Json, Key, Namespace, Removal, SystemClock, Tier, TierExt, Ttl,
};
use cache_postgres::{PostgresConfig, PostgresLogging, PostgresTier};
use cache_redis::{LogMode, RedisConfig, RedisTier};

use super::{
    Tally,
    local::{BATCH, all_there, nothing},
    requests::Protocol,
    way::Way,
};
use crate::{bar::Bar, market::Market, warm};

/// Where the servers are.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// The URL of a Redis.
    pub redis: Option<String>,
    /// The URL of a PostgreSQL, and a schema in it that nobody else uses.
    pub postgres: Option<(String, String)>,
}

impl Servers {
    /// Drops the schema that was counted in.
    ///
    /// # Errors
    ///
    /// PostgreSQL does not answer.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may leave the schema.
    pub async fn clean(&self) -> Result<()> {
        let Some((url, schema)) = &self.postgres else { return Ok(()) };
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let connected = tokio::spawn(connection);
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
        drop(client);
        Ok(connected.await??)
    }
}

/// Counts what can be counted with these servers.
///
/// # Errors
///
/// A tier cannot be opened or does not answer.
///
/// # Cancel safety
///
/// A dropped future leaves entries in the servers.
pub async fn count(tally: &mut Tally, servers: &Servers) -> Result<()> {
    let namespace = Namespace::new(&format!("counters-{:08x}", rand::random::<u32>()))?;
    let bars = Market::shipped()?.sample(BATCH)?;
    let mut urls = Servers::default();
    if let Some(url) = &servers.redis {
        urls.redis = Some(watched(tally, Protocol::Redis, url).await?);
    }
    if let Some((url, schema)) = &servers.postgres {
        urls.postgres = Some((watched(tally, Protocol::Postgres, url).await?, schema.clone()));
    }
    let data = Data::new(&namespace, &bars)?;
    if let Some(tier) = redis(&urls, LogMode::On).await? {
        alone(tally, "redis", &*tier, &data).await?;
    }
    if let Some(tier) = postgres(&urls, PostgresLogging::On).await? {
        alone(tally, "postgres", &*tier, &data).await?;
    }
    let (redis, postgres) =
        (redis(&urls, LogMode::Off).await?, postgres(&urls, PostgresLogging::Off).await?);
    if let Some((redis, postgres)) = redis.zip(postgres) {
        together(tally, &redis, &postgres, &data).await?;
        redis.close().await?;
        postgres.close().await?;
    }
    Ok(())
}

async fn watched(tally: &mut Tally, protocol: Protocol, url: &str) -> Result<String> {
    let way = Way::open(protocol, url).await.context("no way to the server")?;
    let url = way.url().to_owned();
    tally.watch(way);
    Ok(url)
}

async fn redis(servers: &Servers, log: LogMode) -> Result<Option<Arc<dyn Tier>>> {
    let Some(url) = &servers.redis else { return Ok(None) };
    let config = RedisConfig { log, ..RedisConfig::new(url) };
    Ok(Some(RedisTier::connect(&config, SystemClock::shared()).await?))
}

async fn postgres(servers: &Servers, log: PostgresLogging) -> Result<Option<Arc<dyn Tier>>> {
    let Some((url, schema)) = &servers.postgres else { return Ok(None) };
    let config = PostgresConfig { log, schema: schema.clone(), ..PostgresConfig::new(url) };
    Ok(Some(PostgresTier::connect(&config, SystemClock::shared()).await?))
}

/// What is stored and asked for.
struct Data {
    namespace: Namespace,
    texts: Vec<String>,
    keys: Vec<Key>,
    entries: Vec<Entry>,
    bars: Vec<Bar>,
}

impl Data {
    fn new(namespace: &Namespace, bars: &[Bar]) -> Result<Self> {
        let texts: Vec<String> = bars.iter().map(Bar::key).collect();
        let keys =
            texts.iter().map(|text| namespace.key(text)).collect::<cache_core::Result<_>>()?;
        let now = SystemClock::new().now();
        let entry = |bar: &Bar| {
            let codec = Codec::<Bar>::id(&Json);
            Ok(Entry::new(Json.encode(bar)?, codec, now, Ttl::fresh(warm::ttl())))
        };
        let entries = bars.iter().map(entry).collect::<Result<_>>()?;
        Ok(Self { namespace: namespace.clone(), texts, keys, entries, bars: bars.to_vec() })
    }
}

/// A tier by itself.
async fn alone(tally: &mut Tally, name: &str, tier: &dyn Tier, data: &Data) -> Result<()> {
    let Data { keys, entries, .. } = data;
    let fill = async |round: usize| {
        let (key, entry) = (keys[round % BATCH].clone(), entries[round % BATCH].clone());
        tier.put(key, entry).await.expect("the tier takes a bar");
    };
    for round in 0..BATCH {
        fill(round).await;
    }
    let get = async |round: usize| {
        let lookup = tier.get(&keys[round % BATCH]).await.expect("the tier answers");
        assert!(lookup.entry.is_some(), "a bar is gone");
    };
    tally.operation(&format!("{name} alone: get"), nothing, get).await;
    let many = async |_| {
        let lookups = tier.get_many(keys).await.expect("the tier answers");
        assert!(lookups.iter().all(|lookup| lookup.entry.is_some()), "a bar is gone");
    };
    tally.operation(&format!("{name} alone: get_many of 100"), nothing, many).await;
    tally.operation(&format!("{name} alone: put"), nothing, fill).await;
    let remove = async |round: usize| {
        tier.remove(keys[round % BATCH].clone()).await.expect("the tier forgets a bar");
    };
    tally.operation(&format!("{name} alone: remove"), nothing, remove).await;
    tier.clear(&data.namespace).await?;
    tier.close().await?;
    Ok(())
}

/// The stack that a service has.
async fn together(
    tally: &mut Tally,
    redis: &Arc<dyn Tier>,
    postgres: &Arc<dyn Tier>,
    data: &Data,
) -> Result<()> {
    let Data { namespace, texts, keys, bars, .. } = data;
    let tiers = || {
        let builder = Cache::builder(namespace.as_str()).ttl(warm::ttl());
        builder.tier(Arc::clone(redis)).tier(Arc::clone(postgres))
    };
    let near: Cache<Bar> = tiers().build()?;
    let lower: Cache<Bar> = tiers().without_near().build()?;
    for (text, bar) in texts.iter().zip(bars) {
        near.insert(text, bar.clone()).await?;
    }
    let removed = async |range: std::ops::Range<usize>| {
        let removals: Vec<Removal> = keys[range].iter().cloned().map(Removal::from).collect();
        redis.remove_many(&removals).await.expect("Redis forgets a bar");
    };
    let all = async |cache: &Cache<Bar>| {
        assert!(all_there(&cache.get_many(texts).await.expect("the tiers answer")));
    };
    let get = async |cache: &Cache<Bar>, round: usize| {
        let hit = cache.get(&texts[round % BATCH]).await.expect("the tiers answer");
        assert!(hit.is_some(), "a bar is gone");
    };
    tally.operation("stack: near hit", nothing, async |round| get(&near, round).await).await;
    tally.operation("stack: l1 hit", nothing, async |round| get(&lower, round).await).await;
    let one = async |round: usize| removed(round % BATCH..round % BATCH + 1).await;
    let hit = async |round| get(&lower, round).await;
    tally.operation("stack: l2 hit, promoted", one, hit).await;
    tally.operation("stack: get_many of 100, in near", nothing, async |_| all(&near).await).await;
    tally.operation("stack: get_many of 100, in l1", nothing, async |_| all(&lower).await).await;
    let half = async |_| removed(0..BATCH / 2).await;
    let name = "stack: get_many of 100, half in l1, promoted";
    tally.operation(name, half, async |_| all(&lower).await).await;
    let insert = async |round: usize| {
        let bar = bars[round % BATCH].clone();
        near.insert(&texts[round % BATCH], bar).await.expect("the tiers take a bar");
    };
    tally.operation("stack: insert", nothing, insert).await;
    let invalidate = async |round: usize| {
        near.invalidate(&texts[round % BATCH]).await.expect("the tiers forget a bar");
    };
    tally.operation("stack: invalidate", nothing, invalidate).await;
    redis.clear(namespace).await?;
    postgres.clear(namespace).await?;
    Ok(())
}
