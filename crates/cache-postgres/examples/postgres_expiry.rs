//! Measures, on the server of `DATABASE_URL`: how many updates stay in their page, and two ways to
//! get rid of what has expired: deleting it in batches, as the tier's sweeper does, and truncating
//! the partition of a generation.
//!
//! ```sh
//! cargo run --release -p cache-postgres --example postgres_expiry
//! ```

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cache_core::{Clock, CodecId, Condition, Entry, Key, Namespace, Put, SystemClock, Tier, Ttl};
use cache_postgres::{PostgresConfig, PostgresTier};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const EXPIRED: usize = 200_000;
const LIVE: usize = 50_000;
const RECORD_LEN: usize = 512;

/// Readers, each with a connection and a pause after each read: some 3,000 reads a second.
const READERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);

/// How long readers are watched while nothing else happens.
const QUIET: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let url = env::var("DATABASE_URL").expect("DATABASE_URL names the server");
    let schema = format!("expiry_{}", std::process::id());
    let config = PostgresConfig { schema, sweep_interval: None, ..PostgresConfig::new(url) };
    let server = Server::connect(&config).await?;
    updates(&config, &server).await?;
    sweeping(&config, &server).await?;
    generations(&server).await?;
    server.run(&format!("DROP SCHEMA {} CASCADE", config.schema)).await
}

