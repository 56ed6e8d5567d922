//! Reads and writes through PostgreSQL.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use bytes::Bytes;
use cache_benches::comparison::Row;
use cache_core::{Cache, Namespace};

use crate::{
    Setting, bare,
    bare::{Commit, PostgresPool, Statement},
    callers::closed_loop,
    ours::{self, KEYS, Ours},
    programs::{fill_pgbench, pgbench},
    turns::{Figure, Question, Wanted},
};

const MANY: usize = 1_000;

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let keys: Arc<[String]> = ours::keys(KEYS).into();
    let ours = Ours::open(setting).await?;
    let pool = Arc::new(bare::postgres_pool(setting, Commit::Waits).await?);
    pool.fill(&keys).await?;
    fill_pgbench(setting).await?;
    let cache = ours.over("postgres", ours.postgres.clone())?;
    ours::fill(&cache, &keys).await?;
    let mut rows = reads(setting, &ours, &cache, &pool, &keys).await?;
    rows.extend(inserts(setting, &cache, &pool, &keys).await?);
    rows.extend(loads(setting, &ours).await?);
    Ok(rows)
}

async fn reads(
    setting: &Setting,
    ours: &Ours,
    cache: &Cache<Bytes>,
    pool: &Arc<PostgresPool>,
    keys: &Arc<[String]>,
) -> Result<Vec<Row>> {
    let namespace: Namespace = cache.namespace().clone();

    let tier = || Arc::clone(&ours.postgres);
    let mut question = Question::new(setting);
    question.subject("cache", |lasting| ours::reads(cache, keys, 1, lasting));
    question.subject("diesel-async", |lasting| pool.finds(keys, 1, lasting));
    question.subject("tier", |lasting| ours::lookups(tier(), &namespace, keys, 1, lasting));
    question.subject("cache, 1,000", |lasting| ours::reads(cache, keys, MANY, lasting));
    question.subject("pgbench -c 8", |_| pgbench(setting, 8));
    question
        .subject("tier, 1,000", |lasting| ours::lookups(tier(), &namespace, keys, MANY, lasting));
    question.subject("diesel-async, a checkout each", |lasting| pool.finds(keys, MANY, lasting));
    question.subject("pgbench -c 1", |_| pgbench(setting, 1));

    let one = |what: &str| format!("L2 hit, 1 caller: {what}");
    let many = |what: &str| format!("L2 hit, 1,000 callers: {what}");
    question
        .row(Wanted::new(one("get"), Figure::Micros, "cache").beside("diesel-async").at_most(1.25));
    question.row(Wanted::new(one("the tier alone"), Figure::Micros, "tier").beside("diesel-async"));
    question
        .row(Wanted::new(one("get of pgbench"), Figure::Micros, "cache").beside("pgbench -c 1"));
    let get = |what, reference| {
        Wanted::new(many(what), Figure::PerSecond, "cache, 1,000").beside(reference)
    };
    question.row(get("get of the server's limit a key", "pgbench -c 8").at_least(5.0));
    question.row(get("get of a checkout each", "diesel-async, a checkout each"));
    question.row(
        Wanted::new(many("the tier alone"), Figure::PerSecond, "tier, 1,000")
            .beside("pgbench -c 8"),
    );
    question.row(
        Wanted::new(many("p99"), Figure::P99, "cache, 1,000")
            .beside("diesel-async, a checkout each")
            .at_most(1.0)
            .noted("the reference waits in a fair queue"),
    );
    question.row(
        Wanted::new(many("the least served caller"), Figure::Evenness, "cache, 1,000")
            .at_least(0.5)
            .noted("of the mean"),
    );
    question.answer().await
}

async fn inserts(
    setting: &Setting,
    cache: &Cache<Bytes>,
    pool: &Arc<PostgresPool>,
    keys: &Arc<[String]>,
) -> Result<Vec<Row>> {
    let mut question = Question::new(setting);
    question.subject("cache", |lasting| ours::inserts(cache, keys, MANY, lasting));
    question
        .subject("diesel's upsert", |lasting| pool.upserts(keys, MANY, Statement::Built, lasting));
    question.subject("a prepared upsert", |lasting| {
        pool.upserts(keys, MANY, Statement::Prepared, lasting)
    });
    let insert = |what, reference| {
        let name = format!("L2 insert, 1,000 callers: {what}");
        Wanted::new(name, Figure::PerSecond, "cache").beside(reference)
    };
    question.row(
        insert("of an upsert a statement", "diesel's upsert")
            .at_least(10.0)
            .noted("both wait for the disk; ours is told in the log as well"),
    );
    question.row(insert("of a prepared upsert a statement", "a prepared upsert"));
    question.answer().await
}

/// Loads of keys that nobody has: looked for, and written without waiting for the disk.
async fn loads(setting: &Setting, ours: &Ours) -> Result<Vec<Row>> {
    let cache = ours.over("postgres-loads", ours.postgres.clone())?;
    let pool = Arc::new(bare::postgres_pool(setting, Commit::DoesNot).await?);
    let next = Arc::new(AtomicUsize::new(0));

    let mut question = Question::new(setting);
    question.subject("cache", |lasting| {
        let (cache, next) = (cache.clone(), Arc::clone(&next));
        closed_loop(MANY, 1, lasting, move |_| {
            let (cache, next) = (cache.clone(), Arc::clone(&next));
            async move {
                let key = format!("load:{}", next.fetch_add(1, Ordering::Relaxed));
                let load = || async { Ok::<_, std::convert::Infallible>(ours::value()) };
                cache.get_or_load(&key, load).await?;
                Ok(())
            }
        })
    });
    question.subject("diesel's select and upsert", |lasting| {
        let (pool, next) = (Arc::clone(&pool), Arc::clone(&next));
        closed_loop(MANY, 1, lasting, move |_| {
            let (pool, next) = (Arc::clone(&pool), Arc::clone(&next));
            async move {
                let key = format!("load:{}", next.fetch_add(1, Ordering::Relaxed));
                pool.load(&key, &ours::value()).await
            }
        })
    });
    question.row(
        Wanted::new("L2 load of a missing key, 1,000 callers", Figure::PerSecond, "cache")
            .beside("diesel's select and upsert")
            .noted("synchronous_commit = off in both"),
    );
    question.answer().await
}
