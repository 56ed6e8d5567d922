//! Reads and writes through Redis.

use std::sync::Arc;

use anyhow::Result;
use bb8_redis::redis;
use bytes::Bytes;
use cache_benches::comparison::Row;
use cache_core::{Cache, Namespace, SystemClock, Tier};
use cache_redis::{RedisConfig, RedisTier};

use crate::{
    Setting, bare,
    bare::Check,
    batches::many_keys,
    ours::{self, KEYS, Ours},
    programs::redis_benchmark,
    turns::{Figure, Question, Wanted},
};

const MANY: usize = 1_000;

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let keys: Arc<[String]> = ours::keys(KEYS).into();
    let ours = Ours::open(setting).await?;
    let cache = ours.over("redis", ours.redis.clone())?;
    ours::fill(&cache, &keys).await?;
    bare::fill_redis(setting, &keys).await?;
    let mut rows = reads(setting, &ours, &cache, &keys).await?;
    rows.extend(over_a_socket(setting, &ours, &keys).await?);
    rows.extend(many_keys(setting, &cache, &keys).await?);
    rows.extend(writes(setting, &cache, &keys).await?);
    cache.clear().await?;
    Ok(rows)
}

async fn reads(
    setting: &Setting,
    ours: &Ours,
    cache: &Cache<Bytes>,
    keys: &Arc<[String]>,
) -> Result<Vec<Row>> {
    let namespace: Namespace = cache.namespace().clone();
    let connection = bare::redis_connection(setting).await?;
    let pool = bare::redis_pool(setting, 10, Check::Ping).await?;
    let unchecked = bare::redis_pool(setting, 10, Check::None).await?;

    let tier = || Arc::clone(&ours.redis);
    let mut question = Question::new(setting);
    question.subject("cache", |lasting| ours::reads(cache, keys, 1, lasting));
    question.subject("redis-rs", |lasting| bare::gets(&connection, keys, 1, lasting));
    question.subject("tier", |lasting| ours::lookups(tier(), &namespace, keys, 1, lasting));
    question.subject("cache, 1,000", |lasting| ours::reads(cache, keys, MANY, lasting));
    question
        .subject("redis-benchmark -P 64", |lasting| redis_benchmark(setting, "get", 64, lasting));
    question
        .subject("tier, 1,000", |lasting| ours::lookups(tier(), &namespace, keys, MANY, lasting));
    question.subject("bb8-redis", |lasting| bare::checked_out_gets(&pool, keys, MANY, lasting));
    question.subject("bb8-redis without PING", |lasting| {
        bare::checked_out_gets(&unchecked, keys, MANY, lasting)
    });
    question.subject("redis-rs, 1,000", |lasting| bare::gets(&connection, keys, MANY, lasting));
    question
        .subject("redis-benchmark -P 16", |lasting| redis_benchmark(setting, "get", 16, lasting));
    question.subject("redis-benchmark", |lasting| redis_benchmark(setting, "get", 1, lasting));

    let one = |what: &str| format!("L1 hit, 1 caller: {what}");
    let many = |what: &str| format!("L1 hit, 1,000 callers: {what}");
    question.row(Wanted::new(one("get"), Figure::Micros, "cache").beside("redis-rs").at_most(1.15));
    question.row(Wanted::new(one("the tier alone"), Figure::Micros, "tier").beside("redis-rs"));
    let get = |what, reference| {
        Wanted::new(many(what), Figure::PerSecond, "cache, 1,000").beside(reference)
    };
    question.row(get("get of a checkout each", "bb8-redis").at_least(10.0));
    question.row(get("get of the server's limit", "redis-benchmark -P 64").at_least(0.7));
    question.row(get("get of pipelines of 16", "redis-benchmark -P 16"));
    question.row(get("get of single requests", "redis-benchmark"));
    question.row(get("get of a shared connection", "redis-rs, 1,000"));
    question.row(get("get of a checkout without PING", "bb8-redis without PING"));
    question.row(
        Wanted::new(many("the tier alone"), Figure::PerSecond, "tier, 1,000")
            .beside("redis-benchmark -P 64"),
    );
    question.row(
        Wanted::new(many("the least served caller"), Figure::Evenness, "cache, 1,000")
            .at_least(0.5)
            .noted("of the mean"),
    );
    question.row(Wanted::new(many("p99"), Figure::P99, "cache, 1,000").beside("redis-rs, 1,000"));
    question.answer().await
}

/// The same over a Unix socket, where the server has one.
async fn over_a_socket(setting: &Setting, ours: &Ours, keys: &Arc<[String]>) -> Result<Vec<Row>> {
    let name = "L1 hit, 1 caller: get over a Unix socket";
    let mut connection = bare::redis_connection(setting).await?;
    let config: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("unixsocket").query_async(&mut connection).await?;
    let Some(path) = config.into_iter().nth(1).filter(|path| !path.is_empty()) else {
        let row = Row::untold(name, "us", "redis-rs over the same socket");
        return Ok(vec![row.noted("the server has no Unix socket")]);
    };
    let url = format!("redis+unix://{path}");
    let tier = RedisTier::connect(&RedisConfig::new(&*url), SystemClock::shared()).await?;
    let cache = ours.over("redis", tier.clone())?;
    let connection = redis::Client::open(&*url)?.get_multiplexed_async_connection().await?;

    let mut question = Question::new(setting);
    question.subject("cache", |lasting| ours::reads(&cache, keys, 1, lasting));
    question.subject("redis-rs over the same socket", |lasting| {
        bare::gets(&connection, keys, 1, lasting)
    });
    question
        .row(Wanted::new(name, Figure::Micros, "cache").beside("redis-rs over the same socket"));
    let rows = question.answer().await?;
    tier.close().await?;
    Ok(rows)
}

async fn writes(setting: &Setting, cache: &Cache<Bytes>, keys: &Arc<[String]>) -> Result<Vec<Row>> {
    let pool = bare::redis_pool(setting, 10, Check::Ping).await?;
    let unchecked = bare::redis_pool(setting, 10, Check::None).await?;

    let mut question = Question::new(setting);
    question.subject("cache", |lasting| ours::inserts(cache, keys, MANY, lasting));
    question.subject("bb8-redis", |lasting| bare::checked_out_sets(&pool, keys, MANY, lasting));
    question.subject("bb8-redis without PING", |lasting| {
        bare::checked_out_sets(&unchecked, keys, MANY, lasting)
    });
    question.subject("redis-benchmark SET -P 64", |lasting| {
        redis_benchmark(setting, "set", 64, lasting)
    });
    let insert = |what, reference| {
        let name = format!("L1 insert, 1,000 callers: {what}");
        Wanted::new(name, Figure::PerSecond, "cache").beside(reference)
    };
    question.row(insert("of a SET PX by a checkout each", "bb8-redis").at_least(4.0));
    question.row(insert("of a checkout without PING", "bb8-redis without PING"));
    question.row(insert("of the server's limit", "redis-benchmark SET -P 64"));
    question.answer().await
}
