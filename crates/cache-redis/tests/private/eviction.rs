//! What the tier evicts by itself, in which order, and how much memory Redis takes meanwhile.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis;
use cache_core::{
    ByteSize, Cache, Clock, CodecId, Condition, Entry, Event, Events, Eviction, EvictionPriority,
    Fence, Key, ManualClock, Namespace, PressureConfig, PressureGauge, Put, PutOutcome, Shrink,
    Span, Tier, TierExt, Ttl, Version,
};
use cache_redis::{RedisConfig, RedisTier};

use crate::server::{PATIENCE, PrivateRedis};

const HOUR: Duration = Duration::from_secs(3_600);

struct Ground {
    server: PrivateRedis,
    clock: ManualClock,
}

impl Ground {
    fn start(test: &str) -> Option<Self> {
        let server = PrivateRedis::start(test, &[])?;
        Some(Self { server, clock: ManualClock::new() })
    }

    fn config(&self, policy: &str) -> RedisConfig {
        RedisConfig {
            eviction: policy.parse::<Eviction>().unwrap(),
            tracked_entries_max: Some(100),
            ..RedisConfig::new(self.server.url())
        }
    }

    async fn connect(&self, config: &RedisConfig) -> Arc<RedisTier> {
        RedisTier::connect(config, Arc::new(self.clock.clone())).await.unwrap()
    }

    async fn tier(&self, policy: &str) -> Arc<RedisTier> {
        self.connect(&self.config(policy)).await
    }

    fn entry(&self, len: usize, lives: Duration) -> Entry {
        Entry::new(vec![7; len].into(), CodecId(3), self.clock.now(), Ttl::fresh(lives))
    }

    async fn put(&self, tier: &RedisTier, name: usize, lives: Duration) {
        let outcome = tier.put(key(name), self.entry(100, lives)).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored);
    }
}

fn key(name: usize) -> Key {
    Namespace::new("n").unwrap().key(&name.to_string()).unwrap()
}

/// Which of so many keys have a value.
async fn left(tier: &RedisTier, count: usize) -> Vec<usize> {
    let keys: Vec<Key> = (0..count).map(key).collect();
    let lookups = tier.get_many(&keys).await.unwrap();
    (0..count).filter(|i| lookups[*i].entry.is_some()).collect()
}

#[tokio::test]
async fn fifo_evicts_in_the_order_of_arrival() {
    let Some(ground) = Ground::start("FIFO in Redis") else { return };
    let tier = ground.tier("fifo").await;
    for i in 0..100 {
        ground.put(&tier, i, HOUR).await;
    }
    // Neither being read nor being written again makes the first one younger.
    left(&tier, 10).await;
    ground.put(&tier, 0, HOUR).await;
    for i in 100..250 {
        ground.put(&tier, i, HOUR).await;
        assert_eq!(left(&tier, i + 1).await, (i - 99..=i).collect::<Vec<_>>());
    }
    // One that comes back is new.
    tier.remove(key(150)).await.unwrap();
    ground.put(&tier, 150, HOUR).await;
    for i in 250..300 {
        ground.put(&tier, i, HOUR).await;
    }
    assert_eq!(left(&tier, 300).await[0], 150);
}

#[tokio::test]
async fn ttl_evicts_what_expires_first() {
    let Some(ground) = Ground::start("TTL in Redis") else { return };
    let tier = ground.tier("ttl").await;
    // Deadlines in an order that has nothing to do with that of arrival.
    let seconds = |i: usize| 1_000 + (i * 7_919) % 1_009;
    for i in 0..400 {
        ground.put(&tier, i, Duration::from_secs(seconds(i) as u64)).await;
    }
    // Room is made for a newcomer before it counts: of those before the last, the latest 99.
    let mut latest: Vec<usize> = (0..399).collect();
    latest.sort_by_key(|i| std::cmp::Reverse(seconds(*i)));
    latest.truncate(99);
    latest.push(399);
    latest.sort_unstable();
    assert_eq!(left(&tier, 400).await, latest);
}

