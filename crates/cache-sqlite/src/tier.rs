//! The tier.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use cache_core::{
    Clock, Condition, Durability, Key, Leases, Log, Lookup, Namespace, Pressure, PressureGauge,
    Put, PutOutcome, ReadNotes, Removal, Result, Scope, Shrink, SystemClock, Tier, TierInfo,
    TierRoom, Usage, check_batch, wire,
};
use tokio::sync::Mutex;

use crate::{
    apply::{Change, Stored, version_column},
    bells::Bells,
    config::{SqliteConfig, SqliteDurability},
    connection::{Connection, Role},
    leases::SqliteLeases,
    log::SqliteLog,
    millis,
    place::Place,
    reader::{self, Found, Noting, Read},
    worker::{End, Line, Threads},
    writer::{BATCH_BYTES_MAX, Write, Writer},
};

/// Reads that wait for a reader; more callers wait for a place.
const READS_MAX: usize = 1_024;

/// Writes that wait for the writer; more callers wait for a place. Fewer than reads, because they
/// hold their values meanwhile.
const WRITES_MAX: usize = 256;

/// The most values whose reads wait to be written down.
const NOTES_MAX: usize = 8_192;

/// A durable tier in one SQLite file, which several processes of one machine may share.
///
/// Dropping the last handle, those on its log and its leases included, ends its threads after what they have accepted;
/// [`close`](Tier::close) also waits for that. The file must not be moved or deleted before then.
///
/// # Cancel safety
///
/// A read that is dropped changes nothing. A write that is dropped while it waits for a place in
/// the queue does not happen; dropped later it is carried out all the same, a batch of more than
/// 1 MiB up to the part that was under way.
///
/// # Examples
///
/// ```
/// use cache_sqlite::SqliteTier;
/// use cache_core::{Namespace, Tier};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path().join("cache.sqlite");
/// let tier = SqliteTier::open(path)?;
/// let key = Namespace::new("price")?.key("AAPL")?;
/// assert_eq!(tier.get(&key).await?.entry, None);
/// tier.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct SqliteTier {
    info: TierInfo,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    bytes_max: u64,
    closed: Arc<AtomicBool>,
    reads: Line<Read>,
    writes: Line<Write>,
    log: Arc<SqliteLog>,
    leases: Arc<SqliteLeases>,
    end: End,
}

impl SqliteTier {
    /// Opens the file at `path` with the defaults of [`SqliteConfig`] and the machine's clock.
    ///
    /// Blocks while it makes or opens the file: some milliseconds, or up to `busy_timeout` while
    /// another process holds it.
    ///
    /// # Errors
    ///
    /// Those of [`with_config`](Self::with_config).
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>> {
        Self::with_config(&SqliteConfig::new(path), SystemClock::shared())
    }

