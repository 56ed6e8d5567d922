//! One key a line.

use std::io::BufRead;

use super::{Fault, hash, lines::Lines};
use crate::trace::{Columns, Request, Trace, TraceBuilder};

pub(super) fn read(source: impl BufRead, requests_max: usize) -> Result<Trace, Fault> {
    let mut lines = Lines::new(source);
    let mut builder = TraceBuilder::new(Columns::default(), requests_max);
    let mut empty = None;
    while let Some((number, line)) = lines.next()? {
        if let Some(number) = empty {
            return Err(Fault::line(number, "the line is empty", "write one key a line"));
        }
        if line.is_empty() {
            // At the end of the file it is none.
            empty = Some(number);
            continue;
        }
        check_text(number, line)?;
        builder.push(Request { hash: hash(line), size: 1, cost: 1, ..Request::default() });
    }
    Ok(builder.finish()?)
}

/// A binary file is no trace, and its lines are no keys.
pub(super) fn check_text(number: u64, line: &[u8]) -> Result<(), Fault> {
    let hint = "is this a binary file? A trace has one key a line, or is CSV, plain or Zstandard";
    if line.iter().any(|byte| *byte < 0x20 && *byte != b'\t') {
        return Err(Fault::line(number, "there is a control character", hint));
    }
    str::from_utf8(line).map_err(|_| Fault::line(number, "this is not UTF-8", hint))?;
    Ok(())
}
