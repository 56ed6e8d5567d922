//! Lines of bounded length.

use std::io::{BufRead, Read};

use super::{Fault, LINE_LEN_MAX};

/// The lines of a text, each without its end, in one buffer.
pub(super) struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, line: Vec::new(), number: 0 }
    }

    /// The next line and its number, counted from 1.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, Fault> {
        self.line.clear();
        self.number += 1;
        // A line and its end: CR and LF.
        let most = LINE_LEN_MAX as u64 + 2;
        if self.source.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_LEN_MAX {
            return Err(Fault::too_long(self.number));
        }
        Ok(Some((self.number, line)))
    }
}