    /// Opens the file that `config` names; makes it, and its directory, where they are not there.
    /// A file that is made can be read by its owner only.
    ///
    /// Blocks as [`open`](Self::open) does.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) for a setting out of its bounds, or a path where
    /// no file can be; [`Denied`](cache_core::ErrorKind::Denied) and
    /// [`ReadOnly`](cache_core::ErrorKind::ReadOnly) for a missing permission;
    /// [`Incompatible`](cache_core::ErrorKind::Incompatible) for a file that is no SQLite file,
    /// another program's, or of a later version, which is left as it is;
    /// [`Unavailable`](cache_core::ErrorKind::Unavailable) when another process holds it for longer
    /// than `busy_timeout`.
    pub fn with_config(config: &SqliteConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        config.validate()?;
        let place = Arc::new(Place::prepare(config)?);
        let path = place.path.clone();
        let notes = Arc::new(ReadNotes::new(NOTES_MAX));
        let closed = Arc::new(AtomicBool::new(false));
        let (reads, read_queue) = Line::new(READS_MAX, Arc::clone(&closed));
        let (writes, write_queue) = Line::new(WRITES_MAX, Arc::clone(&closed));
        let threads = Threads::new();
        let bells = Arc::new(Bells::new());

        // The writer comes first: it makes the tables.
        let connection = Connection::open(Arc::clone(&place), Role::Writer)?;
        let (noted, ringer) = (Arc::clone(&notes), Arc::clone(&bells));
        let writer = Writer::new(connection, Arc::clone(&clock), config, noted, ringer);
        let goes_by_reads = writer.ranking().goes_by_reads();
        threads.start("sqlite-writer", move || writer.serve(write_queue))?;

        let read_queue = Arc::new(Mutex::new(read_queue));
        for _ in 0..config.readers {
            let connection = Connection::open(Arc::clone(&place), Role::Reader)?;
            let queue = Arc::clone(&read_queue);
            let noting = Noting { notes: Arc::clone(&notes), clock: Arc::clone(&clock) };
            let noting = goes_by_reads.then_some(noting);
            let serve = move || reader::serve(connection, &queue, noting.as_ref());
            threads.start("sqlite-reader", serve)?;
        }
        let end = threads.into_end();
        let bytes_max = config.bytes_max.as_u64();
        let info = info(config);
        let poll = config.log_poll.0;
        let log = Arc::new(SqliteLog {
            tier: Arc::clone(&info.name),
            reads: reads.clone(),
            writes: writes.clone(),
            bells: Arc::clone(&bells),
            poll,
        });
        let (asked, told) = (reads.clone(), writes.clone());
        let leases = Arc::new(SqliteLeases::new(Arc::clone(&clock), asked, told, bells, poll));
        Ok(Arc::new(Self { info, clock, path, bytes_max, closed, reads, writes, log, leases, end }))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes out what has expired, what was cleared, and what need not be remembered any more, now
    /// and not at the next `sweep_interval`, and gives its room back to the file system. Answers
    /// with how much was taken out. Writes that come meanwhile are served between two steps.
    ///
    /// # Errors
    ///
    /// As for a write.
    ///
    /// # Cancel safety
    ///
    /// The sweep goes on without its caller.
    pub async fn sweep(&self) -> Result<u64> {
        self.writes.ask(Write::Sweep).await
    }

    fn judge(&self, Found { fence, record, floor, .. }: Found) -> Lookup {
        let Some(record) = record else { return Lookup::absent(fence.max(floor)) };
        let limit = self.info.payload_len_max;
        Lookup::from_record(&record.into(), Some(fence), floor, self.clock.now(), limit)
    }

    /// A put as the writer takes it.
    fn change(&self, Put { key, entry, condition }: &Put) -> Change {
        let (key, version) = (key.clone(), version_column(entry.version));
        let fits = entry.payload.len() <= self.info.payload_len_max;
        let stored = |key| Stored {
            key,
            version,
            expires_at: millis(entry.expires_at),
            priority: entry.priority as i64,
            // The fence is a column.
            record: wire::encode_value(entry, 0),
        };
        match condition {
            Condition::Always if fits => Change::Insert(stored(key)),
            Condition::Always => Change::Oversized { key, version },
            Condition::Unmoved(fence) => match fence.as_mark() {
                Some(seen) if fits => Change::Fill(stored(key), seen),
                Some(_) => Change::Refused(PutOutcome::TooLarge),
                None => Change::Refused(PutOutcome::Skipped),
            },
        }
    }

    async fn write(&self, changes: Vec<Change>) -> Result<Vec<PutOutcome>> {
        self.writes.ask(|reply| Write::Changes(changes, reply)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for SqliteTier {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let found = self.reads.ask(|reply| Read::One(key.clone(), reply)).await?;
        Ok(self.judge(found))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.reads.ask(|reply| Read::Many(keys.to_vec(), reply)).await?;
        Ok(found.into_iter().map(|found| self.judge(found)).collect())
    }

    /// One transaction, or one for each MiB of values, so that file and log keep their bounds.
    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        let mut outcomes = Vec::with_capacity(puts.len());
        while outcomes.len() < puts.len() {
            let part = part(&puts[outcomes.len()..]);
            let changes = part.iter().map(|put| self.change(put)).collect();
            match self.write(changes).await {
                Ok(more) => outcomes.extend(more),
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => return Err(error.indeterminate()),
            }
        }
        Ok(outcomes)
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        if removals.is_empty() {
            return Ok(());
        }
        let changes = removals.iter().map(|Removal { key, version }| Change::Remove {
            key: key.clone(),
            version: version_column(*version),
        });
        self.write(changes.collect()).await.map(drop)
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.write(vec![Change::Clear(namespace.clone())]).await.map(drop)
    }

    async fn ping(&self) -> Result<()> {
        self.reads.ask(Read::Ping).await
    }

    /// Counts the rows, which takes about 15 ms for a million of them.
    async fn usage(&self) -> Result<Usage> {
        let used = self.reads.ask(Read::Usage).await?;
        Ok(Usage {
            entries: Some(used.rows),
            bytes: Some(used.bytes),
            bytes_max: Some(self.bytes_max),
            evictions: Some(used.evicted.total()),
            evicted: Some(used.evicted),
        })
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::clone(&self.log) as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::clone(&self.leases) as Arc<dyn Leases>)
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        Some(TierRoom::shrunk_by(self).measured_by(self))
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.reads.tell(Read::Close).await;
        self.writes.tell(Write::Close).await;
        self.end.wait().await;
        Ok(())
    }
}

/// The file and the log beside it, against the room that both may take.
#[async_trait]
impl PressureGauge for SqliteTier {
    fn name(&self) -> &str {
        &self.info.name
    }

    async fn read(&self) -> Result<Pressure> {
        let used = self.reads.ask(Read::Usage).await?;
        Ok(Pressure { used: used.bytes, limit: self.bytes_max })
    }
}

/// Between two transactions, as always. Bounds in bytes and in entries shrink alike.
#[async_trait]
impl Shrink for SqliteTier {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        self.writes.ask(|reply| Write::Shrink(fraction, reply)).await
    }
}

impl fmt::Debug for SqliteTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTier").field("path", &self.path).finish_non_exhaustive()
    }
}

fn info(config: &SqliteConfig) -> TierInfo {
    TierInfo {
        name: config.name.as_str().into(),
        scope: Scope::Machine,
        durability: match config.durability {
            SqliteDurability::Relaxed => Durability::Relaxed,
            SqliteDurability::Full => Durability::Full,
        },
        fence_retention: config.fence_retention.0,
        payload_len_max: config.payload_len_limit(),
        patience: None,
    }
}

/// The puts at the beginning of `puts` that go into one transaction: one at least.
fn part(puts: &[Put]) -> &[Put] {
    let mut bytes = 0;
    let len = puts.iter().take_while(|put| {
        let first = bytes == 0;
        bytes += put.entry.payload.len().max(1) as u64;
        first || bytes <= BATCH_BYTES_MAX
    });
    &puts[..len.count()]
}
