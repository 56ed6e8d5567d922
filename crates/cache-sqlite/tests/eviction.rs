//! What gives way, in which order, and how it is counted.

mod support;

use std::{sync::Arc, time::Duration};

use cache_core::{
    ByteSize, Cache, Clock, CodecId, Entry, Event, Eviction, EvictionPriority, Key, ManualClock,
    PressureConfig, PutOutcome, Shrink, Span, Tier, TierExt, Ttl,
};
use cache_sqlite::{SqliteConfig, SqliteTier};
use support::{entry, key};
use tempfile::TempDir;

/// A tier for a hundred entries whose sweeper does nothing by itself.
struct Ground {
    directory: TempDir,
    clock: ManualClock,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, clock: ManualClock::new() }
    }

    fn config(&self, policy: &str) -> SqliteConfig {
        SqliteConfig {
            entries_max: Some(100),
            eviction: policy.parse::<Eviction>().expect("there is such a policy"),
            sweep_interval: Span::secs(3_600),
            ..SqliteConfig::new(self.directory.path().join("cache.sqlite"))
        }
    }

    fn open(&self, config: &SqliteConfig) -> Arc<SqliteTier> {
        SqliteTier::with_config(config, Arc::new(self.clock.clone())).expect("it opens")
    }

    fn tier(&self, policy: &str) -> Arc<SqliteTier> {
        self.open(&self.config(policy))
    }

    async fn put(&self, tier: &SqliteTier, name: &str, lives: Duration) {
        let entry =
            Entry::new(vec![7; 100].into(), CodecId(3), self.clock.now(), Ttl::fresh(lives));
        let outcome = tier.put(key(name), entry).await.expect("the tier answers");
        assert_eq!(outcome, PutOutcome::Stored);
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Which of so many keys have a value, once what is too much has gone: that happens after the
/// write has been answered.
async fn left(tier: &SqliteTier, count: usize) -> Vec<usize> {
    tier.shrink_to(1.0).await.expect("the tier answers");
    found(tier, count).await
}

async fn found(tier: &SqliteTier, count: usize) -> Vec<usize> {
    let keys: Vec<Key> = (0..count).map(|i| key(&i.to_string())).collect();
    let lookups = tier.get_many(&keys).await.expect("the tier answers");
    (0..count).filter(|i| lookups[*i].entry.is_some()).collect()
}

#[tokio::test]
async fn fifo_evicts_in_the_order_of_arrival() {
    let ground = Ground::new();
    let tier = ground.tier("fifo");
    for i in 0..100 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    // Neither being read nor being written again makes the first one younger.
    left(&tier, 10).await;
    ground.put(&tier, "0", HOUR).await;
    for i in 100..260 {
        ground.put(&tier, &i.to_string(), HOUR).await;
        let left = left(&tier, i + 1).await;
        assert!(left.len() <= 100 && left.len() >= 95, "{} are left", left.len());
        assert_eq!(left, (i + 1 - left.len()..=i).collect::<Vec<_>>(), "after {i}");
    }
}

#[tokio::test]
async fn what_was_removed_and_comes_back_is_new_by_fifo() {
    let ground = Ground::new();
    let tier = ground.tier("fifo");
    for i in 0..100 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    tier.remove(key("0")).await.unwrap();
    ground.put(&tier, "0", HOUR).await;
    for i in 100..150 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    let left = left(&tier, 150).await;
    assert_eq!(left[0], 0);
    assert!(left[1] >= 50, "{left:?}");
}

#[tokio::test]
async fn ttl_evicts_what_expires_first() {
    let ground = Ground::new();
    let tier = ground.tier("ttl");
    // Deadlines in an order that has nothing to do with that of arrival.
    let seconds = |i: usize| 1_000 + (i * 7_919) % 1_009;
    for i in 0..400 {
        ground.put(&tier, &i.to_string(), Duration::from_secs(seconds(i) as u64)).await;
    }
    let left = left(&tier, 400).await;
    assert!((95..=100).contains(&left.len()), "{} are left", left.len());
    let first = left.iter().filter(|i| **i < 390).map(|i| seconds(*i)).min().unwrap();
    // The last ones may have come after the last eviction.
    let gone = (0..390).filter(|i| !left.contains(i)).map(seconds).max().unwrap();
    assert!(gone < first, "one of {gone} s went before one of {first} s");
}

#[tokio::test]
async fn lfu_keeps_a_new_hot_key() {
    for policy in ["lfu", "lru", "s3-fifo", "sieve"] {
        let ground = Ground::new();
        let tier = ground.tier(policy);
        for i in 0..100 {
            ground.put(&tier, &i.to_string(), HOUR).await;
        }
        ground.put(&tier, "hot", HOUR).await;
        for i in 100..1_000 {
            ground.clock.advance(Duration::from_millis(1));
            assert!(tier.get(&key("hot")).await.unwrap().entry.is_some(), "{policy}: before {i}");
            ground.put(&tier, &i.to_string(), HOUR).await;
        }
    }
}

#[tokio::test]
async fn lru_keeps_what_was_read_lately_and_lfu_what_was_read_often() {
    for (policy, kept) in [("lru", 100..116), ("lfu", 0..16)] {
        let ground = Ground::new();
        let tier = ground.tier(policy);
        for i in 0..64 {
            ground.put(&tier, &i.to_string(), HOUR).await;
        }
        for i in 100..116 {
            ground.put(&tier, &i.to_string(), HOUR).await;
        }
        for _ in 0..4 {
            left(&tier, 16).await;
        }
        ground.clock.advance(Duration::from_secs(1));
        let late: Vec<Key> = (100..116).map(|i| key(&i.to_string())).collect();
        tier.get_many(&late).await.unwrap();
        for i in 200..284 {
            ground.put(&tier, &i.to_string(), HOUR).await;
        }
        let keys: Vec<Key> = kept.map(|i| key(&i.to_string())).collect();
        let lookups = tier.get_many(&keys).await.unwrap();
        assert!(lookups.iter().all(|lookup| lookup.entry.is_some()), "{policy}");
    }
}

#[tokio::test]
async fn each_policy_keeps_the_bounds_and_counts_what_it_evicts() {
    for policy in Eviction::ALL {
        let ground = Ground::new();
        let config = ground.config(policy.as_str());
        let tier = ground.open(&SqliteConfig { bytes_max: ByteSize::mib(2), ..config });
        // Small ones for the bound in entries, then large ones for that in bytes.
        for i in 0..400 {
            let payload = vec![7; if i < 200 { 10 } else { 100_000 }];
            let outcome = tier.put(key(&i.to_string()), entry(payload, &ground.clock)).await;
            assert_eq!(outcome.unwrap(), PutOutcome::Stored);
        }
        let left = left(&tier, 400).await.len() as u64;
        let usage = tier.usage().await.unwrap();
        let evicted = usage.evicted.unwrap();
        assert_eq!(usage.evictions, Some(evicted.total()), "{policy}");
        assert_eq!(evicted.total() + left, 400, "{policy}: {evicted:?}");
        assert!(evicted.entries >= 100 && evicted.bytes >= 100, "{policy}: {evicted:?}");
        assert!(usage.bytes.unwrap() <= 2 << 20, "{policy}: {usage:?}");
        // The counts are the file's, and not the process's.
        tier.close().await.unwrap();
        let tier = ground.open(&ground.config(policy.as_str()));
        assert_eq!(tier.usage().await.unwrap().evicted, Some(evicted));
    }
}

#[tokio::test]
async fn a_tier_that_is_told_to_shrink_does_and_grows_again_when_it_may() {
    let ground = Ground::new();
    let tier = ground.tier("fifo");
    for i in 0..100 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    let evicted = tier.shrink_to(0.5).await.unwrap();
    let there = found(&tier, 100).await;
    assert!((45..=50).contains(&there.len()), "{} are left", there.len());
    assert_eq!(evicted as usize + there.len(), 100);
    assert_eq!(tier.usage().await.unwrap().evicted.unwrap().pressure, evicted);
    for i in 100..200 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    tier.shrink_to(0.5).await.unwrap();
    let there = found(&tier, 200).await.len();
    assert!((45..=50).contains(&there), "it stays within its share: {there}");
    assert_eq!(tier.shrink_to(1.0).await.unwrap(), 0);
    for i in 200..240 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    assert!(left(&tier, 240).await.len() >= 85);
}

#[tokio::test]
async fn what_is_of_low_priority_goes_first_and_what_is_pinned_last() {
    for policy in ["fifo", "ttl", "s3-fifo"] {
        let ground = Ground::new();
        let tier = ground.tier(policy);
        let priorities = ["high", "normal", "pinned", "low"];
        for i in 0..100 {
            let priority = priorities[i / 25].parse::<EvictionPriority>().unwrap();
            let entry = entry("v", &ground.clock).with_priority(priority);
            tier.put(key(&i.to_string()), entry).await.unwrap();
        }
        for (share, expected) in [(0.75, 0..75), (0.5, 0..50)] {
            tier.shrink_to(share).await.unwrap();
            let left = found(&tier, 100).await;
            assert!(left.iter().filter(|i| **i >= 75).count() <= 5, "{policy}: {left:?}");
            let kept = expected.filter(|i| !(25..50).contains(i) || share > 0.5);
            let missing = kept.filter(|i| !left.contains(i)).count();
            assert!(missing <= 5, "{policy}: {left:?}");
        }
        tier.shrink_to(0.2).await.unwrap();
        let left = found(&tier, 100).await;
        assert!(left.iter().all(|i| (50..75).contains(i)), "{policy}: {left:?}");
    }
}

#[tokio::test]
async fn two_processes_do_not_evict_twice_what_is_too_much() {
    let ground = Ground::new();
    let (one, two) = (ground.tier("fifo"), ground.tier("fifo"));
    for i in 0..500 {
        let tier = if i % 2 == 0 { &one } else { &two };
        ground.put(tier, &i.to_string(), HOUR).await;
    }
    let left = left(&one, 500).await;
    assert!((95..=100).contains(&left.len()), "{} are left", left.len());
    let evicted = two.usage().await.unwrap().evictions.unwrap();
    assert_eq!(evicted as usize + left.len(), 500);
}

#[tokio::test]
async fn what_was_evicted_still_refuses_a_fill_from_before_it_was_written() {
    let ground = Ground::new();
    let tier = ground.tier("fifo");
    let before = tier.get(&key("0")).await.unwrap().fence;
    for i in 0..300 {
        ground.put(&tier, &i.to_string(), HOUR).await;
    }
    assert!(tier.get(&key("0")).await.unwrap().entry.is_none());
    let late = tier.fill(key("0"), entry("stale", &ground.clock), before).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded);
}

