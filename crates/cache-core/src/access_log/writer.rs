//! The thread that writes, and its files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    AccessRecord, Inner, Settings,
    control::RecordingSwitch,
    format::{self, Header},
};
use crate::error::{Error, ErrorKind, Result};

/// How often what waits is written.
const TICK: Duration = Duration::from_millis(100);

/// How often the switch is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads in a block at most. With the longest keys that is below the longest body.
const BLOCK_RECORDS: usize = 256;

/// Processes that may write into one directory.
const WRITERS_MAX: usize = 32;

/// Starts the thread. Whether it records is known when this returns.
pub(super) fn spawn(inner: &Arc<Inner>) -> Result<JoinHandle<()>> {
    let mut place = Place::take(&inner.config.directory)?;
    let mut file = None;
    look(inner, &mut place, &mut file);
    let inner = Arc::clone(inner);
    let spawned = thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || run(&inner, &mut place, file));
    spawned.map_err(|error| {
        let message = format!("cannot start the access log's thread: {error}");
        Error::new(ErrorKind::Internal, message).caused_by(error)
    })
}

fn run(inner: &Inner, place: &mut Place, mut file: Option<LogFile>) {
    let mut looked = Instant::now();
    loop {
        // Asked before the last round: what was noted before the end is in it.
        let is_closing = inner.is_closing.load(Ordering::Acquire);
        if is_closing {
            inner.stop();
        } else if looked.elapsed() >= LOOK {
            looked = Instant::now();
            look(inner, place, &mut file);
        }
        write(inner, &mut file);
        if is_closing {
            break;
        }
        thread::park_timeout(TICK);
    }
}

/// Does what the switch says.
fn look(inner: &Inner, place: &mut Place, file: &mut Option<LogFile>) {
    let wanted = match RecordingSwitch::of(&inner.config.directory) {
        Ok(switch) => inner.settings(switch),
        Err(error) => {
            inner.fail(&error);
            return;
        }
    };
    let now = file.as_ref().map(|file| file.settings);
    if wanted == now {
        return;
    }
    inner.stop();
    // What was noted under the old settings goes into the old file.
    write(inner, file);
    *file = None;
    let Some(settings) = wanted else { return };
    match place.begin(inner, settings) {
        Ok(begun) => {
            *file = Some(begun);
            inner.start(settings);
        }
        Err(error) => inner.fail(&error),
    }
}

/// Writes what waits.
fn write(inner: &Inner, file: &mut Option<LogFile>) {
    let records = inner.queue.drain();
    let dropped = inner.queue.take_dropped();
    inner.note_dropped(dropped);
    let Some(open) = file.as_mut().filter(|_| !records.is_empty()) else { return };
    open.dropped = open.dropped.saturating_add(u32::try_from(dropped).unwrap_or(u32::MAX));
    if let Err(error) = open.append(inner, &records) {
        // A disk that is full now may not be later: the next look begins anew.
        inner.stop();
        inner.fail(&cannot(&open.path, &error));
        *file = None;
    } else {
        inner.note_written(records.len() as u64);
    }
}

/// Where this process writes: nobody else does, while it holds the lock.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// The first name in the directory that nobody writes under.
    fn take(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
        for number in 0..WRITERS_MAX {
            let name = if number == 0 { "access".to_owned() } else { format!("access-{number}") };
            let lock_path = directory.join(format!("{name}.lock"));
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
            let lock = lock.map_err(|error| cannot(&lock_path, &error))?;
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Self { path: directory.join(format!("{name}.log")), _lock: lock });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(cannot(&lock_path, &error)),
            }
        }
        let message =
            format!("{WRITERS_MAX} processes record into `{}` already", directory.display());
        Err(Error::new(ErrorKind::Config, message).hint("give this one another directory"))
    }

    /// A new file; the one that was there is its predecessor now, and that one's is gone.
    fn begin(&self, inner: &Inner, settings: Settings) -> Result<LogFile> {
        LogFile::begin(&self.path, inner, settings).map_err(|error| cannot(&self.path, &error))
    }
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    settings: Settings,
    /// Since this file began.
    dropped: u32,
}

impl LogFile {
    fn begin(path: &Path, inner: &Inner, settings: Settings) -> io::Result<Self> {
        match fs::rename(path, path.with_extension("log.1")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        // Plain keys are nobody else's.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let header = Header {
            rate: settings.sample,
            keys: settings.keys,
            salt_sign: inner.salt_sign(),
            began_at: inner.now(),
        };
        file.write_all(&header.encode())?;
        let len = format::HEADER_LEN as u64;
        Ok(Self { path: path.to_owned(), file, len, settings, dropped: 0 })
    }

    fn append(&mut self, inner: &Inner, records: &[AccessRecord]) -> io::Result<()> {
        for records in records.chunks(BLOCK_RECORDS) {
            let block = format::encode_block(records, self.dropped, self.settings.keys);
            if self.len + block.len() as u64 > inner.file_len_max() {
                *self = Self::begin(&self.path, inner, self.settings)?;
            }
            // A block at once: what is cut off is the last one.
            self.file.write_all(&block)?;
            self.len += block.len() as u64;
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("cannot record reads in `{}`: {error}", path.display()))
        .hint("see that the directory is there, may be written, and has room")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccessLog, AccessLogConfig, AccessLogReader, AccessOutcome, ByteSize, KeyForm, LogEnd,
        ManualClock, Timestamp,
    };

    #[test]
    fn a_file_that_is_full_becomes_the_predecessor_and_both_stay_within_their_bytes() {
        let home = tempfile::tempdir().unwrap();
        let bytes_max = ByteSize::mib(1);
        let config = AccessLogConfig { bytes_max, ..AccessLogConfig::new(home.path()) };
        let log = AccessLog::open(config, Arc::new(ManualClock::new())).unwrap();
        let inner = &log.0.inner;
        let path = home.path().join("own.log");
        let settings = Settings { sample: 1.0, keys: KeyForm::Plain };
        let mut file = LogFile::begin(&path, inner, settings).unwrap();
        let record = |hash| AccessRecord {
            hash,
            time: Timestamp::from_millis(hash),
            outcome: AccessOutcome::Near,
            size: u32::MAX,
            ttl_ms: u32::MAX,
            load_cost_us: u32::MAX,
            key: Some("k".repeat(600).into()),
        };
        let records: Vec<AccessRecord> = (0..1_000).map(record).collect();
        for _ in 0..5 {
            file.append(inner, &records).unwrap();
            let paths = [path.clone(), path.with_extension("log.1")];
            let len = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
            assert!(paths.iter().map(len).sum::<u64>() <= bytes_max.as_u64());
            for path in paths.iter().filter(|path| path.exists()) {
                let mut reader = AccessLogReader::new(File::open(path).unwrap()).unwrap();
                while reader.next_block().unwrap().is_some() {}
                assert_eq!(reader.end(), Some(LogEnd::Whole));
            }
        }
    }
}
