//! How often a payload is copied on its way to bytes and back: counted by the allocator.

use std::{alloc::System, hint::black_box, time::Duration};

use bytes::Bytes;
use cache_core::{
    ByteSize, Cache, Clock, Codec, CodecId, Entry, Json, Lookup, ManualClock, MemoryTier, Origin,
    Raw, Ttl, wire,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LEN: usize = 64 * 1024;
/// What does not grow with the payload.
const BESIDE: usize = 1024;

/// What `work` answers, and how many bytes were allocated for it; the least of some runs, because
/// the harness allocates too.
fn allocated<T>(work: impl Fn() -> T) -> (T, usize) {
    let run = |_| {
        let region = Region::new(ALLOCATOR);
        let answer = black_box(work());
        (answer, region.change().bytes_allocated)
    };
    (0..10).map(run).min_by_key(|(_, bytes)| *bytes).expect("there were runs")
}

fn entry(clock: &ManualClock) -> Entry {
    let ttl = Ttl::fresh(Duration::from_secs(60));
    Entry::new(vec![7; LEN].into(), CodecId(3), clock.now(), ttl)
}

/// Everything in one test: what another one allocates at the same time would be counted too.
#[tokio::test]
async fn a_payload_is_copied_once_to_be_stored_and_not_at_all_to_be_read() {
    let clock = ManualClock::new();
    let entry = entry(&clock);

    let (record, bytes) = allocated(|| wire::encode_value(&entry, 1));
    assert_eq!(bytes, record.len(), "a record is one buffer, of its own size");
    let (_, bytes) = allocated(|| wire::encode_head(&entry, 1));
    assert!(bytes < BESIDE, "{bytes} bytes for what comes before the payload");
    let (_, bytes) = allocated(|| entry.digest());
    assert!(bytes < BESIDE, "{bytes} bytes for a digest");

    let at = record.as_ptr();
    let record = Bytes::from(record);
    assert_eq!(record.as_ptr(), at, "what a client answers is taken as it is");
    let (lookup, bytes) = allocated(|| Lookup::from_record(&record, Some(1), 0, clock.now(), LEN));
    assert!(bytes < BESIDE, "{bytes} bytes for reading a record");
    let found = lookup.entry.expect("it was encoded");
    assert_eq!(found, entry);

    let (value, bytes) = allocated(|| Raw.decode(&found.payload).expect("bytes are bytes"));
    assert!(bytes < BESIDE && value.as_ptr() == found.payload.as_ptr(), "{bytes} bytes");
    let (_, bytes) = allocated(|| Raw.encode(&value).expect("bytes are bytes"));
    assert!(bytes < BESIDE, "{bytes} bytes for handing bytes over");
    // The writer's buffer doubles until the text fits; no more is copied for the payload.
    let text = "x".repeat(LEN - 2);
    let (payload, bytes) = allocated(|| Json.encode(&text).expect("a text has an encoding"));
    assert!(payload.len() == LEN && bytes <= 2 * LEN + BESIDE, "{bytes} bytes");

    through_a_cache(&clock).await;
}

/// From a tier in memory, which keeps the payload as it came.
async fn through_a_cache(clock: &ManualClock) {
    let tier = MemoryTier::shared(ByteSize::mib(16), std::sync::Arc::new(clock.clone()));
    let cache: Cache<Bytes> = Cache::builder_with("copies", Raw)
        .without_near()
        .clock(std::sync::Arc::new(clock.clone()))
        .tier(tier)
        .build()
        .expect("valid settings");
    cache.insert("k", Bytes::from(vec![7; LEN])).await.expect("memory takes it");
    // What is made at the first call stays.
    cache.get("k").await.expect("memory answers");
    let mut bytes = usize::MAX;
    for _ in 0..10 {
        let region = Region::new(ALLOCATOR);
        let hit = cache.get("k").await.expect("memory answers").expect("it was inserted");
        bytes = bytes.min(region.change().bytes_allocated);
        assert!(matches!(hit.origin(), Origin::Tier { .. }));
    }
    assert!(bytes < 8 * BESIDE, "{bytes} bytes for a hit of {LEN}");
}
