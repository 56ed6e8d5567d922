//! What needs a server of its own: one that is killed, frozen, filled, emptied.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod access;
mod eviction;
mod gaps;
mod lease;
mod log;
mod loss;
mod outage;
mod records;
mod refusals;
mod server;

use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Clock, CodecId, Entry, Key, Namespace, SystemClock, Timestamp, Ttl, testkit::unique_name,
};

fn namespace() -> Namespace {
    Namespace::new(&unique_name("n")).unwrap()
}

fn key() -> Key {
    namespace().key("k").unwrap()
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// An entry that lives for ten minutes.
fn entry(payload: &str) -> Entry {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Entry::new(payload, CodecId(3), now(), Ttl::fresh(Duration::from_secs(600)))
}

/// The payload of a lookup's entry.
fn payload(lookup: &cache_core::Lookup) -> Option<&[u8]> {
    lookup.entry.as_ref().map(|entry| &entry.payload[..])
}
