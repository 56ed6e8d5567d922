//! Keys and entries for tests.

use std::time::Duration;

use cache_core::{Clock, CodecId, Entry, Key, Namespace, Ttl};

pub(crate) fn key(text: &str) -> Key {
    Namespace::new("test").and_then(|namespace| namespace.key(text)).expect("a valid key")
}

/// An entry that lives for an hour.
pub(crate) fn entry(payload: impl Into<Vec<u8>>, clock: &dyn Clock) -> Entry {
    let ttl = Ttl::fresh(Duration::from_secs(3_600));
    Entry::new(payload.into().into(), CodecId(3), clock.now(), ttl)
}
