//! CSV whose heading names the columns.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use csv::{ByteRecord, ErrorKind as CsvErrorKind, ReaderBuilder, Trim};

use super::{Fault, LINE_LEN_MAX, hash, is, keys::check_text};
use crate::trace::{Columns, Request, Trace, TraceBuilder};

/// What the `csv` crate may have read ahead of the record that it hands out.
const READ_AHEAD: usize = 1 << 16;

/// Whether a first line names a column `key`.
pub(super) fn is_heading(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let names = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_key = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"key");
    let mut names = names.map(|name| name.strip_prefix(b"\"").unwrap_or(name));
    names.any(|name| is_key(name.strip_suffix(b"\"").unwrap_or(name)))
}

pub(super) fn read(source: impl Read, requests_max: usize) -> Result<Trace, Fault> {
    let unfinished = Rc::new(Cell::new(0));
    let source = Bounded { source, unfinished: Rc::clone(&unfinished) };
    let mut reader = ReaderBuilder::new()
        .buffer_capacity(READ_AHEAD)
        .trim(Trim::All)
        .has_headers(true)
        .from_reader(source);
    let places = Places::of(reader.byte_headers().map_err(|e| explain(e, 1))?)?;
    let mut builder = TraceBuilder::new(places.columns(), requests_max);
    let mut record = ByteRecord::new();
    loop {
        unfinished.set(0);
        let line = reader.position().line();
        if !reader.read_byte_record(&mut record).map_err(|e| explain(e, line))? {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        builder.push(places.request(&record, line)?);
    }
    Ok(builder.finish()?)
}

/// Where the columns are that are known, and in what unit.
#[derive(Debug, Default)]
struct Places {
    key: usize,
    time: Option<Place>,
    size: Option<Place>,
    ttl: Option<Place>,
    cost: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    name: &'static str,
    index: usize,
    /// By how much the field is multiplied.
    factor: f64,
}

impl Places {
    fn of(headings: &ByteRecord) -> Result<Self, Fault> {
        let mut places = Self::default();
        let mut keys = 0;
        for (index, heading) in headings.iter().enumerate() {
            let heading = heading.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(heading);
            let heading = String::from_utf8_lossy(heading).to_ascii_lowercase();
            let at = |name, factor| Some(Place { name, index, factor });
            let (known, place) = match heading.as_str() {
                "key" => {
                    places.key = index;
                    keys += 1;
                    continue;
                }
                "time" | "time_s" => (&mut places.time, at("time", 1e3)),
                "time_ms" => (&mut places.time, at("time_ms", 1.0)),
                "time_us" => (&mut places.time, at("time_us", 1e-3)),
                "ttl" | "ttl_s" => (&mut places.ttl, at("ttl", 1e3)),
                "ttl_ms" => (&mut places.ttl, at("ttl_ms", 1.0)),
                "ttl_us" => (&mut places.ttl, at("ttl_us", 1e-3)),
                "size" => (&mut places.size, at("size", 1.0)),
                "cost" | "cost_us" | "cost_ms" => (&mut places.cost, at("cost", 1.0)),
                _ => continue,
            };
            if known.is_some() {
                return Err(twice(&heading));
            }
            *known = place;
        }
        if keys != 1 {
            return Err(twice("key"));
        }
        Ok(places)
    }

    fn columns(&self) -> Columns {
        Columns {
            size: self.size.is_some(),
            time: self.time.is_some(),
            ttl: self.ttl.is_some(),
            cost: self.cost.is_some(),
        }
    }

    fn request(&self, record: &ByteRecord, line: u64) -> Result<Request, Fault> {
        let key = record.get(self.key).unwrap_or_default();
        if key.is_empty() {
            return Err(Fault::line(line, "the key is empty", "write a key in each line"));
        }
        check_text(line, key)?;
        let number = |place: Option<Place>, without: f64| match place {
            Some(place) => place.number(record, line),
            None => Ok(without),
        };
        // A cast of a number that is too large gives the largest.
        Ok(Request {
            hash: hash(key),
            // Nothing weighs nothing: an empty value takes room too.
            size: (number(self.size, 1.0)? as u32).max(1),
            time_ms: number(self.time, 0.0)? as u64,
            // A time to live under a millisecond is one.
            ttl_ms: number(self.ttl, 0.0)?.ceil() as u32,
            cost: number(self.cost, 1.0)? as u32,
        })
    }
}

impl Place {
    /// An empty field is 0: a value without an end has no time to live.
    fn number(self, record: &ByteRecord, line: u64) -> Result<f64, Fault> {
        let field = record.get(self.index).unwrap_or_default();
        if field.is_empty() {
            return Ok(0.0);
        }
        let number = str::from_utf8(field).ok().and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number >= 0.0 && number.is_finite() => Ok(number * self.factor),
            _ => {
                let field = String::from_utf8_lossy(&field[..field.len().min(40)]);
                let message = format!("`{}` is {field:?}", self.name);
                Err(Fault::line(line, message, "write a number that is not below 0"))
            }
        }
    }
}

fn twice(heading: &str) -> Fault {
    let message = format!("the column `{heading}` is named more than once");
    Fault::line(1, message, "name each of time, key, size, ttl and cost once")
}

fn explain(error: csv::Error, line: u64) -> Fault {
    let line = error.position().map_or(line, csv::Position::line);
    match error.into_kind() {
        CsvErrorKind::Io(error) if is::<TooLong>(&error) => Fault::too_long(line),
        CsvErrorKind::Io(error) => Fault::Io(error),
        CsvErrorKind::UnequalLengths { expected_len, len, .. } => {
            let message = format!("{len} fields, where the heading has {expected_len}");
            Fault::line(line, message, "give each line as many fields as the heading")
        }
        other => Fault::line(line, format!("{other:?}"), "correct the line"),
    }
}

/// Ends a record that does not end: `csv` would gather it in memory.
struct Bounded<R> {
    source: R,
    unfinished: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unfinished.get() > LINE_LEN_MAX + READ_AHEAD {
            return Err(io::Error::other(TooLong));
        }
        let len = self.source.read(buffer)?;
        self.unfinished.set(self.unfinished.get() + len);
        Ok(len)
    }
}

#[derive(Debug)]
struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the record is too long")
    }
}

impl std::error::Error for TooLong {}
