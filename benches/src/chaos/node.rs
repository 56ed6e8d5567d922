//! A node: one service process under load, which writes down what it does.

pub(super) mod table;
mod workload;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use cache_core::{Builder, Cache, Clock, Events, SystemClock, Tier, Timestamp, WhenCut};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use self::{table::End, workload::Workload};
use super::{history::Line, source::SourceClient};

/// What a node is told at its start, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Its number.
    pub node: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// The namespace that all nodes share.
    pub namespace: String,
    /// Where it reaches Redis.
    pub redis: String,
    /// Where it reaches PostgreSQL.
    pub postgres: String,
    /// Where the source is.
    pub source: SocketAddr,
    /// Whether it works by itself.
    pub load: Load,
}

/// Whether a node works by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// Readers and writers, from the command `go` on.
    Mixed,
    /// Only what it is told to do.
    None,
}

/// After how long a silence of the logs a node passes its near tier by: what bounds its staleness
/// while nodes do not hear of each other.
pub(super) const CUT_AFTER: Duration = Duration::from_secs(1);

/// How long a node that died while it loaded holds the others up.
const LEASE: Duration = Duration::from_secs(1);

/// A value: the version, and the key that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    key: String,
    version: u64,
}

/// Serves: takes commands from standard input until it ends, and writes what it does to standard
/// output.
///
/// # Errors
///
/// When the cache cannot be opened, or a command is not understood.
///
/// # Cancel safety
///
/// Not meant to be dropped.
pub async fn serve(settings: Settings) -> Result<()> {
    let clock = Arc::new(Stepped::default());
    let shared: Arc<dyn Clock> = clock.clone();
    let service = Service::open(&settings, &shared)?;
    let journal = Journal::start();
    let workload = Workload::new(service, journal.clone(), &settings);
    journal.write(Line::Ready);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await? {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("go"), None, None) => workload.begin(),
            (Some("step"), Some(ms), None) => clock.step(ms.parse()?),
            (Some("storm"), Some(key), Some(callers)) => {
                journal.write(Line::Answer(workload.storm(key, callers.parse()?).await));
            }
            (Some("read"), Some(key), None) => workload.read(key).await,
            (Some("insert"), Some(key), None) => workload.insert(key).await,
            (Some("invalidate"), Some(key), None) => workload.invalidate(key).await,
            (Some("watch"), Some(key), Some(version)) => {
                workload.watch(key, version.parse()?).await;
            }
            (Some("commit"), Some(key), None) => workload.change(key, End::CommitAndDie).await?,
            (Some("rollback"), Some(key), None) => {
                workload.change(key, End::Rollback).await?;
                journal.write(Line::Answer("rolled back".to_owned()));
            }
            (Some("stop"), None, None) => break,
            _ => bail!("`{line}` is no command"),
        }
    }
    workload.end();
    journal.write(Line::Counted(workload.counts().await));
    journal.end()
}

/// The cache of a service, by the public API.
struct Service {
    cache: Cache<Value>,
    /// Over the same tiers, without a near tier: what the shared tiers say.
    below: Cache<Value>,
    source: Arc<SourceClient>,
    events: Events,
    postgres_url: String,
}

impl Service {
    fn open(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self> {
        let redis = RedisTier::connect_lazy(&RedisConfig::new(&settings.redis), clock.clone())?;
        let config = PostgresConfig::new(&settings.postgres);
        let postgres = PostgresTier::connect_lazy(&config, clock.clone())?;
        let events = Events::new();
        let tiers: [Arc<dyn Tier>; 2] = [redis, postgres];
        let builder = || {
            let builder = Cache::builder(&settings.namespace);
            let builder = builder.events(events.clone()).clock(clock.clone()).lease(LEASE);
            tiers.iter().cloned().fold(builder.ttl(Duration::from_secs(600)), Builder::tier)
        };
        let cache = builder().when_cut(WhenCut::Bypass, CUT_AFTER).build()?;
        let below = builder().without_near().build()?;
        let source = SourceClient::new(settings.source);
        Ok(Self { cache, below, source, events, postgres_url: settings.postgres.clone() })
    }
}

/// The machine's clock, and how far it has been stepped.
#[derive(Debug, Default)]
struct Stepped {
    clock: SystemClock,
    ahead_ms: AtomicU64,
}

impl Stepped {
    fn step(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        self.clock.now().after(Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst)))
    }
}

/// Writes lines to standard output from a thread of its own, so that nobody who is measured waits.
#[derive(Clone)]
struct Journal {
    sender: std::sync::mpsc::Sender<Option<Line>>,
    thread: Arc<std::sync::Mutex<Option<std::thread::JoinHandle<Result<()>>>>>,
}

impl Journal {
    fn start() -> Self {
        let (sender, lines) = std::sync::mpsc::channel::<Option<Line>>();
        let thread = std::thread::spawn(move || {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            while let Ok(Some(line)) = lines.recv() {
                write(&mut out, &line)?;
                // What has gathered goes out together.
                for line in lines.try_iter() {
                    let Some(line) = line else { return Ok(std::io::Write::flush(&mut out)?) };
                    write(&mut out, &line)?;
                }
                std::io::Write::flush(&mut out)?;
            }
            Ok(())
        });
        Self { sender, thread: Arc::new(std::sync::Mutex::new(Some(thread))) }
    }

    fn write(&self, line: Line) {
        // It fails after the end, or when the driver is gone: then nobody reads it.
        let _ = self.sender.send(Some(line));
    }

    /// Writes what is left.
    fn end(&self) -> Result<()> {
        let _ = self.sender.send(None);
        let thread = self.thread.lock().map_err(|_| anyhow!("the journal's lock"))?.take();
        thread.map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("the journal"))?)
    }
}

fn write(out: &mut impl std::io::Write, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(out.write_all(b"\n")?)
}
