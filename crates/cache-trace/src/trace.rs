//! A trace in memory.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use cache_core::{Error, ErrorKind, Result};

use crate::sample::{self, Rate};

/// Reads in the order in which they came, with what is known of each.
///
/// A key is a number, and a read takes 4 bytes and what its columns need: 4 each for sizes, times to
/// live and costs, 8 for times. A trace that has more reads than its reader was to keep is thinned
/// out while it is read, by whole keys, and knows its [`rate`](Self::rate).
#[derive(Clone, Debug)]
pub struct Trace {
    ids: Vec<u32>,
    hashes: Vec<u64>,
    columns: Columns,
    sizes: Vec<u32>,
    times_ms: Vec<u64>,
    ttls_ms: Vec<u32>,
    costs: Vec<u32>,
    total: f64,
    rate: Rate,
    file_rate: f64,
    remarks: Vec<String>,
}

/// What a trace tells of a read beside its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// How large the value is.
    pub size: bool,
    /// When it was read.
    pub time: bool,
    /// How long it lives. Of use with a time only.
    pub ttl: bool,
    /// What its load costs.
    pub cost: bool,
}

/// One read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The key's hash, of 64 bits.
    pub hash: u64,
    /// Bytes of the value; 0: not known of this read. A trace puts in its place what another read of
    /// the key tells, the last before it or the first after it, and 1 where none does.
    pub size: u32,
    /// Milliseconds since any moment.
    pub time_ms: u64,
    /// Milliseconds that the value lives from its load on; 0: without end.
    pub ttl_ms: u32,
    /// What a load costs, in any unit.
    pub cost: u32,
}

impl Trace {
    /// How many reads are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none. A trace that was read has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many different keys are kept.
    #[must_use]
    pub fn keys_len(&self) -> usize {
        self.hashes.len()
    }

    /// What is known beside the keys.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.columns
    }

    /// The part of all keys that is kept: 1 for the whole trace.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate.part() * self.file_rate
    }

    /// How many reads there were in all, as far as is known: exact where the rate is 1.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// How many different keys there were in all: exact where the rate is 1.
    #[must_use]
    pub fn keys_total(&self) -> f64 {
        self.keys_len() as f64 / self.rate()
    }

    /// The bytes of all different keys' values, each at its last size; the number of keys where no
    /// sizes are known. Exact where the rate is 1.
    #[must_use]
    pub fn bytes_total(&self) -> f64 {
        if !self.columns.size {
            return self.keys_total();
        }
        let mut last = vec![0_u32; self.keys_len()];
        for (id, size) in self.ids.iter().zip(&self.sizes) {
            last[*id as usize] = *size;
        }
        last.iter().map(|size| f64::from(*size)).sum::<f64>() / self.rate()
    }

    /// What was wrong with the file and is no fault: sentences.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The reads, in order: the key's number and the rest.
    pub fn requests(&self) -> impl Iterator<Item = (u32, Request)> {
        (0..self.len()).map(|at| (self.ids[at], self.request(at)))
    }

    /// The keys' numbers, from 0 without a gap, in the order of the reads.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The read at a position.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[must_use]
    pub fn request(&self, at: usize) -> Request {
        Request {
            hash: self.hashes[self.ids[at] as usize],
            size: self.sizes.get(at).copied().unwrap_or(1),
            time_ms: self.times_ms.get(at).copied().unwrap_or(0),
            ttl_ms: self.ttls_ms.get(at).copied().unwrap_or(0),
            cost: self.costs.get(at).copied().unwrap_or(1),
        }
    }

    /// Puts sizes where none was told.
    fn complete_sizes(&mut self) {
        if !self.sizes.contains(&0) {
            return;
        }
        let mut known = vec![0_u32; self.keys_len()];
        let mut pass = |at: usize, sizes: &mut [u32]| {
            let (known, size) = (&mut known[self.ids[at] as usize], &mut sizes[at]);
            if *size == 0 {
                *size = *known;
            } else {
                *known = *size;
            }
        };
        let mut sizes = std::mem::take(&mut self.sizes);
        (0..sizes.len()).for_each(|at| pass(at, &mut sizes));
        // Now of each key the first reads alone are without.
        (0..sizes.len()).rev().for_each(|at| pass(at, &mut sizes));
        sizes.iter_mut().for_each(|size| *size = (*size).max(1));
        self.sizes = sizes;
    }

    /// The part of the trace whose keys fall into the sample of `rate`, which is of all keys.
    #[must_use]
    pub fn sample(&self, rate: f64) -> Self {
        let mut builder = TraceBuilder::new(self.columns, usize::MAX);
        builder.rate = Rate::new((rate / self.file_rate).min(self.rate.part()));
        builder.file_rate = self.file_rate;
        for (_, request) in self.requests() {
            builder.keep(request);
        }
        Self { total: self.total, remarks: self.remarks.clone(), ..builder.trace() }
    }
}

/// Makes a trace, a read at a time.
#[derive(Debug)]
pub struct TraceBuilder {
    trace: Trace,
    numbers: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    requests_max: usize,
    seen: u64,
    rate: Rate,
    file_rate: f64,
    remarks: Vec<String>,
}

