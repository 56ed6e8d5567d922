//! Reads and writes through Redis.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use bb8_redis::redis;
use cache_benches::comparison::Row;
use cache_core::{Namespace, SystemClock, Tier};
use cache_redis::{RedisConfig, RedisTier};

use crate::{
    Setting, bare,
    bare::Check,
    callers::closed_loop,
    ours::{self, KEYS, Ours},
    programs::redis_benchmark,
    turns::{Figure, Question, Wanted},
};

const MANY: usize = 1_000;

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let keys: Arc<[String]> = ours::keys(KEYS).into();
    let ours = Ours::open(setting).await?;
    bare::fill_redis(setting, &keys).await?;
    let mut rows = reads(setting, &ours, &keys).await?;
    rows.extend(over_a_socket(setting, &keys).await?);
    rows.extend(writes(setting, &ours, &keys).await?);
    Ok(rows)
}

async fn reads(setting: &Setting, ours: &Ours, keys: &Arc<[String]>) -> Result<Vec<Row>> {
    let cache = ours.over("redis-reads", ours.redis.clone())?;
    ours::fill(&cache, keys).await?;
    let namespace: Namespace = cache.namespace().clone();
    let connection = bare::redis_connection(setting).await?;
    let pool = bare::redis_pool(setting, 10, Check::Ping).await?;
    let unchecked = bare::redis_pool(setting, 10, Check::None).await?;

    let mut question = Question::new(setting);
    let cached = |callers| {
        let (cache, keys) = (&cache, keys);
        move |lasting| {
            let (cache, keys) = (cache.clone(), Arc::clone(keys));
            closed_loop(callers, KEYS, lasting, move |i| {
                let (cache, keys) = (cache.clone(), Arc::clone(&keys));
                async move { ours::read(&cache, &keys[i]).await }
            })
        }
    };
    let tier = |callers| {
        let (tier, namespace, keys) = (&ours.redis, &namespace, keys);
        move |lasting| {
            let (tier, namespace, keys) = (Arc::clone(tier), namespace.clone(), Arc::clone(keys));
            closed_loop(callers, KEYS, lasting, move |i| {
                let (tier, key) = (Arc::clone(&tier), namespace.key(&keys[i]));
                async move {
                    let found = tier.get(&key?).await?;
                    anyhow::ensure!(found.entry.is_some(), "a key is gone");
                    Ok(())
                }
            })
        }
    };
    let multiplexed = |callers| {
        let (connection, keys) = (&connection, keys);
        move |lasting| {
            let (connection, keys) = (connection.clone(), Arc::clone(keys));
            closed_loop(callers, KEYS, lasting, move |i| {
                let (connection, keys) = (connection.clone(), Arc::clone(&keys));
                async move { bare::get(connection, &keys[i]).await }
            })
        }
    };
    let checked_out = |pool: &bare::RedisPool| {
        let (pool, keys) = (pool.clone(), Arc::clone(keys));
        move |lasting| {
            let (pool, keys) = (pool.clone(), Arc::clone(&keys));
            closed_loop(MANY, KEYS, lasting, move |i| {
                let (pool, keys) = (pool.clone(), Arc::clone(&keys));
                async move { bare::get_checked_out(&pool, &keys[i]).await }
            })
        }
    };
    question.subject("cache", cached(1));
    question.subject("redis-rs", multiplexed(1));
    question.subject("tier", tier(1));
    question.subject("cache, 1,000", cached(MANY));
    question.subject("redis-benchmark -P 64", |lasting| redis_benchmark(setting, "get", 64, lasting));
    question.subject("tier, 1,000", tier(MANY));
    question.subject("bb8-redis", checked_out(&pool));
    question.subject("bb8-redis without PING", checked_out(&unchecked));
    question.subject("redis-rs, 1,000", multiplexed(MANY));
    question.subject("redis-benchmark -P 16", |lasting| redis_benchmark(setting, "get", 16, lasting));
    question.subject("redis-benchmark", |lasting| redis_benchmark(setting, "get", 1, lasting));

    let one = |what: &str| format!("L1 hit, 1 caller: {what}");
    let many = |what: &str| format!("L1 hit, 1,000 callers: {what}");
    question.row(
        Wanted::new(one("get"), Figure::Micros, "cache").beside("redis-rs").at_most(1.15),
    );
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
    let rows = question.answer().await?;
    cache.clear().await?;
    Ok(rows)
}

