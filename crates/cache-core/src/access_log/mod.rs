//! A log of the reads of caches, for simulations and for warming.

mod control;
mod format;
mod queue;
mod reader;
mod writer;

use std::{
    fmt,
    hash::Hasher,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

pub use control::RecordingSwitch;
use parking_lot::Mutex;
pub use reader::{AccessLogReader, LogEnd, is_access_log};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use self::queue::Queue;
use crate::{
    clock::{Clock, Timestamp},
    error::{Error, ErrorKind, Result},
    key::Namespace,
    units::ByteSize,
};

/// The least that a log may take.
const BYTES_MIN: ByteSize = ByteSize::mib(1);

/// How an [`AccessLog`] records.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLogConfig {
    /// Where the log and its switch are. Processes may share it: each writes a file of its own.
    pub directory: PathBuf,
    /// The part of the keys whose reads are recorded: of such a key all are, of others none. 0.1
    /// unless set.
    #[serde(default = "sample")]
    pub sample: f64,
    /// What a process's files take at most, of which there are two: one is written, its predecessor
    /// is kept. At least 1 MiB, 64 MiB unless set.
    #[serde(default = "bytes_max")]
    pub bytes_max: ByteSize,
    /// Whether keys are written or their hashes. Hashes unless set.
    #[serde(default)]
    pub keys: KeyForm,
    /// What keys are hashed with, a secret: without it nobody can tell whether a key that they can
    /// guess is in the log. Logs of the same salt can be compared. Drawn at random for each process
    /// unless set.
    #[serde(default)]
    pub salt: Option<String>,
    /// When reads are recorded. While the switch is on, unless set.
    #[serde(default)]
    pub recording: Recording,
}

/// Whether keys are written or their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// Salted hashes of 64 bits: enough for a simulation.
    #[default]
    Hashed,
    /// The keys themselves, which a warmer needs. Whoever can read the file can read them.
    Plain,
}

/// When reads are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// While the directory has the switch of [`RecordingSwitch`], which `cache-cli record` sets.
    #[default]
    Switched,
    /// Always.
    Always,
}

const fn sample() -> f64 {
    0.1
}

const fn bytes_max() -> ByteSize {
    ByteSize::mib(64)
}

impl AccessLogConfig {
    /// In `directory`, with everything else as it is unless set.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            sample: sample(),
            bytes_max: bytes_max(),
            keys: KeyForm::default(),
            salt: None,
            recording: Recording::default(),
        }
    }
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The hash of namespace and key, under the log's salt.
    pub hash: u64,
    /// When it was answered.
    pub time: Timestamp,
    /// What answered it.
    pub outcome: AccessOutcome,
    /// What the value takes in a near tier, in bytes; 0 where there was none.
    pub size: u32,
    /// How long the value counts as fresh from when it was made, in milliseconds; 0: not known.
    pub ttl_ms: u32,
    /// What its load took, in microseconds; 0: not known.
    pub load_cost_us: u32,
    /// The key with its namespace, where keys are written.
    pub key: Option<Box<str>>,
}

/// What answered a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessOutcome {
    /// The near tier.
    Near = 0,
    /// A tier below it.
    Tier = 1,
    /// A load.
    Load = 2,
    /// Nothing: there is no value, or none was to be had.
    Nothing = 3,
}

impl AccessOutcome {
    fn from_u8(number: u8) -> Option<Self> {
        [Self::Near, Self::Tier, Self::Load, Self::Nothing].get(usize::from(number)).copied()
    }
}

