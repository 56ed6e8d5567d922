//! The seed system's four scenarios, beside its own way of calling the same server.

use std::sync::Arc;

use anyhow::{Context, Result};
use bb8_redis::redis::AsyncCommands;
use cache_benches::{bar::Bar, comparison::Row, market::Market, warm};
use cache_core::Cache;

use crate::{
    Setting, bare,
    bare::{Check, RedisPool},
    callers::closed_loop,
    ours::Ours,
    turns::{Figure, Figures, Question, Wanted},
};

/// Its pool: so many connections, for which callers wait, one command a call.
const POOL: u32 = 50;

/// A scenario: its name, callers, keys, and writes in 100 operations.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    callers: usize,
    keys: usize,
    writes: usize,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "read-1000", callers: 1_000, keys: 100, writes: 0 },
    Scenario { name: "write-1000", callers: 1_000, keys: 1_000, writes: 100 },
    Scenario { name: "mixed-1000", callers: 1_000, keys: 100, writes: 20 },
    Scenario { name: "stress-5000", callers: 5_000, keys: 500, writes: 0 },
];

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let ours = Ours::open(setting).await?;
    let pool = bare::redis_pool(setting, POOL, Check::None).await?;
    let bars: Arc<[Bar]> = Market::shipped()?.sample(1_000)?.into();
    let keys: Arc<[String]> = bars.iter().map(Bar::key).collect();
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        let values = Values { bars: Arc::clone(&bars), keys: Arc::clone(&keys) };
        rows.extend(values.rows(setting, &ours, &pool, scenario).await?);
    }
    Ok(rows)
}

#[derive(Clone, Debug)]
struct Values {
    bars: Arc<[Bar]>,
    keys: Arc<[String]>,
}

impl Values {
    async fn rows(
        &self,
        setting: &Setting,
        ours: &Ours,
        pool: &RedisPool,
        scenario: Scenario,
    ) -> Result<Vec<Row>> {
        let builder = || {
            let namespace = format!("limits-{:08x}", rand::random::<u32>());
            Cache::builder(&namespace).ttl(warm::ttl()).tier(ours.redis.clone())
        };
        let redis: Cache<Bar> = builder().without_near().build()?;
        let near: Cache<Bar> = builder().build()?;
        for (key, bar) in self.keys.iter().zip(self.bars.iter()) {
            redis.insert(key, bar.clone()).await?;
            near.insert(key, bar.clone()).await?;
            write(pool, key, bar).await?;
        }
        let mut question = Question::new(setting);
        question.subject("Redis alone", |lasting| self.ours(&redis, scenario, lasting));
        question.subject("its own pattern", |lasting| self.theirs(pool, scenario, lasting));
        question.subject("near and Redis", |lasting| self.ours(&near, scenario, lasting));
        let name = |what: &str| format!("seed system, {}: {what}", scenario.name);
        let redis_row = Wanted::new(name("through Redis alone"), Figure::PerSecond, "Redis alone")
            .beside("its own pattern");
        let near_row = Wanted::new(name("with a near tier"), Figure::PerSecond, "near and Redis")
            .beside("its own pattern");
        // Twenty times is more than Redis itself answers: that is for the near tier to bring.
        let is_target = scenario.name == "read-1000";
        question.row(redis_row);
        question.row(if is_target { near_row.at_least(20.0) } else { near_row });
        question.answer().await
    }

    async fn ours(
        &self,
        cache: &Cache<Bar>,
        scenario: Scenario,
        lasting: std::time::Duration,
    ) -> Result<Figures> {
        let (cache, values) = (cache.clone(), self.clone());
        closed_loop(scenario.callers, scenario.keys * 100, lasting, move |drawn| {
            let (cache, values) = (cache.clone(), values.clone());
            async move {
                let (i, write) = (drawn / 100, drawn % 100 < scenario.writes);
                if write {
                    cache.insert(&values.keys[i], values.bars[i].clone()).await?;
                } else {
                    let bar = cache.get(&values.keys[i]).await?.context("a key is gone")?;
                    anyhow::ensure!(bar.is_of(&values.bars[i]), "another value than was put");
                    // A hit that waits for nobody gives way all the same, as a request handler
                    // does that answers.
                }
                tokio::task::coop::consume_budget().await;
                Ok(())
            }
        })
        .await
    }

    async fn theirs(
        &self,
        pool: &RedisPool,
        scenario: Scenario,
        lasting: std::time::Duration,
    ) -> Result<Figures> {
        let (pool, values) = (pool.clone(), self.clone());
        closed_loop(scenario.callers, scenario.keys * 100, lasting, move |drawn| {
            let (pool, values) = (pool.clone(), values.clone());
            async move {
                let (i, is_write) = (drawn / 100, drawn % 100 < scenario.writes);
                if is_write {
                    return write(&pool, &values.keys[i], &values.bars[i]).await;
                }
                let json: Vec<u8> = pool.get().await?.get(&values.keys[i]).await?;
                let bar: Bar = serde_json::from_slice(&json)?;
                anyhow::ensure!(bar.is_of(&values.bars[i]), "another value than was put");
                Ok(())
            }
        })
        .await
    }
}

async fn write(pool: &RedisPool, key: &str, bar: &Bar) -> Result<()> {
    let json = serde_json::to_vec(bar)?;
    Ok(pool.get().await?.set_ex::<_, _, ()>(key, json, 3_600).await?)
}