/// The same over a Unix socket, where the server has one.
async fn over_a_socket(setting: &Setting, keys: &Arc<[String]>) -> Result<Vec<Row>> {
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
    let here = Ours::open(setting).await?;
    let cache = here.over("redis-socket", tier.clone())?;
    ours::fill(&cache, keys).await?;
    let connection =
        redis::Client::open(&*url)?.get_multiplexed_async_connection().await?;

    let mut question = Question::new(setting);
    question.subject("cache", |lasting| {
        let (cache, keys) = (cache.clone(), Arc::clone(keys));
        closed_loop(1, KEYS, lasting, move |i| {
            let (cache, keys) = (cache.clone(), Arc::clone(&keys));
            async move { ours::read(&cache, &keys[i]).await }
        })
    });
    question.subject("redis-rs over the same socket", |lasting| {
        let (connection, keys) = (connection.clone(), Arc::clone(keys));
        closed_loop(1, KEYS, lasting, move |i| {
            let (connection, keys) = (connection.clone(), Arc::clone(&keys));
            async move { bare::get(connection, &keys[i]).await }
        })
    });
    question.row(
        Wanted::new(name, Figure::Micros, "cache").beside("redis-rs over the same socket"),
    );
    let rows = question.answer().await?;
    cache.clear().await?;
    tier.close().await?;
    Ok(rows)
}

async fn writes(setting: &Setting, ours: &Ours, keys: &Arc<[String]>) -> Result<Vec<Row>> {
    let cache = ours.over("redis-writes", ours.redis.clone())?;
    let pool = bare::redis_pool(setting, 10, Check::Ping).await?;
    let unchecked = bare::redis_pool(setting, 10, Check::None).await?;

    let mut question = Question::new(setting);
    question.subject("cache", |lasting| {
        let (cache, keys) = (cache.clone(), Arc::clone(keys));
        closed_loop(MANY, KEYS, lasting, move |i| {
            let (cache, keys) = (cache.clone(), Arc::clone(&keys));
            async move {
                cache.insert(&keys[i], ours::value()).await?;
                Ok(())
            }
        })
    });
    let set = |pool: &bare::RedisPool| {
        let (pool, keys) = (pool.clone(), Arc::clone(keys));
        move |lasting: Duration| {
            let (pool, keys) = (pool.clone(), Arc::clone(&keys));
            closed_loop(MANY, KEYS, lasting, move |i| {
                let (pool, keys) = (pool.clone(), Arc::clone(&keys));
                async move { bare::set_checked_out(&pool, &keys[i], &ours::value()).await }
            })
        }
    };
    question.subject("bb8-redis", set(&pool));
    question.subject("bb8-redis without PING", set(&unchecked));
    question.subject("redis-benchmark SET -P 64", |lasting| redis_benchmark(setting, "set", 64, lasting));
    let insert = |what, reference| {
        let name = format!("L1 insert, 1,000 callers: {what}");
        Wanted::new(name, Figure::PerSecond, "cache").beside(reference)
    };
    question.row(insert("of a SET PX by a checkout each", "bb8-redis").at_least(4.0));
    question.row(insert("of a checkout without PING", "bb8-redis without PING"));
    question.row(insert("of the server's limit", "redis-benchmark SET -P 64"));
    let rows = question.answer().await?;
    cache.clear().await?;
    Ok(rows)
}
