//! `room`: what each tier really takes when it is given many times what it may hold.
//!
//! Every tier runs in a process of its own, so that its memory is nobody else's. Redis is a private
//! server; PostgreSQL is the one that DATABASE_URL names, in a schema of its own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cache_benches::resident::resident;
use cache_core::{
    ByteSize, Cache, Clock, CodecId, Condition, Entry, Eviction, Evictions, MemoryTier, Namespace,
    Put, PutOutcome, Raw, SystemClock, Table, Tier, Ttl, Usage,
};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::{SqliteConfig, SqliteTier};
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// Sizes of values that fit badly into what others left, one after the other.
const SIZES: [usize; 10] = [200, 1_700, 9_000, 300_000, 60, 2_500, 40_000, 700, 5_000, 100_000];

/// What a tier in this process may take beside a tenth more than its limit: fences, statistics, the
/// runtime, and what the allocator keeps.
const BESIDE: u64 = 16 << 20;

/// Give each tier many times what it may hold, and show what it takes at most
///
/// A row a tier: its limit, what it was given, what it took at most (memory of the process, used
/// memory of the server, file with its log, table with index), and whether what was put is what is
/// left and what was evicted. Fails when a tier takes more than 1.1 times its limit (in this
/// process: and 16 MiB more), or does not add up.
#[derive(Debug, Parser)]
#[command(name = "room")]
struct Arguments {
    /// What each tier may take
    #[arg(long, default_value = "64MiB")]
    limit: ByteSize,
    /// What each is given
    #[arg(long, default_value = "1GiB")]
    given: ByteSize,
    /// Only these tiers
    #[arg(long, value_delimiter = ',')]
    tiers: Vec<Subject>,
    /// By which policy
    #[arg(long, default_value = "s3-fifo-adaptive", value_parser = policy)]
    policy: Eviction,
    /// Measure one tier in this process, and print its row as JSON
    #[arg(long, hide = true)]
    one: Option<Subject>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    Near,
    Memory,
    Sqlite,
    Redis,
    Postgres,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    puts: u64,
    left: u64,
    evicted: Evictions,
    given: u64,
    peak: u64,
    allowed: u64,
    seconds: u64,
}

impl Row {
    const fn adds_up(&self) -> bool {
        self.puts == self.left + self.evicted.total()
    }
}