#[tokio::test]
async fn lru_evicts_what_was_read_longest_ago() {
    let Some(ground) = Ground::start("LRU in Redis") else { return };
    let tier = ground.tier("lru").await;
    for i in 0..100 {
        ground.put(&tier, i, HOUR).await;
    }
    // Two lots, the later one first by name.
    left(&tier, 100).await;
    ground.clock.advance(Duration::from_millis(1));
    left(&tier, 50).await;
    tier.shrink_to(1.0).await.unwrap();
    for i in 100..150 {
        ground.put(&tier, i, HOUR).await;
    }
    assert_eq!(left(&tier, 100).await, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn lfu_evicts_what_was_read_least_and_keeps_a_new_hot_key() {
    let Some(ground) = Ground::start("LFU in Redis") else { return };
    let tier = ground.tier("lfu").await;
    for i in 0..100 {
        ground.put(&tier, i, HOUR).await;
    }
    for reads in 1..4 {
        left(&tier, 25 * reads).await;
    }
    tier.shrink_to(1.0).await.unwrap();
    // Read three times were 25, twice 25, once 25: those go in the opposite order.
    for (from, gone) in [(100, 75..100), (125, 50..75)] {
        for i in from..from + 25 {
            ground.put(&tier, i, HOUR).await;
            let hot = tier.get(&key(i)).await.unwrap();
            let again = tier.get(&key(i)).await.unwrap();
            assert!(hot.entry.is_some() && again.entry.is_some());
            tier.shrink_to(1.0).await.unwrap();
        }
        let lookups = tier.get_many(&gone.clone().map(key).collect::<Vec<_>>()).await.unwrap();
        assert!(lookups.iter().all(|lookup| lookup.entry.is_none()), "{gone:?}");
    }
    let hot: Vec<Key> = (100..150).map(key).collect();
    let lookups = tier.get_many(&hot).await.unwrap();
    assert!(lookups.iter().all(|lookup| lookup.entry.is_some()), "new and hot");
}

#[tokio::test]
async fn each_policy_keeps_the_bounds_and_counts_what_it_evicts() {
    let Some(ground) = Ground::start("eviction in Redis") else { return };
    for policy in Eviction::ALL {
        let config = RedisConfig {
            tracked_bytes_max: Some(ByteSize::mib(2)),
            prefix: policy.as_str().to_owned(),
            ..ground.config(policy.as_str())
        };
        let tier = ground.connect(&config).await;
        // Small ones for the bound in entries, then large ones for that in bytes.
        for i in 0..400 {
            let entry = ground.entry(if i < 200 { 10 } else { 100_000 }, HOUR);
            assert_eq!(tier.put(key(i), entry).await.unwrap(), PutOutcome::Stored);
        }
        let left = left(&tier, 400).await.len() as u64;
        let usage = tier.usage().await.unwrap();
        let evicted = usage.evicted.unwrap();
        assert_eq!(usage.evictions, Some(evicted.total()), "{policy}");
        assert_eq!((usage.entries, evicted.total() + left), (Some(left), 400), "{policy}");
        assert!(evicted.entries >= 100 && evicted.bytes >= 100, "{policy}: {evicted:?}");
        assert!(usage.bytes.unwrap() <= 2 << 20, "{policy}: {usage:?}");
        assert_eq!(usage.bytes_max, Some(2 << 20));
        let too_large = tier.put(key(0), ground.entry(600_000, HOUR)).await.unwrap();
        assert_eq!(too_large, PutOutcome::TooLarge);
    }
}

#[tokio::test]
async fn what_was_evicted_keeps_its_fence_and_its_version_for_their_time() {
    let Some(ground) = Ground::start("fences of what Redis evicts") else { return };
    let tier = ground.tier("fifo").await;
    let before = tier.get(&key(0)).await.unwrap().fence;
    let inserted = ground.entry(10, HOUR).with_version(Some(Version(7)));
    tier.put(key(0), inserted).await.unwrap();
    for i in 1..150 {
        ground.put(&tier, i, HOUR).await;
    }
    assert!(tier.get(&key(0)).await.unwrap().entry.is_none());
    let late = tier.fill(key(0), ground.entry(10, HOUR), before).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded);
    let fence = tier.get(&key(0)).await.unwrap().fence;
    let older = ground.entry(10, HOUR).with_version(Some(Version(6)));
    assert_eq!(tier.fill(key(0), older, fence).await.unwrap(), PutOutcome::Superseded);
}

#[tokio::test]
async fn what_was_filled_and_evicted_leaves_nothing_behind() {
    let Some(ground) = Ground::start("what eviction leaves in Redis") else { return };
    let tier = ground.tier("fifo").await;
    for i in 0..300 {
        let fence = tier.get(&key(i)).await.unwrap().fence;
        let entry = ground.entry(10, HOUR);
        assert_eq!(tier.fill(key(i), entry, fence).await.unwrap(), PutOutcome::Stored);
    }
    let mut raw = ground.server.raw().await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("cache:n:*").query_async(&mut raw).await.unwrap();
    assert_eq!(keys.len(), 100);
}

#[tokio::test]
async fn what_is_not_there_any_more_is_forgotten_and_takes_nobodys_place() {
    let Some(ground) = Ground::start("records that Redis has let go") else { return };
    let tier = ground.tier("fifo").await;
    for i in 0..100 {
        ground.put(&tier, i, HOUR).await;
    }
    let mut raw = ground.server.raw().await;
    let gone: Vec<String> = (50..100).map(|i| format!("cache:n:{i}")).collect();
    let count: u64 = redis::cmd("DEL").arg(gone).query_async(&mut raw).await.unwrap();
    assert_eq!(count, 50);
    // About once a second a put looks for what has gone.
    ground.clock.advance(Duration::from_secs(2));
    for i in 100..150 {
        ground.put(&tier, i, HOUR).await;
    }
    let expected: Vec<usize> = (0..50).chain(100..150).collect();
    assert_eq!(left(&tier, 150).await, expected);
    assert_eq!(tier.usage().await.unwrap().evictions, Some(0));
}

#[tokio::test]
async fn what_is_of_low_priority_goes_first_and_what_is_pinned_last() {
    let Some(ground) = Ground::start("priorities in Redis") else { return };
    for policy in ["fifo", "lfu"] {
        let config = RedisConfig { prefix: policy.to_owned(), ..ground.config(policy) };
        let tier = ground.connect(&config).await;
        let priorities = ["high", "normal", "pinned", "low"];
        for i in 0..100 {
            let priority = priorities[i / 25].parse::<EvictionPriority>().unwrap();
            let entry = ground.entry(10, HOUR).with_priority(priority);
            tier.put(key(i), entry).await.unwrap();
        }
        // Being read changes nothing of it.
        left(&tier, 100).await;
        for (share, expected) in [
            (0.75, (0..75).collect::<Vec<_>>()),
            (0.5, (0..25).chain(50..75).collect()),
            (0.25, (50..75).collect()),
        ] {
            tier.shrink_to(share).await.unwrap();
            assert_eq!(left(&tier, 100).await, expected, "{policy}");
        }
    }
}

#[tokio::test]
async fn two_processes_share_the_order_and_do_not_evict_twice() {
    let Some(ground) = Ground::start("two processes that evict in Redis") else { return };
    let (one, two) = (ground.tier("fifo").await, ground.tier("fifo").await);
    for i in 0..300 {
        ground.put(if i % 2 == 0 { &one } else { &two }, i, HOUR).await;
    }
    let (a, b) = tokio::join!(one.shrink_to(0.9), two.shrink_to(0.9));
    assert_eq!(a.unwrap() + b.unwrap(), 10);
    assert_eq!(left(&one, 300).await, (210..300).collect::<Vec<_>>());
    let evicted = two.usage().await.unwrap().evicted.unwrap();
    assert_eq!((evicted.entries, evicted.pressure), (200, 10));
}

/// The memory in use, but for what the server needs of its own: for running scripts, about 1 MiB,
/// and for what is on its way from and to clients.
async fn used(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(raw).await.unwrap();
    let field = |name: &str| -> u64 {
        let mut fields = info.lines().filter_map(|line| line.trim().split_once(':'));
        fields.find(|(n, _)| *n == name).map_or(0, |(_, value)| value.parse().unwrap())
    };
    field("used_memory") - field("used_memory_vm_eval") - field("mem_clients_normal")
}

/// Sizes that fit badly into what others left. 100 MiB of them into 16 MiB, or 1 GiB into 64 MiB with
/// `CACHE_EVICTION_FULL=1`.
#[tokio::test]
async fn the_memory_of_redis_stays_within_the_bound_whatever_the_sizes() {
    let Some(ground) = Ground::start("the memory of Redis") else { return };
    let is_full = std::env::var_os("CACHE_EVICTION_FULL").is_some();
    let bytes_max = ByteSize::mib(if is_full { 64 } else { 16 });
    let round = if is_full { 205 << 20 } else { 20 << 20 };
    let tier = ground
        .connect(&RedisConfig {
            tracked_entries_max: Some(1_000_000),
            response_timeout: Span::secs(20),
            tracked_bytes_max: Some(bytes_max),
            ..ground.config("fifo")
        })
        .await;
    let mut raw = ground.server.raw().await;
    assert_eq!(tier.read().await.unwrap().limit, 0, "the server has no limit");
    let before = used(&mut raw).await;
    let mut worst = 0;
    let mut number = 0;
    for len in [200, 9_000, 60, 2_500, 300_000] {
        let mut written = 0;
        while written < round {
            let puts: Vec<Put> = (0..(256 << 10) / len + 1)
                .map(|_| {
                    number += 1;
                    let entry = ground.entry(len, HOUR);
                    let condition = Condition::Unmoved(Fence::mark(u64::MAX >> 11));
                    Put { key: key(number), entry, condition }
                })
                .collect();
            written += len * puts.len();
            let fence = tier.get(&key(0)).await.unwrap().fence;
            let puts: Vec<Put> = puts
                .into_iter()
                .map(|put| Put { condition: Condition::Unmoved(fence.clone()), ..put })
                .collect();
            let outcomes = tier.put_many(&puts).await.unwrap();
            assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Stored));
            worst = worst.max(used(&mut raw).await - before);
        }
    }
    eprintln!("{worst} bytes at most, of {bytes_max}");
    assert!(worst <= bytes_max.as_u64() / 10 * 11, "{worst} bytes");
    assert!(worst >= bytes_max.as_u64() / 10 * 7, "{worst} bytes: the room is used");
}

