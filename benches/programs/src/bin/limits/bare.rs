//! The clients that users have without a cache, set up as their documents say.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bb8_redis::{
    RedisConnectionManager, bb8,
    redis::{self, AsyncCommands, aio::MultiplexedConnection},
};
use diesel::{
    ExpressionMethods, QueryDsl,
    pg::Pg,
    query_builder::{AstPass, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Binary, Text},
};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, bb8::Pool as DieselPool,
    },
};
use futures::FutureExt;
use tokio::sync::Semaphore;

use crate::{Setting, callers::closed_loop, ours, turns::Figures};

/// How long an entry lives in Redis, in milliseconds, where it is set with a time.
const PX: u64 = 3_600_000;

/// Keys that are written at once to prepare.
const BATCH: usize = 1_000;

// ---- Redis

pub(crate) type RedisPool = bb8::Pool<RedisConnectionManager>;

/// Whether a connection is asked for a sign of life before each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// As bb8 has it by default.
    Ping,
    None,
}

pub(crate) async fn redis_pool(setting: &Setting, size: u32, check: Check) -> Result<RedisPool> {
    let manager = RedisConnectionManager::new(&*setting.redis_url)?;
    let pool = RedisPool::builder().max_size(size).test_on_check_out(check == Check::Ping);
    Ok(pool.build(manager).await?)
}

pub(crate) async fn redis_connection(setting: &Setting) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(&*setting.redis_url)?;
    Ok(client.get_multiplexed_async_connection().await?)
}

/// Sets plain values: of our keys, and of those that redis-benchmark reads.
pub(crate) async fn fill_redis(setting: &Setting, keys: &[String]) -> Result<()> {
    let mut connection = redis_connection(setting).await?;
    let value = ours::value();
    let theirs: Vec<String> = (0..ours::KEYS).map(|i| format!("key:{i:012}")).collect();
    for batch in keys.chunks(BATCH).chain(theirs.chunks(BATCH)) {
        let mut pipe = redis::pipe();
        for key in batch {
            pipe.set(key, &*value).ignore();
        }
        pipe.exec_async(&mut connection).await?;
    }
    Ok(())
}

/// GETs of `callers` that share a connection.
pub(crate) async fn gets(
    connection: &MultiplexedConnection,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (connection, keys) = (connection.clone(), Arc::clone(keys));
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (mut connection, keys) = (connection.clone(), Arc::clone(&keys));
        async move { check(connection.get::<_, Vec<u8>>(&keys[i]).await?.len()) }
    })
    .await
}

pub(crate) async fn get_many(mut connection: MultiplexedConnection, keys: &[String]) -> Result<()> {
    let found: Vec<Vec<u8>> = connection.mget(keys).await?;
    found.iter().try_for_each(|value| check(value.len()))
}

/// GETs of `callers`, each of which checks a connection out.
pub(crate) async fn checked_out_gets(
    pool: &RedisPool,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (pool, keys) = (pool.clone(), Arc::clone(keys));
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (pool, keys) = (pool.clone(), Arc::clone(&keys));
        async move { check(pool.get().await?.get::<_, Vec<u8>>(&keys[i]).await?.len()) }
    })
    .await
}

/// SETs of `callers`, each of which checks a connection out.
pub(crate) async fn checked_out_sets(
    pool: &RedisPool,
    keys: &Arc<[String]>,
    callers: usize,
    lasting: Duration,
) -> Result<Figures> {
    let (pool, keys, value) = (pool.clone(), Arc::clone(keys), ours::value());
    closed_loop(callers, keys.len(), lasting, move |i| {
        let (pool, keys, value) = (pool.clone(), Arc::clone(&keys), value.clone());
        async move { Ok(pool.get().await?.pset_ex::<_, _, ()>(&keys[i], &*value, PX).await?) }
    })
    .await
}

fn check(len: usize) -> Result<()> {
    anyhow::ensure!(len == ours::VALUE_LEN, "another value than was put");
    Ok(())
}

// ---- PostgreSQL

mod schema {
    diesel::table! {
        limits_plain (key) {
            key -> Text,
            value -> Binary,
        }
    }
}
use schema::limits_plain;

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Waits,
    DoesNot,
}

/// A pool that hands its connections out in the order of asking: bb8 alone lets some callers starve,
/// whose waits nobody would see.
#[derive(Debug)]
pub(crate) struct PostgresPool {
    pool: DieselPool<AsyncPgConnection>,
    slots: Semaphore,
}