/// The file is over its budget while one writer makes room for others: here because the bound that
/// the watch goes by is a lower one.
#[tokio::test]
async fn a_cache_has_a_file_over_its_budget_give_way() {
    let ground = Ground::new();
    let tier = ground.open(&SqliteConfig {
        bytes_max: ByteSize::mib(4),
        entries_max: None,
        ..ground.config("fifo")
    });
    let interval = Duration::from_millis(20);
    // Eviction by itself begins at seven eighths.
    let settings =
        PressureConfig { interval, threshold: 0.8, relief: 0.75, ..PressureConfig::default() };
    let cache: Cache<String> = Cache::builder("test")
        .tier(tier.clone())
        .clock(Arc::new(ground.clock.clone()))
        .memory_pressure(settings)
        .build()
        .unwrap();
    let mut heard = cache.events().subscribe();
    for i in 0..850 {
        cache.insert(&i.to_string(), "x".repeat(4_000)).await.unwrap();
    }
    let told = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.unwrap();
    match told.unwrap() {
        Event::MemoryPressure { gauge, used_percent, .. } => {
            assert_eq!(&*gauge, "sqlite");
            assert!(used_percent >= 80, "{used_percent}");
        }
        other => panic!("{other:?}"),
    }
    // Down to the low water, whatever was written meanwhile.
    tier.shrink_to(0.7).await.unwrap();
    let usage = tier.usage().await.unwrap();
    assert!(usage.bytes.unwrap() <= (4 << 20) / 10 * 7, "{usage:?}");
    let evicted = usage.evicted.unwrap();
    assert!(evicted.pressure > 0, "{evicted:?}");
    assert!(cache.stats().await.pressure["sqlite"].episodes > 0);
    assert!(tier.get(&key("0")).await.unwrap().entry.is_none(), "first in, first out");
}