impl TraceBuilder {
    /// Keeps at most about `requests_max` reads: where there are more, only every second key is
    /// kept, then every fourth, and so on.
    #[must_use]
    pub fn new(columns: Columns, requests_max: usize) -> Self {
        let trace = Trace {
            ids: Vec::new(),
            hashes: Vec::new(),
            columns,
            sizes: Vec::new(),
            times_ms: Vec::new(),
            ttls_ms: Vec::new(),
            costs: Vec::new(),
            total: 0.0,
            rate: Rate::ALL,
            file_rate: 1.0,
            remarks: Vec::new(),
        };
        let (numbers, rate) = (HashMap::default(), Rate::ALL);
        Self {
            trace,
            numbers,
            requests_max: requests_max.max(1),
            seen: 0,
            rate,
            file_rate: 1.0,
            remarks: Vec::new(),
        }
    }

    /// Says that the reads which will come are those of a part of the keys only.
    #[must_use]
    pub fn recorded_at(self, rate: f64) -> Self {
        Self { file_rate: rate, ..self }
    }

    /// Adds what a reader of the trace should know.
    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Adds a read.
    pub fn push(&mut self, request: Request) {
        self.seen += 1;
        self.keep(request);
        while self.trace.len() > self.requests_max && self.trace.keys_len() > 1 {
            self.thin_out();
        }
    }

    /// The trace.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when there is no read in it.
    pub fn finish(mut self) -> Result<Trace> {
        if self.seen == 0 {
            return Err(Error::new(ErrorKind::Config, "the trace is empty")
                .hint("give a file with one key a line, or CSV with a column `key`"));
        }
        if self.trace.is_empty() {
            let message = format!("of {} reads none is in the sample", self.seen);
            return Err(Error::new(ErrorKind::Config, message).hint("sample more of the keys"));
        }
        let total = self.seen as f64 / self.file_rate;
        let remarks = std::mem::take(&mut self.remarks);
        let mut trace = Trace { total, remarks, ..self.trace() };
        trace.complete_sizes();
        Ok(trace)
    }

    fn trace(self) -> Trace {
        Trace { rate: self.rate, file_rate: self.file_rate, ..self.trace }
    }

    fn keep(&mut self, request: Request) {
        if !sample::takes(request.hash, self.rate) {
            return;
        }
        let trace = &mut self.trace;
        let id = *self.numbers.entry(request.hash).or_insert_with(|| {
            trace.hashes.push(request.hash);
            u32::try_from(trace.hashes.len() - 1).expect("a trace keeps fewer than 2^32 reads")
        });
        trace.ids.push(id);
        let Columns { size, time, ttl, cost } = trace.columns;
        if size {
            trace.sizes.push(request.size);
        }
        if time {
            // Times that go back are read as the latest so far: a replay's clock does not.
            let last = trace.times_ms.last().copied().unwrap_or(0);
            trace.times_ms.push(request.time_ms.max(last));
        }
        if ttl {
            trace.ttls_ms.push(request.ttl_ms);
        }
        if cost {
            trace.costs.push(request.cost);
        }
    }

    /// Keeps half of the keys.
    fn thin_out(&mut self) {
        let mut half = Self::new(self.trace.columns, usize::MAX);
        half.rate = self.rate.halved();
        for (_, request) in self.trace.requests() {
            half.keep(request);
        }
        self.rate = half.rate;
        self.numbers = half.numbers;
        self.trace = half.trace;
    }
}

/// The keys of the table are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_keys(keys: impl IntoIterator<Item = u64>, requests_max: usize) -> Trace {
        let mut builder = TraceBuilder::new(Columns::default(), requests_max);
        for key in keys {
            builder.push(Request { hash: sample::mix(key), ..Request::default() });
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_key_has_one_number() {
        let trace = of_keys([7, 8, 7], 100);
        assert_eq!(trace.ids(), [0, 1, 0]);
        assert_eq!((trace.keys_len(), trace.total(), trace.rate()), (2, 3.0, 1.0));
    }

    #[test]
    fn a_trace_that_is_too_long_is_thinned_out_by_whole_keys() {
        let trace = of_keys((0..100_000).map(|i| i % 5_000), 20_000);
        assert!(trace.len() <= 20_000 && trace.rate() == 0.125, "{}", trace.len());
        assert_eq!(trace.total(), 100_000.0);
        assert!((trace.keys_total() - 5_000.0).abs() < 600.0, "{}", trace.keys_total());
        assert_eq!(trace.len(), trace.keys_len() * 20, "all reads of a key stay, or none");
    }

    #[test]
    fn a_sample_of_a_sample_is_of_all_keys() {
        let trace = of_keys((0..100_000).map(|i| i % 5_000), 60_000);
        let sample = trace.sample(0.125);
        assert_eq!((trace.rate(), sample.rate(), sample.total()), (0.5, 0.125, 100_000.0));
        assert_eq!(sample.len(), sample.keys_len() * 20);
    }

    #[test]
    fn a_size_that_is_not_told_is_that_of_another_read_of_the_key() {
        let columns = Columns { size: true, ..Columns::default() };
        let mut builder = TraceBuilder::new(columns, usize::MAX);
        for (hash, size) in [(1, 0), (1, 5), (1, 0), (2, 0), (1, 7), (1, 0)] {
            builder.push(Request { hash, size, ..Request::default() });
        }
        assert_eq!(builder.finish().unwrap().sizes, [5, 5, 5, 1, 7, 7]);
    }

    #[test]
    fn nothing_is_no_trace() {
        let error = TraceBuilder::new(Columns::default(), 1).finish().unwrap_err();
        assert!(error.to_string().contains("the trace is empty"), "{error}");
    }
}