/// Records the reads of caches to a file: a sample of the keys, in bounded space, off the hot path.
///
/// A read of a key in the sample is put into a bounded queue; a thread writes. Where reads come
/// faster than that, they are dropped and counted. While it records nothing, a read pays for one
/// relaxed load; while it does, for a hash of its key as well.
///
/// Clones are the same log, and several caches may have it. When the last is dropped, what waits is
/// written.
///
/// # Examples
///
/// ```
/// use std::{fs::File, sync::Arc};
/// use cache_core::{
///     AccessLog, AccessLogConfig, AccessLogReader, Cache, Recording, SystemClock,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let directory = home.path();
/// let config = AccessLogConfig {
///     sample: 1.0,
///     recording: Recording::Always,
///     ..AccessLogConfig::new(directory)
/// };
/// let log = AccessLog::open(config, SystemClock::shared())?;
/// let cache: Cache<u64> = Cache::builder("answers").access_log(log).build()?;
/// cache.get("life").await?;
/// drop(cache);
///
/// let mut reader = AccessLogReader::new(File::open(directory.join("access.log"))?)?;
/// assert_eq!(reader.next_block()?.ok_or("there is a block")?.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessLog(Arc<Handle>);

/// What a log did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogStats {
    /// Whether it records now.
    pub is_recording: bool,
    /// Reads that were written.
    pub written: u64,
    /// Reads that were not, because they came faster than they could be.
    pub dropped: u64,
    /// Why it last could not record.
    pub last_error: Option<String>,
}

