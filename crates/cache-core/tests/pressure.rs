//! A cache that was asked to watches memory, and gives way while it is short.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Builder, ByteSize, Cache, ErrorKind, Event, ManualClock, MemoryTier, Pressure, PressureConfig,
    PressureGauge, Raw, Result, Tier,
};

/// The memory of a process, in percent, as the test sets it.
#[derive(Debug, Default)]
struct Memory {
    percent: AtomicU64,
    readings: AtomicU64,
}

impl Memory {
    /// Sets it, and lets it be read once.
    async fn is(&self, percent: u64) {
        self.percent.store(percent, Ordering::Relaxed);
        let before = self.readings.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        assert_eq!(self.readings.load(Ordering::Relaxed), before + 1);
    }
}

#[async_trait]
impl PressureGauge for Memory {
    fn name(&self) -> &str {
        "process"
    }

    async fn read(&self) -> Result<Pressure> {
        self.readings.fetch_add(1, Ordering::Relaxed);
        Ok(Pressure { used: self.percent.load(Ordering::Relaxed), limit: 100 })
    }
}

const ROOM: u64 = 1 << 20;

fn tier() -> Arc<MemoryTier> {
    Arc::new(MemoryTier::new(ByteSize::bytes(2 * ROOM), Arc::new(ManualClock::new())))
}

fn builder(tier: &Arc<MemoryTier>, memory: &Arc<Memory>) -> Builder<Bytes> {
    Cache::builder_with("n", Raw)
        .near(ByteSize::bytes(ROOM))
        .tier(Arc::clone(tier) as Arc<dyn Tier>)
        .memory_gauge(Arc::clone(memory) as Arc<dyn PressureGauge>)
}

async fn fill(cache: &Cache<Bytes>, count: usize) {
    for i in 0..count {
        cache.insert(&format!("k{i}"), Bytes::from(vec![0; 4_000])).await.expect("it is kept");
    }
}

/// Bytes in the near tier, and in the one below.
async fn bytes(cache: &Cache<Bytes>) -> [u64; 2] {
    let stats = cache.stats().await;
    [0, 1].map(|tier| stats.tiers[tier].usage.and_then(|usage| usage.bytes).expect("it can tell"))
}

#[tokio::test(start_paused = true)]
async fn near_tier_and_tiers_of_the_process_give_way_while_its_memory_is_short() {
    let (tier, memory) = (tier(), Arc::new(Memory::default()));
    let settings = PressureConfig { steps: 2, ..PressureConfig::default() };
    let cache = builder(&tier, &memory).memory_pressure(settings).build().unwrap();
    let mut heard = cache.events().subscribe();
    // Half a second after a reading, so that none is at the moment when the test looks.
    fill(&cache, 1_000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    memory.is(50).await;
    let [near, below] = bytes(&cache).await;
    assert!(near > ROOM / 10 * 9 && below > 2 * ROOM / 10 * 9, "{near} and {below}");

    memory.is(95).await;
    let [near, below] = bytes(&cache).await;
    assert!(near <= ROOM / 10 * 7 && near > ROOM / 2, "{near}");
    assert!(below <= 2 * ROOM / 10 * 7 && below > ROOM, "{below}");
    let stats = cache.stats().await;
    let pressure = stats.pressure["process"];
    assert_eq!((pressure.episodes, pressure.fraction, pressure.used), (1, 0.7, 0.95));
    assert!(pressure.evicted > 100, "{pressure:?}");
    assert!(stats.to_string().contains("memory of process: 95 % used, 70 % of the capacity kept"));
    match heard.try_recv() {
        Ok(Event::MemoryPressure { used_percent, kept_percent, evicted, .. }) => {
            assert_eq!((used_percent, kept_percent, evicted), (95, 70, pressure.evicted));
        }
        other => panic!("{other:?}"),
    }
    // What comes meanwhile finds its place in what is left.
    fill(&cache, 1_000).await;
    assert!(bytes(&cache).await[0] <= ROOM / 10 * 7);

    memory.is(50).await;
    memory.is(50).await;
    fill(&cache, 1_000).await;
    let [near, below] = bytes(&cache).await;
    assert!(near > ROOM / 10 * 9 && below > 2 * ROOM / 10 * 9, "{near} and {below}");
    assert_eq!(cache.events().count("pressure_relieved"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_ends_while_memory_is_short_leaves_shared_tiers_their_whole_room() {
    for shut_down in [false, true] {
        let (tier, memory) = (tier(), Arc::new(Memory::default()));
        let build = || builder(&tier, &memory).memory_pressure(PressureConfig::default()).build();
        let cache = build().unwrap();
        fill(&cache, 1_000).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        memory.is(99).await;
        assert!(bytes(&cache).await[1] <= 2 * ROOM / 10 * 7);
        if shut_down {
            cache.shutdown(Duration::from_secs(1)).await.unwrap();
        }
        drop(cache);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let readings = memory.readings.load(Ordering::Relaxed);
        let other = Cache::builder_with("n", Raw).tier(tier.clone()).build().unwrap();
        fill(&other, 1_000).await;
        assert!(bytes(&other).await[1] > 2 * ROOM / 10 * 9);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(memory.readings.load(Ordering::Relaxed), readings, "nobody reads any more");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_watches_memory_unless_that_was_asked_for() {
    let tier = tier();
    let cache = Cache::builder_with("n", Raw).tier(tier.clone()).build().unwrap();
    fill(&cache, 10).await;
    assert!(cache.stats().await.pressure.is_empty());
    // Outside of a runtime a cache is built all the same: the watch begins with the first call.
    let memory = Arc::new(Memory::default());
    let build = builder(&tier, &memory).memory_pressure(PressureConfig::default());
    let cache = std::thread::spawn(|| build.build().unwrap()).join().unwrap();
    assert!(cache.stats().await.pressure.is_empty());
    fill(&cache, 1).await;
    assert_eq!(cache.stats().await.pressure.len(), 1);
}

#[test]
fn settings_that_make_no_sense_are_refused_when_the_cache_is_built() {
    let memory = Arc::new(Memory::default());
    let error = builder(&tier(), &memory).build().expect_err("a gauge that nobody reads");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`memory_gauge`"), "{error}");
    let settings = PressureConfig { threshold: 1.5, ..PressureConfig::default() };
    let error = builder(&tier(), &memory).memory_pressure(settings).build().expect_err("above 1");
    assert_eq!(error.kind(), ErrorKind::Config);
}