#[tokio::test]
async fn a_cache_tells_of_a_server_that_evicts_otherwise_than_it_was_set() {
    let Some(server) =
        PrivateRedis::start("a policy of the server's own", &["--maxmemory", "64mb"])
    else {
        return;
    };
    let clock = ManualClock::new();
    let config = RedisConfig { eviction: Eviction::Lru, ..RedisConfig::new(server.url()) };
    let connect = || RedisTier::connect(&config, Arc::new(clock.clone()));
    let build = |tier| {
        let events = Events::new();
        let heard = events.subscribe();
        let built = Cache::<u64>::builder("n").tier(tier).events(events).build();
        built.map(|cache| (cache, heard)).unwrap()
    };
    let (cache, mut heard) = build(connect().await.unwrap());
    match heard.try_recv() {
        Ok(Event::EvictionMisfit { tier, found, change }) => {
            assert_eq!(&*tier, "redis");
            assert!(found.contains("noeviction"), "{found}");
            assert_eq!(&*change, "CONFIG SET maxmemory-policy allkeys-lru");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cache.stats().await.events["eviction_misfit"], 1);
    let mut raw = server.raw().await;
    let set = redis::cmd("CONFIG").arg(&["SET", "maxmemory-policy", "allkeys-lru"]).clone();
    let _: () = set.query_async(&mut raw).await.unwrap();
    let (cache, _) = build(connect().await.unwrap());
    assert!(!cache.stats().await.events.contains_key("eviction_misfit"));
}

/// A server that others fill as well: its memory is short although the tier is within its bounds.
#[tokio::test]
async fn a_cache_has_a_tracked_redis_give_way_when_the_memory_of_the_server_is_short() {
    let Some(server) = PrivateRedis::start("a Redis over its budget", &["--maxmemory", "32mb"])
    else {
        return;
    };
    let clock = ManualClock::new();
    let config = RedisConfig {
        eviction: Eviction::Fifo,
        tracked_entries_max: Some(1_000),
        ..RedisConfig::new(server.url())
    };
    let tier = RedisTier::connect(&config, Arc::new(clock.clone())).await.unwrap();
    let settings =
        PressureConfig { interval: Duration::from_millis(20), ..PressureConfig::default() };
    let cache: Cache<u64> = Cache::builder("n")
        .tier(tier.clone())
        .clock(Arc::new(clock.clone()))
        .memory_pressure(settings)
        .build()
        .unwrap();
    let mut heard = cache.events().subscribe();
    for i in 0..1_000 {
        cache.insert(&i.to_string(), i).await.unwrap();
    }
    assert_eq!(cache.events().count("memory_pressure"), 0);
    let mut raw = server.raw().await;
    let others = redis::cmd("SETRANGE").arg("others").arg(29 << 20).arg("x").clone();
    let _: u64 = others.query_async(&mut raw).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    match event {
        Event::MemoryPressure { gauge, used_percent, evicted, .. } => {
            assert_eq!(&*gauge, "redis");
            assert!(used_percent > 90 && evicted == 300, "{used_percent} %, {evicted}");
        }
        other => panic!("{other:?}"),
    }
    let _: u64 = redis::cmd("DEL").arg("others").query_async(&mut raw).await.unwrap();
    loop {
        let event = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        if matches!(event, Event::PressureRelieved { .. }) {
            break;
        }
    }
    let evicted = tier.usage().await.unwrap().evicted.unwrap();
    let stats = cache.stats().await;
    assert_eq!(stats.pressure["redis"].evicted, evicted.pressure);
    assert_eq!(evicted.total(), evicted.pressure, "{evicted:?}");
    // What came last is what is left.
    assert!(tier.get(&key(0)).await.unwrap().entry.is_none());
    assert!(tier.get(&key(999)).await.unwrap().entry.is_some());
}
