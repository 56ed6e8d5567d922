//! The access log that a cache has recorded.

use std::io::Read;

use cache_core::{AccessLogReader, AccessRecord, LogEnd};

use super::Fault;
use crate::trace::{Columns, Request, Trace, TraceBuilder};

/// Reads a log up to its end, or to where it is torn.
pub(super) fn read(source: impl Read, requests_max: usize) -> Result<Trace, Fault> {
    let mut reader = AccessLogReader::new(source)?;
    let columns = Columns { size: true, time: true, ttl: true, cost: true };
    let mut builder = TraceBuilder::new(columns, requests_max).recorded_at(reader.sample());
    while let Some(records) = reader.next_block()? {
        records.iter().for_each(|record| builder.push(request(record)));
    }
    if let Some(LogEnd::Torn { at }) = reader.end() {
        builder.remark(format!("the log is torn at byte {at}: what follows is left out"));
    }
    if reader.dropped() > 0 {
        let dropped = reader.dropped();
        builder.remark(format!("{dropped} reads came too fast to be recorded, and are missing"));
    }
    Ok(builder.finish()?)
}

fn request(record: &AccessRecord) -> Request {
    Request {
        hash: record.hash,
        size: record.size,
        time_ms: record.time.as_millis(),
        ttl_ms: record.ttl_ms,
        cost: record.load_cost_us,
    }
}