fn policy(text: &str) -> Result<Eviction, cache_core::Error> {
    text.parse()
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(subject) = arguments.one {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let row = runtime.block_on(measure(subject, &arguments))?;
        println!("{}", serde_json::to_string(&row)?);
        return Ok(ExitCode::SUCCESS);
    }
    let tiers =
        if arguments.tiers.is_empty() { Subject::value_variants() } else { &arguments.tiers };
    let mut table = Table::new([
        "tier",
        "limit MiB",
        "given MiB",
        "peak MiB",
        "ratio",
        "puts",
        "left",
        "for bytes",
        "for entries",
        "for pressure",
        "adds up",
        "s",
    ]);
    let mut is_good = true;
    for subject in tiers {
        let row = in_a_process(*subject, &arguments)
            .with_context(|| format!("{subject:?} could not be measured"))?;
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        is_good &= row.adds_up() && row.peak <= row.allowed;
        table.row([
            format!("{subject:?}").to_lowercase(),
            mib(arguments.limit.as_u64()),
            mib(row.given),
            mib(row.peak),
            format!("{:.3}", row.peak as f64 / arguments.limit.as_u64() as f64),
            row.puts.to_string(),
            row.left.to_string(),
            row.evicted.bytes.to_string(),
            row.evicted.entries.to_string(),
            row.evicted.pressure.to_string(),
            if row.adds_up() { "yes" } else { "NO" }.to_owned(),
            row.seconds.to_string(),
        ]);
    }
    print!("{table}");
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_a_process(subject: Subject, arguments: &Arguments) -> Result<Row> {
    let name = subject.to_possible_value().context("every subject has a name")?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--limit", &arguments.limit.to_string(), "--given", &arguments.given.to_string()])
        .args(["--policy", arguments.policy.as_str(), "--one", name.get_name()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(child.status.success(), "it ended with {}", child.status);
    Ok(serde_json::from_slice(&child.stdout)?)
}

async fn measure(subject: Subject, arguments: &Arguments) -> Result<Row> {
    let Arguments { limit, policy, .. } = *arguments;
    let clock = SystemClock::shared();
    let strict = limit.as_u64() / 10 * 11;
    match subject {
        Subject::Near => near(arguments, strict + BESIDE).await,
        Subject::Memory => {
            let before = resident("self")?;
            let tier = MemoryTier::new(limit, Arc::clone(&clock)).with_eviction(policy);
            let taken = async || Ok(resident("self")?.saturating_sub(before));
            tiers(&tier, arguments, &*clock, strict + BESIDE, taken).await
        }
        Subject::Sqlite => {
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("cache.sqlite");
            let config =
                SqliteConfig { bytes_max: limit, eviction: policy, ..SqliteConfig::new(path) };
            let tier = SqliteTier::with_config(&config, Arc::clone(&clock))?;
            let taken = async || on_disk(directory.path());
            tiers(&*tier, arguments, &*clock, strict, taken).await
        }
        Subject::Redis => redis(arguments, clock, strict).await,
        Subject::Postgres => postgres(arguments, clock, strict).await,
    }
}

/// A cache that has nothing but its near tier.
async fn near(arguments: &Arguments, allowed: u64) -> Result<Row> {
    let started = Instant::now();
    let before = resident("self")?;
    let cache: Cache<Bytes> = Cache::builder_with("room", Raw)
        .near(arguments.limit)
        .near_eviction(arguments.policy)
        .ttl(Duration::from_secs(3_600))
        .build()?;
    let (mut puts, mut given, mut peak) = (0_u64, 0, 0);
    for len in SIZES {
        let until = given + arguments.given.as_u64() / SIZES.len() as u64;
        while given < until {
            cache.insert(&puts.to_string(), value(puts, len)).await?;
            puts += 1;
            given += len as u64;
            if puts.is_multiple_of(64) || len > 1_000 {
                peak = peak.max(resident("self")?.saturating_sub(before));
            }
        }
    }
    let stats = cache.stats().await;
    let usage = stats.tiers.first().and_then(|tier| tier.usage).context("it can tell")?;
    Ok(row(puts, given, peak, allowed, usage, started))
}

/// Fills a tier, as a cache does that has loaded what it missed.
async fn tiers(
    tier: &dyn Tier,
    arguments: &Arguments,
    clock: &dyn Clock,
    allowed: u64,
    taken: impl AsyncFn() -> Result<u64>,
) -> Result<Row> {
    let started = Instant::now();
    let namespace = Namespace::new("room")?;
    let (mut puts, mut given, mut peak) = (0_u64, 0, 0);
    for len in SIZES {
        let until = given + arguments.given.as_u64() / SIZES.len() as u64;
        while given < until {
            let first = namespace.key(&puts.to_string())?;
            let condition = Condition::Unmoved(tier.get(&first).await?.fence);
            let mut batch = Vec::new();
            for _ in 0..(256 << 10) / len + 1 {
                let key = namespace.key(&puts.to_string())?;
                let ttl = Ttl::fresh(Duration::from_secs(3_600));
                let entry = Entry::new(value(puts, len), CodecId(3), clock.now(), ttl);
                batch.push(Put { key, entry, condition: condition.clone() });
                puts += 1;
                given += len as u64;
            }
            let outcomes = tier.put_many(&batch).await?;
            let refused = outcomes.iter().find(|outcome| **outcome != PutOutcome::Stored);
            ensure!(refused.is_none(), "a value of {len} bytes was answered by {refused:?}");
            peak = peak.max(taken().await?);
        }
    }
    let usage = settled(tier).await?;
    peak = peak.max(taken().await?);
    Ok(row(puts, given, peak, allowed, usage, started))
}

/// What a tier tells once it evicts no more: some do so behind their writers.
async fn settled(tier: &dyn Tier) -> Result<Usage> {
    let mut before = tier.usage().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = tier.usage().await?;
        if now.evicted == before.evicted {
            return Ok(now);
        }
        before = now;
    }
}

fn row(puts: u64, given: u64, peak: u64, allowed: u64, usage: Usage, started: Instant) -> Row {
    let left = usage.entries.unwrap_or(0);
    let seconds = started.elapsed().as_secs();
    Row { puts, left, evicted: usage.evicted.unwrap_or_default(), given, peak, allowed, seconds }
}

/// Bytes that no compression makes small.
fn value(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    // An own allocation of the length, as a decoded answer has.
    Bytes::from(bytes.into_boxed_slice())
}

/// What the files of a directory take.
fn on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(directory)? {
        bytes += file?.metadata().map_or(0, |file| file.len());
    }
    Ok(bytes)
}

async fn redis(arguments: &Arguments, clock: Arc<dyn Clock>, allowed: u64) -> Result<Row> {
    let directory = tempfile::tempdir()?;
    let server = PrivateRedis::start(directory.path())?;
    let config = RedisConfig {
        eviction: arguments.policy,
        tracked_entries_max: Some(100_000_000),
        tracked_bytes_max: Some(arguments.limit),
        response_timeout: cache_core::Span::secs(20),
        ..RedisConfig::new(format!("redis://127.0.0.1:{}", server.port))
    };
    let tier = RedisTier::connect(&config, Arc::clone(&clock)).await?;
    let before = server.used()?;
    let taken = async || Ok(server.used()?.saturating_sub(before));
    tiers(&*tier, arguments, &*clock, allowed, taken).await
}

/// A server of this run's own, which ends with it.
struct PrivateRedis {
    port: u16,
    child: Child,
}

impl PrivateRedis {
    fn start(directory: &Path) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .spawn()
            .context("could not start redis-server")?;
        let server = Self { port, child };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("redis-server does not answer on port {port}")
    }

    /// The memory in use, but for what the server needs of its own: for running scripts, and for what
    /// is on its way from and to clients.
    fn used(&self) -> Result<u64> {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"INFO memory\r\nQUIT\r\n")?;
        let (mut used, mut own) = (0, 0);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let Some((name, number)) = line.split_once(':') else { continue };
            match name {
                "used_memory" => used = number.parse::<u64>()?,
                "used_memory_vm_eval" | "mem_clients_normal" => own += number.parse::<u64>()?,
                _ => {}
            }
        }
        Ok(used.saturating_sub(own))
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        // It fails when the server has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn postgres(arguments: &Arguments, clock: Arc<dyn Clock>, allowed: u64) -> Result<Row> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL names no PostgreSQL")?;
    let schema = format!("room_{}", std::process::id());
    let config = PostgresConfig {
        schema: schema.clone(),
        bytes_max: Some(arguments.limit),
        eviction: arguments.policy,
        statement_timeout: cache_core::Span::secs(60),
        ..PostgresConfig::new(url.clone())
    };
    let tier = PostgresTier::connect(&config, Arc::clone(&clock)).await?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let size = format!("SELECT pg_total_relation_size('{schema}.entries')");
    let taken = async || {
        let bytes: i64 = client.query_one(&size, &[]).await?.get(0);
        Ok(bytes.unsigned_abs())
    };
    let measured = tiers(&*tier, arguments, &*clock, allowed, taken).await;
    let left = format!("SELECT count(*) FROM {schema}.entries WHERE record IS NOT NULL");
    let left: i64 = client.query_one(&left, &[]).await?.get(0);
    let hot = format!(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
         WHERE schemaname = '{schema}' AND relname = 'entries'"
    );
    let updates = client.query_one(&hot, &[]).await?;
    eprintln!(
        "postgres: {} updates, {} of them HOT",
        updates.get::<_, i64>(0),
        updates.get::<_, i64>(1)
    );
    tier.close().await?;
    client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
    Ok(Row { left: left.unsigned_abs(), ..measured? })
}