impl AccessLog {
    /// Begins: where the switch is on, or recording is [`Recording::Always`], it records when this
    /// returns. It blocks for as long as a file takes to be made.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting out of its range, and when the directory cannot be made or
    /// written, or 32 processes write into it already.
    pub fn open(config: AccessLogConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        control::check_sample(config.sample)?;
        if config.bytes_max < BYTES_MIN {
            let message = format!("`bytes_max` of the access log is {}", config.bytes_max);
            return Err(Error::new(ErrorKind::Config, message)
                .hint(format!("allow it {BYTES_MIN} at least")));
        }
        let salt = match &config.salt {
            Some(text) => [0, 1].map(|half| hash((half, 0), &[text.as_bytes()])),
            None => rand::random(),
        };
        let inner = Arc::new(Inner {
            config,
            salt: (salt[0], salt[1]),
            clock,
            threshold: AtomicU64::new(OFF),
            are_keys_plain: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            queue: Queue::default(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_error: Mutex::new(None),
        });
        let thread = writer::spawn(&inner)?;
        Ok(Self(Arc::new(Handle { inner, thread: Some(thread) })))
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> AccessLogStats {
        let inner = &self.0.inner;
        AccessLogStats {
            is_recording: inner.threshold.load(Ordering::Relaxed) != OFF,
            written: inner.written.load(Ordering::Relaxed),
            dropped: inner.dropped.load(Ordering::Relaxed),
            last_error: inner.last_error.lock().clone(),
        }
    }

    /// Notes a read, if it is to be noted: `read` is asked then only.
    #[inline]
    pub(crate) fn note(
        &self,
        namespace: &Namespace,
        text: &str,
        read: impl FnOnce() -> AccessRead,
    ) {
        let threshold = self.0.inner.threshold.load(Ordering::Relaxed);
        if threshold != OFF {
            self.0.inner.note(threshold, namespace, text, read);
        }
    }
}

/// What is noted of a read beside its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessRead {
    pub(crate) outcome: AccessOutcome,
    pub(crate) size: u32,
    pub(crate) ttl_ms: u32,
    pub(crate) load_cost_us: u32,
}

/// No hash is below: nothing is recorded.
const OFF: u64 = 0;

struct Handle {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    /// Waits for the writer, which has a last round to make.
    fn drop(&mut self) {
        self.inner.is_closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A writer that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// What is in effect while it records.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Settings {
    sample: f64,
    keys: KeyForm,
}

struct Inner {
    config: AccessLogConfig,
    salt: (u64, u64),
    clock: Arc<dyn Clock>,
    /// Hashes up to here are recorded.
    threshold: AtomicU64,
    are_keys_plain: AtomicBool,
    is_closing: AtomicBool,
    queue: Queue,
    written: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Inner {
    #[cold]
    fn note(
        &self,
        threshold: u64,
        namespace: &Namespace,
        text: &str,
        read: impl FnOnce() -> AccessRead,
    ) {
        let name = namespace.as_str();
        let hash = hash(self.salt, &[name.as_bytes(), b":", text.as_bytes()]);
        if hash > threshold {
            return;
        }
        let AccessRead { outcome, size, ttl_ms, load_cost_us } = read();
        let is_plain = self.are_keys_plain.load(Ordering::Relaxed);
        let key = is_plain.then(|| format!("{name}:{text}").into_boxed_str());
        let time = self.clock.now();
        self.queue.push(AccessRecord { hash, time, outcome, size, ttl_ms, load_cost_us, key });
    }

    /// What is to be in effect; nothing when nothing is recorded.
    fn settings(&self, switch: Option<RecordingSwitch>) -> Option<Settings> {
        if switch.is_none() && self.config.recording == Recording::Switched {
            return None;
        }
        let RecordingSwitch { sample, keys } = switch.unwrap_or_default();
        let AccessLogConfig { sample: own_sample, keys: own_keys, .. } = self.config;
        Some(Settings { sample: sample.unwrap_or(own_sample), keys: keys.unwrap_or(own_keys) })
    }

    fn start(&self, settings: Settings) {
        *self.last_error.lock() = None;
        self.are_keys_plain.store(settings.keys == KeyForm::Plain, Ordering::Relaxed);
        // A cast of a number that is too large gives the largest.
        let threshold = (settings.sample * 2_f64.powi(64)) as u64;
        self.threshold.store(threshold.max(OFF + 1), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.threshold.store(OFF, Ordering::Relaxed);
    }

    fn file_len_max(&self) -> u64 {
        self.config.bytes_max.as_u64() / 2
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// By it logs of the same salt are known, and the salt is not.
    fn salt_sign(&self) -> u64 {
        hash(self.salt, &[b"the sign of the salt"])
    }

    fn note_written(&self, reads: u64) {
        self.written.fetch_add(reads, Ordering::Relaxed);
    }

    fn note_dropped(&self, reads: u64) {
        self.dropped.fetch_add(reads, Ordering::Relaxed);
    }

    /// Tells of a fault once, until there is another or none.
    fn fail(&self, error: &Error) {
        let text = error.to_string();
        let mut last = self.last_error.lock();
        if last.as_ref() != Some(&text) {
            tracing::warn!(%error, "reads are not recorded");
            *last = Some(text);
        }
    }
}

fn hash((a, b): (u64, u64), parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(a, b);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

impl fmt::Debug for AccessLogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogConfig")
            .field("directory", &self.directory)
            .field("sample", &self.sample)
            .field("bytes_max", &self.bytes_max)
            .field("keys", &self.keys)
            .field("salt", &self.salt.as_ref().map(|_| "***"))
            .field("recording", &self.recording)
            .finish()
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("config", &self.0.inner.config).finish_non_exhaustive()
    }
}

/// What a fuzzer asks of this module: any bytes are read to an end, and what is read of them can be
/// written and read again.
#[cfg(feature = "testkit")]
pub(crate) fn check_reading(data: &[u8]) {
    if let Ok(mut reader) = AccessLogReader::new(data) {
        while let Some(block) = reader.next_block().expect("bytes in memory can be read") {
            assert!(!block.is_empty() || data.len() > format::HEADER_LEN);
        }
        assert!(reader.end().is_some(), "a log has an end");
    }
    // Hardly any change survives a checksum: what lies behind it is read as well.
    for keys in [KeyForm::Hashed, KeyForm::Plain] {
        let base = Timestamp::from_millis(1 << 40);
        let Some(records) = format::decode_body(data, base, keys) else { continue };
        let header = format::Header { rate: 1.0, keys, salt_sign: 0, began_at: base };
        let block = format::encode_block(&records, 0, keys);
        let log = [&header.encode()[..], &block].concat();
        let mut reader = AccessLogReader::new(&*log).expect("it was just written");
        let again = reader.next_block().expect("bytes in memory can be read");
        // A block that is too long is not believed.
        if block.len() <= format::BODY_LEN_MAX {
            assert_eq!(again, Some(records));
        }
    }
}

#[cfg(test)]
mod tests;