/// The share of updates that touch no index, by the size of rows and of batches.
async fn updates(config: &PostgresConfig, server: &Server) -> Result<()> {
    const KEYS: usize = 20_000;
    const UPDATES: usize = 200_000;
    println!("updates, each of a key of {KEYS} at random:");
    for (payload_len, batch_len) in [(200, 1), (200, 100), (1_000, 1), (1_000, 100), (4_000, 100)] {
        let tier = PostgresTier::connect(config, SystemClock::shared()).await?;
        server.run("TRUNCATE entries").await?;
        let all: Vec<usize> = (0..KEYS).collect();
        for batch in all.chunks(1_000) {
            put(&tier, batch, payload_len).await?;
        }
        let before = server.updates().await?;
        let wal = server.wal().await?;
        let mut dice = Dice(7);
        let callers = 16;
        let share = UPDATES / callers / if batch_len == 1 { 10 } else { 1 };
        let mut tasks = Vec::new();
        for _ in 0..callers {
            let (tier, mut dice) = (Arc::clone(&tier), Dice(dice.next(usize::MAX) as u64));
            tasks.push(tokio::spawn(async move {
                for _ in 0..share / batch_len {
                    let batch: Vec<usize> = (0..batch_len).map(|_| dice.next(KEYS)).collect();
                    put(&tier, &batch, payload_len).await?;
                }
                Result::<()>::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let wal = server.wal().await? - wal;
        // A connection that ends tells the server what it has counted.
        tier.close().await?;
        drop(tier);
        let (all, hot) = server.updates_after(before.0 + 1).await?;
        let (all, hot) = (all - before.0, hot - before.1);
        println!(
            "  payloads of {payload_len} bytes, {batch_len} a statement: {:.1} % of {all} stay in \
             their page, {} bytes of WAL each",
            100.0 * hot as f64 / all as f64,
            wal / all,
        );
    }
    Ok(())
}

/// What the tier does: rows of all ages in one table, deleted a batch at a time.
async fn sweeping(config: &PostgresConfig, server: &Server) -> Result<()> {
    let tier = PostgresTier::connect(config, SystemClock::shared()).await?;
    server.run("TRUNCATE entries").await?;
    let load = |from: usize, count: usize, lives: &str| {
        format!(
            "INSERT INTO entries (key, namespace, fence, expires_at, retain_until, record) \
             SELECT convert_to('test:' || i, 'UTF8'), 'test', 0, CASE WHEN {lives} THEN {FAR} \
             ELSE 1 END, 0, {RECORD} FROM generate_series({from}, {}) AS i",
            from + count - 1
        )
    };
    // One in five lives, scattered among the others.
    server.run(&load(0, EXPIRED + LIVE, "i % 5 = 0")).await?;
    server.run("VACUUM ANALYZE entries").await?;
    println!("deleting {EXPIRED} of {} rows of {RECORD_LEN} bytes in batches:", EXPIRED + LIVE);
    let query = "SELECT n.floor, e.fence, e.record FROM (SELECT) AS one \
                 LEFT JOIN namespaces AS n ON n.namespace = 'test' \
                 LEFT JOIN entries AS e ON e.key = $1";
    let table = "entries";
    server
        .expire(query, 5, table, async || {
            assert_eq!(tier.sweep().await?, EXPIRED as u64);
            Ok(())
        })
        .await?;
    let begun = (Instant::now(), server.wal().await?);
    server.run("VACUUM entries").await?;
    println!(
        "  VACUUM, which the server does by itself: {:.1} s, {} of WAL, then {}",
        begun.0.elapsed().as_secs_f64(),
        mib(server.wal().await? - begun.1),
        mib(server.bytes(table).await?),
    );
    server.run(&load(EXPIRED + LIVE, EXPIRED, "true")).await?;
    println!("  with {EXPIRED} other rows in it: {}", mib(server.bytes(table).await?));
    tier.close().await?;
    Ok(())
}

/// The other way: a table for each generation, of which the oldest is emptied as a whole. A key may
/// be in each, so a read looks into all of them.
async fn generations(server: &Server) -> Result<()> {
    server
        .run(
            "CREATE TABLE generations (key bytea NOT NULL, generation int NOT NULL, \
             namespace text COLLATE \"C\" NOT NULL, fence bigint NOT NULL, version bigint, \
             expires_at bigint NOT NULL, retain_until bigint NOT NULL, record bytea, \
             PRIMARY KEY (key, generation)) PARTITION BY LIST (generation); \
             ALTER TABLE generations ALTER COLUMN record SET STORAGE EXTERNAL;",
        )
        .await?;
    for generation in 0..3 {
        let partition = format!(
            "CREATE TABLE generation_{generation} PARTITION OF generations \
             FOR VALUES IN ({generation}) WITH (fillfactor = 80)"
        );
        server.run(&partition).await?;
    }
    for (generation, from, count) in [(0, LIVE, EXPIRED), (1, 0, LIVE / 2), (2, LIVE / 2, LIVE / 2)]
    {
        let load = format!(
            "INSERT INTO generations \
             (key, generation, namespace, fence, expires_at, retain_until, record) \
             SELECT convert_to('test:' || i, 'UTF8'), {generation}, 'test', 0, {FAR}, 0, {RECORD} \
             FROM generate_series({from}, {}) AS i",
            from + count - 1
        );
        server.run(&load).await?;
    }
    server.run("VACUUM ANALYZE generations").await?;
    println!("truncating a generation of {EXPIRED} rows, of three:");
    let query = "SELECT n.floor, e.fence, e.record FROM (SELECT) AS one \
                 LEFT JOIN namespaces AS n ON n.namespace = 'test' \
                 LEFT JOIN LATERAL (SELECT g.fence, g.record FROM generations AS g \
                    WHERE g.key = $1 ORDER BY g.generation DESC LIMIT 1) AS e ON true";
    server
        .expire(query, 1, "generation_0", async || server.run("TRUNCATE generation_0").await)
        .await
}

/// A moment that does not come.
const FAR: &str = "99999999999999";
/// Bytes that nothing compresses, as the server makes them.
const RECORD: &str = "(SELECT convert_to(string_agg(md5(i::text || part), ''), 'UTF8') \
                      FROM generate_series(1, 16) AS part)";

async fn put(tier: &PostgresTier, batch: &[usize], payload_len: usize) -> Result<()> {
    let now = SystemClock::new().now();
    let put = |nth: &usize| {
        let ttl = Ttl::fresh(Duration::from_secs(600));
        let entry = Entry::new(vec![7; payload_len].into(), CodecId(3), now, ttl);
        Put { key: key(*nth), entry, condition: Condition::Always }
    };
    tier.put_many(&batch.iter().map(put).collect::<Vec<_>>()).await?;
    Ok(())
}

fn key(nth: usize) -> Key {
    let namespace = Namespace::new("test").expect("it is plain");
    namespace.key(&nth.to_string()).expect("so is a number")
}

fn mib(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A way round the tier.
struct Server {
    url: String,
    schema: String,
    client: Client,
}

impl Server {
    async fn connect(config: &PostgresConfig) -> Result<Self> {
        let (url, schema) = (config.url.expose().to_owned(), config.schema.clone());
        // The tier makes the schema.
        PostgresTier::connect(config, SystemClock::shared()).await?.close().await?;
        let client = client(&url, &schema).await?;
        Ok(Self { url, schema, client })
    }

    async fn run(&self, statement: &str) -> Result<()> {
        Ok(self.client.batch_execute(statement).await?)
    }

    async fn number(&self, query: &str) -> Result<i64> {
        Ok(self.client.query_one(query, &[]).await?.get(0))
    }

    async fn bytes(&self, table: &str) -> Result<i64> {
        self.number(&format!("SELECT pg_total_relation_size('{table}')")).await
    }

    async fn wal(&self) -> Result<i64> {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await
    }

    /// Updates of the entries that the server knows of, and how many of these touched no index.
    async fn updates(&self) -> Result<(i64, i64)> {
        let query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
                     WHERE relid = 'entries'::regclass";
        let row = self.client.query_one(query, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// The same, when there are at least so many and no more come.
    async fn updates_after(&self, at_least: i64) -> Result<(i64, i64)> {
        loop {
            let before = self.updates().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.updates().await?;
            if now == before && now.0 >= at_least {
                return Ok(now);
            }
        }
    }

    /// Prints what `expire` costs, itself and those who read every `step`th key meanwhile.
    async fn expire(
        &self,
        query: &str,
        step: usize,
        table: &str,
        expire: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        let quiet = self.readers(query, step).await?;
        tokio::time::sleep(QUIET).await;
        let quiet = quiet.end().await?;
        let before = (self.bytes(table).await?, self.wal().await?);
        let busy = self.readers(query, step).await?;
        let begun = Instant::now();
        expire().await?;
        let took = begun.elapsed();
        // So that there are reads enough, of a step that is over at once.
        tokio::time::sleep(Duration::from_millis(500).saturating_sub(took)).await;
        let busy = busy.end().await?;
        println!(
            "  {:.2} s, {} of WAL, {} before and {} after",
            took.as_secs_f64(),
            mib(self.wal().await? - before.1),
            mib(before.0),
            mib(self.bytes(table).await?),
        );
        for (when, latencies) in [("before", quiet), ("meanwhile", busy)] {
            let at = |share: usize| latencies[(latencies.len() - 1) * share / 1_000];
            println!(
                "  reads {when}: {} of them, {:?} at the median, {:?} at p99, {:?} at worst",
                latencies.len(),
                at(500),
                at(990),
                at(1_000)
            );
        }
        Ok(())
    }

    async fn readers(&self, query: &str, step: usize) -> Result<Readers> {
        let ending = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for reader in 0..READERS {
            let client = client(&self.url, &self.schema).await?;
            let statement = client.prepare(query).await?;
            let (ending, mut dice) = (Arc::clone(&ending), Dice(reader as u64 + 1));
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !ending.load(Ordering::Relaxed) {
                    let key = format!("test:{}", dice.next(LIVE) * step).into_bytes();
                    let begun = Instant::now();
                    let row = client.query_one(&statement, &[&key]).await?;
                    latencies.push(begun.elapsed());
                    assert!(row.get::<_, Option<Vec<u8>>>(2).is_some(), "it lives");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(latencies)
            }));
        }
        Ok(Readers { ending, tasks })
    }
}

struct Readers {
    ending: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<Vec<Duration>>>>,
}

impl Readers {
    /// What their reads took, in order.
    async fn end(self) -> Result<Vec<Duration>> {
        self.ending.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for task in self.tasks {
            latencies.extend(task.await??);
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

async fn client(url: &str, schema: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path TO {schema}")).await?;
    Ok(client)
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}
