//! What a hit of the near tier may cost: one look at the clock, no allocation, and so no boxed
//! future; and what keeping a value takes beside it. Counted by a clock and by the allocator.

use std::{
    alloc::System,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cache_core::{ByteSize, Cache, Clock, ManualClock, Timestamp};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So many entries, of a payload of so many bytes.
const ENTRIES: usize = 100_000;
const PAYLOAD_LEN: usize = 64;

/// What an entry of the near tier may take beyond one of moka's.
const BEYOND_MOKA: usize = 64;

/// A clock that counts how often it is read.
#[derive(Clone, Debug, Default)]
struct CountingClock {
    clock: ManualClock,
    reads: Arc<AtomicUsize>,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }
}

/// A way to a hit.
#[derive(Clone, Copy, Debug)]
enum Way {
    Peek,
    Get,
    GetOrLoad,
    Read,
}

impl Way {
    const ALL: [Self; 4] = [Self::Peek, Self::Get, Self::GetOrLoad, Self::Read];

    async fn hit(self, cache: &Cache<u64>, key: &str) {
        let loader = || async { Err::<u64, &str>("it is there: nobody asks for it") };
        let hit = match self {
            Self::Peek => cache.peek(key),
            Self::Get => cache.get(key).await.expect("it answers"),
            Self::GetOrLoad => Some(cache.get_or_load(key, loader).await.expect("it answers")),
            Self::Read => cache.read(key).load(move |_| loader()).await.expect("it answers"),
        };
        assert_eq!(*hit.expect("it is there"), 7, "{self:?}");
    }
}

/// Everything in one test: what another one allocates at the same time would be counted too.
#[tokio::test]
async fn a_hit_allocates_nothing_and_reads_the_clock_once_and_an_entry_takes_little_beside_itself()
{
    let clock = CountingClock::default();
    let builder = Cache::builder("n").clock(Arc::new(clock.clone()));
    let cache: Cache<u64> = builder.build().expect("a near tier is enough");
    let keys: Vec<String> = (0..1_000).map(|i| format!("a rather long key, number {i}")).collect();
    for key in &keys {
        cache.insert(key, 7).await.expect("it is kept");
    }
    for way in Way::ALL {
        clock.reads.store(0, Ordering::Relaxed);
        way.hit(&cache, &keys[0]).await;
        assert_eq!(clock.reads.load(Ordering::Relaxed), 1, "{way:?}: looks at the clock");
        // The first round makes what a thread needs once, and now and then the harness's own thread
        // allocates; a hit that does, or that boxes its future, would do so in every round.
        let mut rounds = Vec::new();
        for _ in 0..5 {
            let region = Region::new(ALLOCATOR);
            for key in &keys {
                way.hit(&cache, key).await;
            }
            let change = region.change();
            rounds.push(change.allocations + change.reallocations);
        }
        assert!(rounds.contains(&0), "{way:?}: allocations in each round {rounds:?}");
    }
    let (near, moka) = (near_entry().await, moka_entry());
    println!("bytes an entry beside key and payload: near tier {near}, moka {moka}");
    assert!(near <= moka + BEYOND_MOKA, "near tier {near}, moka {moka} bytes an entry");
}

/// What an entry takes in the near tier, beside the texts of its key and its value.
async fn near_entry() -> usize {
    let keys = keys();
    let region = Region::new(ALLOCATOR);
    let builder = Cache::builder("n").near(ByteSize::mib(1_024));
    let cache: Cache<String> = builder.build().expect("a near tier is enough");
    for key in &keys {
        cache.insert(key, "x".repeat(PAYLOAD_LEN)).await.expect("it is kept");
    }
    let taken = beside(&region, &keys);
    assert!(keys.iter().all(|key| cache.peek(key).is_some()), "all of them are there");
    taken
}

/// The same in moka alone, bounded by what values weigh as well.
fn moka_entry() -> usize {
    let keys = keys();
    let region = Region::new(ALLOCATOR);
    let cache: moka::sync::Cache<String, Arc<String>> = moka::sync::Cache::builder()
        .max_capacity(1 << 30)
        .weigher(|key: &String, value: &Arc<String>| {
            u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX)
        })
        .time_to_live(std::time::Duration::from_secs(300))
        .build();
    for key in &keys {
        cache.insert(key.clone(), Arc::new("x".repeat(PAYLOAD_LEN)));
    }
    cache.run_pending_tasks();
    let taken = beside(&region, &keys);
    assert!(keys.iter().all(|key| cache.contains_key(key)), "all of them are there");
    taken
}

fn keys() -> Vec<String> {
    (0..ENTRIES).map(|i| format!("key-{i}")).collect()
}

/// Bytes an entry that are in use now and were not when the region began, without the texts.
fn beside(region: &Region<'_, System>, keys: &[String]) -> usize {
    let change = region.change();
    let texts = ENTRIES * PAYLOAD_LEN + keys.iter().map(String::len).sum::<usize>();
    (change.bytes_allocated - change.bytes_deallocated - texts) / ENTRIES
}
