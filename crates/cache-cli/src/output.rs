//! Answers on standard output: tables for people, JSON for programs.

mod table;

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use cache_core::{ByteSize, Span};
use clap::ValueEnum;
use serde::Serialize;
pub(crate) use table::{Align, Table, printable};

use crate::exit::OutputClosed;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One line of JSON an answer.
    Json,
}

impl Format {
    /// Writes `answer`: as its `Display` says, or as what it serializes to.
    ///
    /// # Errors
    ///
    /// [`OutputClosed`] when nobody reads any more, and what the system says when it cannot be
    /// written.
    pub(crate) fn print(self, answer: &(impl Serialize + Display)) -> Result<()> {
        let mut text = match self {
            Self::Table => answer.to_string(),
            Self::Json => serde_json::to_string(answer).context("could not write JSON")?,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        write(text.as_bytes())
    }
}

/// Writes bytes to standard output.
///
/// Not by `println!`, which panics when the reader has gone: `cache-cli get ... | head -1` is no
/// fault.
///
/// # Errors
///
/// As [`Format::print`].
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        result => result.context("could not write to standard output"),
    }
}

/// Writes a line to standard error. When nobody reads that, nobody is to be told.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A span of time as people read it: to the second once it is longer than ten.
pub(crate) fn span(span: Duration) -> String {
    let rounded = if span >= Duration::from_secs(10) {
        Duration::from_secs(span.as_secs())
    } else {
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    };
    Span(rounded).to_string()
}

/// A number of milliseconds as people read it.
pub(crate) fn millis(millis: u128) -> String {
    span(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// A number of bytes, where it is known.
pub(crate) fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize::bytes(bytes).to_string())
}

/// A number, where it is known.
pub(crate) fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_span_is_told_to_the_second_and_a_short_one_to_the_millisecond() {
        assert_eq!(span(Duration::from_micros(1_234_567)), "1s 234ms");
        assert_eq!(span(Duration::from_millis(86_399_870)), "23h 59m 59s");
        assert_eq!(span(Duration::ZERO), "0s");
    }
}
