//! Reads a log back, and trusts none of its bytes.

use std::io::{self, Read};

use super::{
    AccessRecord, KeyForm,
    format::{BLOCK_HEADER_LEN, BadHeader, BlockHeader, HEADER_LEN, Header, MAGIC},
};
use crate::{
    clock::Timestamp,
    error::{Error, ErrorKind, Result},
};

/// Reads an access log, block by block.
///
/// A block that is not whole ends the log: its writer was stopped in the middle of it, or it is
/// damaged. What lies behind is not read, and [`end`](Self::end) says so.
#[derive(Debug)]
pub struct AccessLogReader<R> {
    source: R,
    header: Header,
    read_len: u64,
    dropped: u32,
    end: Option<LogEnd>,
}

/// How a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// After a whole block.
    Whole,
    /// At this byte begins a block that is cut off or damaged; it and what follows is left out.
    Torn {
        /// Counted from the begin of the file.
        at: u64,
    },
}

/// Whether bytes begin as those of an access log do.
#[must_use]
pub fn is_access_log(begin: &[u8]) -> bool {
    begin.starts_with(&MAGIC)
}

impl<R: Read> AccessLogReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Incompatible`] when this is no access log, or one of a later version;
    /// [`ErrorKind::Unavailable`] when it cannot be read.
    pub fn new(mut source: R) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        let unknown =
            || Error::new(ErrorKind::Incompatible, "this is no access log, or a damaged one");
        match fill(&mut source, &mut bytes).map_err(|error| unreadable(&error))? {
            HEADER_LEN => {}
            _ => return Err(unknown()),
        }
        let header = Header::decode(&bytes).map_err(|bad| match bad {
            BadHeader::Unknown => unknown(),
            BadHeader::Version(version) => {
                let message = format!("the access log is of version {version}");
                Error::new(ErrorKind::Incompatible, message).hint("read it with a later version")
            }
        })?;
        Ok(Self { source, header, read_len: HEADER_LEN as u64, dropped: 0, end: None })
    }

    /// The part of all keys whose reads are in the log.
    #[must_use]
    pub fn sample(&self) -> f64 {
        self.header.rate
    }

    /// Whether it has keys, or hashes alone.
    #[must_use]
    pub fn keys(&self) -> KeyForm {
        self.header.keys
    }

    /// The same number for logs that were written with the same salt: only their hashes can be
    /// compared.
    #[must_use]
    pub fn salt_sign(&self) -> u64 {
        self.header.salt_sign
    }

    /// When the log began.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        self.header.began_at
    }

    /// How many reads were dropped because they came faster than they could be written, as far as
    /// the log was read.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How it ended; nothing before it has.
    #[must_use]
    pub fn end(&self) -> Option<LogEnd> {
        self.end
    }

    /// The reads of the next block, in the order in which they were noted; nothing at the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the source fails.
    pub fn next_block(&mut self) -> Result<Option<Vec<AccessRecord>>> {
        if self.end.is_some() {
            return Ok(None);
        }
        let at = self.read_len;
        let mut header = [0; BLOCK_HEADER_LEN];
        let len = fill(&mut self.source, &mut header).map_err(|error| unreadable(&error))?;
        if len == 0 {
            self.end = Some(LogEnd::Whole);
            return Ok(None);
        }
        let block = (len == BLOCK_HEADER_LEN).then(|| BlockHeader::decode(&header)).flatten();
        let records = match block {
            Some(block) => {
                let mut body = vec![0; block.body_len];
                let len = fill(&mut self.source, &mut body).map_err(|error| unreadable(&error))?;
                self.read_len += (BLOCK_HEADER_LEN + len) as u64;
                self.dropped = block.dropped;
                block.records(&header, &body[..len], self.header.keys)
            }
            None => None,
        };
        if records.is_none() {
            self.end = Some(LogEnd::Torn { at });
        }
        Ok(records)
    }
}

/// As much as there is, up to the buffer's length.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match source.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn unreadable(error: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot read the access log: {error}"))
}
