//! Traces as they lie in files.

mod csv;
mod keys;
mod lines;
mod log;

use std::{
    fmt,
    fs::File,
    hash::Hasher,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use cache_core::{Error, ErrorKind, Result, is_access_log};
use siphasher::sip::SipHasher13;

use crate::trace::Trace;

/// How many reads are kept unless [`ReadOptions::requests_max`] says otherwise: 64 million, which
/// take 256 MiB where only keys are known, and 1.5 GiB where everything is.
pub const REQUESTS_MAX: usize = 64_000_000;

/// The longest line of a file.
pub const LINE_LEN_MAX: usize = 1 << 16;

/// The first bytes of a Zstandard file.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// How a trace is read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Where there are more reads, whole keys are left out until there are not.
    pub requests_max: usize,
    /// Told now and then how many bytes of the file have been read; answers whether to go on.
    pub advanced: &'a (dyn Fn(u64) -> bool + Sync),
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self { requests_max: REQUESTS_MAX, advanced: &|_| true }
    }
}

impl fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOptions")
            .field("requests_max", &self.requests_max)
            .finish_non_exhaustive()
    }
}

/// Reads the trace in the file at `path`, or on standard input where that is `-`. It blocks.
///
/// The bytes say what they are: Zstandard, else plain; the access log of a cache, or CSV where the
/// first line names a column `key`, else one key a line. A key may be any text without a line feed; CSV may name the columns
/// `time` and `ttl` in seconds (or `time_ms`, `ttl_ms`, `time_us`, `ttl_us`), `size` in bytes and
/// `cost` in any unit, in any order, and other columns are ignored.
///
/// # Errors
///
/// With the file and the line: [`ErrorKind::Config`] when the file cannot be read, is empty, is no
/// text, a line is empty, or a field is no number; [`ErrorKind::TooLarge`] for a line above
/// [`LINE_LEN_MAX`]; [`ErrorKind::Closed`] when `advanced` says to stop.
///
/// # Examples
///
/// ```
/// use cache_trace::{ReadOptions, read_from};
///
/// let trace = read_from("keys", "a\nb\na\n".as_bytes(), &ReadOptions::default())?;
/// assert_eq!((trace.len(), trace.keys_len()), (3, 2));
/// # Ok::<(), cache_core::Error>(())
/// ```
pub fn read(path: &Path, options: &ReadOptions<'_>) -> Result<Trace> {
    if path.as_os_str() == "-" {
        return read_from("standard input", io::stdin().lock(), options);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| cannot_read(&name, error))?;
    read_from(&name, file, options)
}

/// As [`read`], from anything that can be read; `name` is what errors call it.
///
/// # Errors
///
/// As `read`.
pub fn read_from(name: &str, source: impl Read, options: &ReadOptions<'_>) -> Result<Trace> {
    let source = Watched { source, bytes: 0, advanced: options.advanced };
    let mut source = BufReader::with_capacity(1 << 16, source);
    let begin = source.fill_buf().map_err(|error| Fault::Io(error).of(name))?;
    let is_zstd = begin.starts_with(&ZSTD_MAGIC);
    let result = if is_zstd {
        let decoder =
            zstd::Decoder::with_buffer(source).map_err(|error| cannot_read(name, error))?;
        read_plain(BufReader::with_capacity(1 << 16, decoder), options)
    } else {
        read_plain(source, options)
    };
    result.map_err(|fault| fault.of(name))
}

fn read_plain(mut source: impl BufRead, options: &ReadOptions<'_>) -> Result<Trace, Fault> {
    // The first line again is the first that is read: a heading is looked at, not taken.
    let first = source.fill_buf()?;
    if is_access_log(first) {
        return log::read(source, options.requests_max);
    }
    let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if csv::is_heading(first) {
        csv::read(source, options.requests_max)
    } else {
        keys::read(source, options.requests_max)
    }
}

/// What is wrong with a trace.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    /// At a line, counted from 1.
    Line {
        number: u64,
        kind: ErrorKind,
        message: String,
        hint: &'static str,
    },
    Whole(Error),
}

impl Fault {
    fn line(number: u64, message: impl Into<String>, hint: &'static str) -> Self {
        Self::Line { number, kind: ErrorKind::Config, message: message.into(), hint }
    }

    fn too_long(number: u64) -> Self {
        let message = format!("longer than {LINE_LEN_MAX} bytes");
        let hint = "a key is a short text, and a trace has one read a line";
        Self::Line { number, kind: ErrorKind::TooLarge, message, hint }
    }

    fn of(self, name: &str) -> Error {
        match self {
            Self::Io(error) if is::<Stopped>(&error) => {
                Error::new(ErrorKind::Closed, format!("reading `{name}` was stopped"))
            }
            Self::Io(error) => cannot_read(name, error),
            Self::Line { number, kind, message, hint } => {
                Error::new(kind, format!("`{name}`, line {number}: {message}")).hint(hint)
            }
            Self::Whole(error) => error.context(format!("`{name}`")),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

fn cannot_read(name: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("cannot read the trace `{name}`: {error}"))
        .hint("check its name and whether it is whole")
        .caused_by(error)
}

/// The hash by which a key is known from here on. The same in every run.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_6368, 0x7472_6163);
    hasher.write(key);
    hasher.finish()
}

/// Tells how far it has been read.
struct Watched<'a, R> {
    source: R,
    bytes: u64,
    advanced: &'a (dyn Fn(u64) -> bool + Sync),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.bytes += len as u64;
        if (self.advanced)(self.bytes) { Ok(len) } else { Err(io::Error::other(Stopped)) }
    }
}

/// Whether a reader of ours has failed on purpose.
fn is<E: std::error::Error + 'static>(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<E>)
}

#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

#[cfg(test)]
mod tests;