/// As many connections as our tier has, which are looked at as it does: whether they are known to be
/// broken, without asking the server.
pub(crate) async fn postgres_pool(setting: &Setting, commit: Commit) -> Result<PostgresPool> {
    let size = cache_postgres::PostgresConfig::new(&*setting.postgres_url).pool_size;
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        async move {
            let mut connection = AsyncPgConnection::establish(url).await?;
            if commit == Commit::DoesNot {
                let statement = "SET synchronous_commit TO off";
                connection
                    .batch_execute(statement)
                    .await
                    .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            }
            Ok(connection)
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config(&*setting.postgres_url, config);
    let pool = DieselPool::builder().max_size(size).build(manager).await?;
    Ok(PostgresPool { pool, slots: Semaphore::new(size as usize) })
}

impl PostgresPool {
    /// Makes the table that users would have, and fills it.
    pub(crate) async fn fill(&self, keys: &[String]) -> Result<()> {
        let mut connection = self.pool.get().await?;
        let table = "DROP TABLE IF EXISTS limits_plain; \
             CREATE TABLE limits_plain (key text PRIMARY KEY, value bytea NOT NULL)";
        connection.batch_execute(table).await?;
        let value = ours::value();
        for batch in keys.chunks(BATCH) {
            let rows: Vec<_> = batch
                .iter()
                .map(|key| (limits_plain::key.eq(key), limits_plain::value.eq(&*value)))
                .collect();
            diesel::insert_into(limits_plain::table).values(rows).execute(&mut connection).await?;
        }
        connection.batch_execute("VACUUM ANALYZE limits_plain").await?;
        Ok(())
    }

    /// Reads of `callers` by primary key.
    pub(crate) async fn finds(
        self: &Arc<Self>,
        keys: &Arc<[String]>,
        callers: usize,
        lasting: Duration,
    ) -> Result<Figures> {
        let (pool, keys) = (Arc::clone(self), Arc::clone(keys));
        closed_loop(callers, keys.len(), lasting, move |i| {
            let (pool, keys) = (Arc::clone(&pool), Arc::clone(&keys));
            async move { pool.find(&keys[i]).await }
        })
        .await
    }

    /// Upserts of `callers`.
    pub(crate) async fn upserts(
        self: &Arc<Self>,
        keys: &Arc<[String]>,
        callers: usize,
        statement: Statement,
        lasting: Duration,
    ) -> Result<Figures> {
        let (pool, keys, value) = (Arc::clone(self), Arc::clone(keys), ours::value());
        closed_loop(callers, keys.len(), lasting, move |i| {
            let (pool, keys, value) = (Arc::clone(&pool), Arc::clone(&keys), value.clone());
            async move { pool.upsert(&keys[i], &value, statement).await }
        })
        .await
    }

    async fn find(&self, key: &str) -> Result<()> {
        let _slot = self.slots.acquire().await?;
        let mut connection = self.pool.get().await?;
        let found = limits_plain::table.find(key).select(limits_plain::value);
        let value: Vec<u8> = found.first(&mut connection).await.context("a key is gone")?;
        check(value.len())
    }

    /// Not there, and written: what a load does.
    pub(crate) async fn load(&self, key: &str, value: &[u8]) -> Result<()> {
        let _slot = self.slots.acquire().await?;
        let mut connection = self.pool.get().await?;
        let found = limits_plain::table.find(key).select(limits_plain::value);
        let found: Vec<Vec<u8>> = found.load(&mut connection).await?;
        if found.is_empty() {
            upsert(&mut connection, key, value).await?;
        }
        Ok(())
    }

    async fn upsert(&self, key: &str, value: &[u8], statement: Statement) -> Result<()> {
        let _slot = self.slots.acquire().await?;
        let mut connection = self.pool.get().await?;
        match statement {
            Statement::Built => upsert(&mut connection, key, value).await,
            Statement::Prepared => {
                let upsert = Upsert { key: key.to_owned(), value: value.to_vec() };
                upsert.execute(&mut connection).await?;
                Ok(())
            }
        }
    }
}

/// How an upsert is told to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// As diesel builds it, and prepares it anew at each call.
    Built,
    /// A text that is prepared once a connection.
    Prepared,
}

/// What a user of diesel writes.
async fn upsert(connection: &mut AsyncPgConnection, key: &str, value: &[u8]) -> Result<()> {
    diesel::insert_into(limits_plain::table)
        .values((limits_plain::key.eq(key), limits_plain::value.eq(value)))
        .on_conflict(limits_plain::key)
        .do_update()
        .set(limits_plain::value.eq(value))
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(Debug, QueryId)]
struct Upsert {
    key: String,
    value: Vec<u8>,
}

impl QueryFragment<Pg> for Upsert {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO limits_plain (key, value) VALUES (");
        out.push_bind_param::<Text, _>(&self.key)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.value)?;
        out.push_sql(") ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value");
        Ok(())
    }
}
