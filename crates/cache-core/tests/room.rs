//! What memory the near tier and the memory tier really take, and what a hit allocates: counted by
//! the allocator.

use std::{alloc::System, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{
    ByteSize, Cache, Clock, CodecId, Entry, Eviction, ManualClock, MemoryTier, Namespace,
    PutOutcome, Raw, Tier, TierExt, Ttl,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What each tier and cache takes beside its bytes, whatever its size: fences, statistics.
const BESIDE: u64 = 1024 * 1024;

const LIMIT: u64 = 4 * 1024 * 1024;
const GIVEN: u64 = 16 * LIMIT;

/// Sizes that are hard on a bound: one byte, all alike, growing, a few large among many small, and
/// now and then most of the tier.
fn sizes(pattern: usize) -> impl Iterator<Item = usize> {
    (0_usize..).map(move |i| match pattern {
        0 => 1,
        1 => 1_000,
        2 => i % 4_096,
        3 if i.is_multiple_of(100) => 700_000,
        3 => 40,
        _ if i.is_multiple_of(1_000) => 3_000_000,
        _ => 300 + i * 7_919 % 2_000,
    })
}

/// Bytes in use now and not when the region began.
fn taken(region: &Region<'_, System>) -> u64 {
    let change = region.change();
    (change.bytes_allocated as u64).saturating_sub(change.bytes_deallocated as u64)
}

/// Everything in one test: what another one allocates at the same time would be counted too.
#[tokio::test]
async fn the_bounds_hold_for_the_memory_that_is_really_taken_and_a_hit_allocates_nothing() {
    for eviction in Eviction::ALL.iter().copied() {
        let patterns = if eviction == Eviction::default() { &[0, 1, 2, 3, 4][..] } else { &[0, 4] };
        for pattern in patterns {
            memory_tier(eviction, *pattern).await;
        }
    }
    for eviction in [Eviction::default(), Eviction::Sieve, Eviction::Fifo, Eviction::Lru] {
        for pattern in 0..5 {
            near_tier(eviction, pattern).await;
        }
        hits(eviction).await;
    }
}

async fn memory_tier(eviction: Eviction, pattern: usize) {
    let clock = ManualClock::new();
    let region = Region::new(ALLOCATOR);
    let tier =
        MemoryTier::new(ByteSize::bytes(LIMIT), Arc::new(clock.clone())).with_eviction(eviction);
    let namespace = Namespace::new("n").expect("`n` is a name");
    let (mut given, mut given_count, mut peak, mut stored) = (0, 0, 0, 0);
    for (i, size) in sizes(pattern).enumerate().take(20_000) {
        if given > GIVEN {
            break;
        }
        given += size as u64;
        let ttl = Ttl::fresh(Duration::from_secs(60));
        let entry = Entry::new(Bytes::from(vec![0; size]), CodecId(3), clock.now(), ttl);
        let key = namespace.key(&format!("key-{i}")).expect("a key");
        let outcome = tier.put(key, entry).await.expect("it takes it");
        given_count += 1;
        stored += u64::from(outcome == PutOutcome::Stored);
        if i % 64 == 0 {
            peak = peak.max(taken(&region));
        }
    }
    assert!(peak <= LIMIT * 11 / 10 + BESIDE, "{eviction}, sizes {pattern}: {peak} bytes");
    assert_eq!(stored, given_count, "{eviction}, sizes {pattern}: each of them fits");
    let usage = tier.usage().await.expect("it can tell");
    assert!(usage.bytes.unwrap_or(u64::MAX) <= LIMIT, "{usage:?}");
    let counts = tier.evictions();
    assert_eq!(
        stored,
        usage.entries.unwrap_or(0) + counts.evicted() + counts.expired,
        "{counts:?}"
    );
    assert_eq!((counts.quota, counts.pressure), (0, 0));
}

async fn near_tier(eviction: Eviction, pattern: usize) {
    let region = Region::new(ALLOCATOR);
    let cache: Cache<Bytes> = Cache::builder_with("n", Raw)
        .near(ByteSize::bytes(LIMIT))
        .near_eviction(eviction)
        .build()
        .expect("a near tier is enough");
    let (mut given, mut peak) = (0, 0);
    for (i, size) in sizes(pattern).enumerate().take(20_000) {
        if given > GIVEN {
            break;
        }
        given += size as u64;
        let load = move || async move { Ok::<_, Infallible>(Bytes::from(vec![0; size])) };
        cache.get_or_load(&format!("key-{i}"), load).await.expect("it works");
        if i % 64 == 0 {
            peak = peak.max(taken(&region));
        }
    }
    // Moka evicts behind its writers, and states no bound of its own memory.
    if eviction != Eviction::Lru {
        assert!(peak <= LIMIT * 11 / 10 + BESIDE, "{eviction}, sizes {pattern}: {peak} bytes");
    }
}

async fn hits(eviction: Eviction) {
    let cache: Cache<u64> =
        Cache::builder("n").near_eviction(eviction).build().expect("a near tier is enough");
    let keys: Vec<String> = (0..1_000).map(|i| format!("a rather long key, number {i}")).collect();
    for key in &keys {
        cache.insert(key, 7).await.expect("it works");
    }
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let region = Region::new(ALLOCATOR);
        for key in &keys {
            let hit = cache.get(key).await.expect("it answers").expect("it is there");
            assert_eq!(**hit.value(), 7);
            let load = || async { Err::<u64, &str>("it is there") };
            assert_eq!(*cache.get_or_load(key, load).await.expect("it works"), 7);
            assert!(cache.peek(key).is_some());
        }
        let change = region.change();
        rounds.push(change.allocations + change.reallocations);
    }
    // The first round makes what a thread needs once, and now and then the harness's own thread
    // allocates; a hit that does would do so in every round. Moka allocates where it records reads.
    if eviction != Eviction::Lru {
        assert!(rounds.contains(&0), "{eviction}: allocations in each round {rounds:?}");
    }
}
