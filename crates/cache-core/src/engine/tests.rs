//! What the engine promises, one thread at a time.

use std::{sync::atomic::AtomicU8, time::Duration};

use super::*;
use crate::clock::{Clock, ManualClock};

fn config(capacity: u64, eviction: Eviction) -> EngineConfig {
    EngineConfig { capacity, entries_max: None, eviction, quotas: Vec::new(), seed: Some(7) }
}

#[derive(Debug)]
struct Number {
    key: u64,
    expires_at: Timestamp,
    reads: AtomicU8,
}

impl Record for Number {
    fn reads(&self) -> &AtomicU8 {
        &self.reads
    }
}

/// An engine of numbers under a clock of its own.
struct Ground {
    engine: Engine<Number>,
    clock: ManualClock,
}

impl Ground {
    fn new(config: &EngineConfig) -> Self {
        Self { engine: Engine::new(config), clock: ManualClock::new() }
    }

    fn terms(&self, weight: u32) -> Terms {
        let expires_at = self.clock.now().after(Duration::from_secs(3_600));
        let (reclaim_at, priority) = (expires_at, EvictionPriority::Normal);
        Terms { weight, expires_at, reclaim_at, priority, group: 0 }
    }

    fn put(&self, key: u64, weight: u32) -> bool {
        self.put_with(key, self.terms(weight))
    }

    fn put_with(&self, key: u64, terms: Terms) -> bool {
        let number = Number { key, expires_at: terms.expires_at, reads: AtomicU8::new(0) };
        let hash = self.engine.hash(&key.to_le_bytes());
        self.engine.insert(hash, |other| other.key == key, number, terms, self.clock.now())
    }

    fn get(&self, key: u64) -> Option<u64> {
        let hash = self.engine.hash(&key.to_le_bytes());
        let now = self.clock.now();
        let live = |number: &Number| (now < number.expires_at).then_some(number.key);
        self.engine.get(hash, |other| other.key == key, live)
    }

    fn remove(&self, key: u64) {
        self.engine.remove(self.engine.hash(&key.to_le_bytes()), |other| other.key == key);
    }

    fn kept(&self, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let is_held = |key: &u64| {
            let hash = self.engine.hash(&key.to_le_bytes());
            self.engine.peek(hash, |other| other.key == *key, |_| ()).is_some()
        };
        keys.into_iter().filter(is_held).collect()
    }
}

#[test]
fn under_every_policy_the_bounds_hold_and_the_counts_add_up() {
    for eviction in Eviction::ALL.iter().copied() {
        for (capacity, entries_max) in [(10_000, None), (40 << 20, None), (40 << 20, Some(2_000))] {
            let config = EngineConfig { entries_max, ..config(capacity, eviction) };
            let ground = Ground::new(&config);
            let (mut new, mut state) = (0, 1_u64);
            let mut removed = 0;
            for _ in 0..30_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (key, weight) = ((state >> 33) % 5_000, 1 + (state >> 50) as u32 * 3);
                if ground.get(key).is_none() {
                    let stored = ground.put(key, weight);
                    assert_eq!(stored, u64::from(weight) <= capacity, "{eviction}: {weight}");
                    new += u64::from(stored);
                } else if state >> 60 == 0 {
                    ground.remove(key);
                    removed += 1;
                }
                assert!(ground.engine.weight() <= capacity, "{eviction}");
                assert!(ground.engine.len() <= entries_max.unwrap_or(u64::MAX), "{eviction}");
            }
            let counts = ground.engine.counts();
            assert_eq!(new, ground.engine.len() + counts.evicted() + removed, "{eviction}");
            assert!(counts.evicted() > 100, "{eviction}: {counts:?}");
            ground.engine.clear();
            assert_eq!((ground.engine.len(), ground.engine.weight()), (0, 0), "{eviction}");
        }
    }
}

#[test]
fn nothing_is_evicted_while_there_is_room_anywhere() {
    let config = EngineConfig { entries_max: Some(4_096), ..config(64 << 20, Eviction::default()) };
    let ground = Ground::new(&config);
    assert!(ground.engine.shards.len() > 1);
    for key in 0..4_096 {
        assert!(ground.put(key, 10_000));
    }
    assert_eq!(ground.engine.counts().evicted(), 0);
    assert_eq!(ground.kept(0..4_096).len(), 4_096);
}

#[test]
fn a_value_larger_than_a_shards_share_is_kept_and_leaves_its_neighbours_alone() {
    let ground = Ground::new(&config(8 << 20, Eviction::default()));
    assert!(ground.engine.shards.len() > 1);
    for key in 0..8_000 {
        ground.put(key, 1_000);
    }
    assert!(ground.put(1 << 40, 6 << 20));
    assert_eq!(ground.get(1 << 40), Some(1 << 40));
    assert!(!ground.put(2 << 40, 9 << 20));
    assert_eq!(ground.get(2 << 40), None);
    // Inserts go on, and each shard still has a share of what is left.
    for key in 10_000..12_000 {
        ground.get(1 << 40);
        ground.put(key, 1_000);
    }
    assert_eq!(ground.get(1 << 40), Some(1 << 40));
    let held = ground.kept(0..12_000);
    assert!(held.len() > 1_800, "{}", held.len());
    let shards = ground.engine.shards.len();
    let mut each = vec![0; shards];
    for key in held {
        each[ground.engine.index(ground.engine.hash(&key.to_le_bytes()))] += 1;
    }
    let fair = 2_000 / shards;
    assert!(each.iter().all(|count| *count > fair / 2 && *count < fair * 2), "{each:?}");
}

#[test]
fn an_expired_record_is_not_read_and_its_room_comes_back_unasked() {
    let ground = Ground::new(&config(1 << 20, Eviction::default()));
    for key in 0..100 {
        ground.put(key, 1_000);
    }
    ground.clock.advance(Duration::from_secs(3_600));
    assert_eq!(ground.get(1), None);
    assert_eq!(ground.engine.len(), 100);
    ground.clock.advance(Duration::from_secs(2));
    ground.engine.sweep(ground.clock.now());
    assert_eq!((ground.engine.len(), ground.engine.weight()), (0, 0));
    assert_eq!(ground.engine.counts().expired, 100);
    assert_eq!(ground.engine.counts().evicted(), 0);
}

#[test]
fn expired_records_give_way_before_live_ones() {
    let ground = Ground::new(&config(100_000, Eviction::Lru));
    let soon = ground.clock.now().after(Duration::from_secs(1));
    let short = Terms { expires_at: soon, reclaim_at: soon, ..ground.terms(1_000) };
    for key in 0..50 {
        ground.put(key, 1_000);
    }
    for key in 50..100 {
        ground.put_with(key, short);
    }
    ground.clock.advance(Duration::from_secs(3));
    for key in 100..150 {
        ground.put(key, 1_000);
    }
    assert_eq!(ground.kept(0..50).len(), 50);
    assert_eq!(ground.engine.counts().expired, 50);
}

#[test]
fn fifo_evicts_the_oldest_and_ttl_the_nearest_deadline_whatever_the_size() {
    for eviction in [Eviction::Fifo, Eviction::Ttl] {
        let ground = Ground::new(&config(64 << 20, eviction));
        // Under TTL, what comes later ends sooner.
        let seconds = |key: u64| if eviction == Eviction::Ttl { 100_000 - key } else { 100_000 };
        for key in 0..20_000 {
            let expires_at = ground.clock.now().after(Duration::from_secs(seconds(key)));
            ground.put_with(key, Terms { expires_at, ..ground.terms(64 << 10) });
        }
        let kept = ground.kept(0..20_000);
        let expected: Vec<u64> = match eviction {
            Eviction::Fifo => (20_000 - 1_024..20_000).collect(),
            // The last one has just come: room was made before it.
            _ => (0..1_023).chain([19_999]).collect(),
        };
        assert_eq!(kept, expected, "{eviction}");
    }
}

#[test]
fn low_goes_first_and_high_last_and_pinned_stays() {
    let ground = Ground::new(&config(100_000, Eviction::Fifo));
    let put = |key, priority| ground.put_with(key, Terms { priority, ..ground.terms(1_000) });
    for key in 0..25 {
        put(key, EvictionPriority::Pinned);
        put(100 + key, EvictionPriority::High);
        put(200 + key, EvictionPriority::Normal);
        put(300 + key, EvictionPriority::Low);
    }
    for key in 1_000..1_025 {
        put(key, EvictionPriority::Normal);
    }
    assert_eq!(ground.kept(300..325), Vec::<u64>::new());
    assert_eq!(ground.kept(200..225).len(), 25);
    for key in 2_000..3_000 {
        put(key, EvictionPriority::Normal);
    }
    assert_eq!(ground.kept(200..225), Vec::<u64>::new());
    assert_eq!(ground.kept(100..125).len(), 25);
    for key in 4_000..5_000 {
        put(key, EvictionPriority::High);
    }
    assert_eq!(ground.kept(0..25).len(), 25);
    assert_eq!(ground.engine.counts().unpinned, 0);
}

#[test]
fn no_more_than_half_is_pinned() {
    let ground = Ground::new(&config(100_000, Eviction::default()));
    for key in 0..1_000 {
        let priority = EvictionPriority::Pinned;
        assert!(ground.put_with(key, Terms { priority, ..ground.terms(1_000) }));
    }
    assert_eq!(ground.kept(0..50).len(), 50);
    assert_eq!(ground.engine.counts().unpinned, 950);
    // What is removed makes room for others to be pinned.
    ground.remove(0);
    ground.put_with(0, Terms { priority: EvictionPriority::Pinned, ..ground.terms(1_000) });
    for key in 2_000..2_200 {
        assert!(ground.put(key, 1_000));
    }
    assert_eq!(ground.kept(0..50).len(), 50);
}

#[test]
fn a_scan_of_one_group_leaves_another_its_quota() {
    let quotas = vec![400_000, 400_000];
    let ground = Ground::new(&EngineConfig { quotas, ..config(1_000_000, Eviction::default()) });
    for key in 0..390 {
        ground.put_with(key, Terms { group: 1, ..ground.terms(1_000) });
    }
    for key in 10_000..20_000 {
        ground.put_with(key, Terms { group: 2, ..ground.terms(1_000) });
        ground.put_with(key + 10_000, ground.terms(1_000));
    }
    assert_eq!(ground.kept(0..390).len(), 390);
    assert!(ground.engine.counts().quota > 0, "{:?}", ground.engine.counts());
    // Without pressure a group may be above its quota.
    let counts = ground.engine.counts();
    assert!(counts.size + counts.quota > 18_000, "{counts:?}");
}

#[test]
fn a_smaller_capacity_evicts_at_once_and_a_larger_one_lets_it_grow_again() {
    let ground = Ground::new(&config(8 << 20, Eviction::default()));
    for key in 0..8_000 {
        ground.put(key, 1_000);
    }
    let evicted = ground.engine.resize(4 << 20, ground.clock.now());
    assert!(ground.engine.weight() <= 4 << 20);
    assert_eq!(evicted, ground.engine.counts().pressure);
    for key in 10_000..20_000 {
        ground.put(key, 1_000);
    }
    assert!(ground.engine.weight() <= 4 << 20);
    assert_eq!(ground.engine.resize(8 << 20, ground.clock.now()), 0);
    for key in 20_000..30_000 {
        ground.put(key, 1_000);
    }
    assert!(ground.engine.weight() > 7 << 20);
}

#[test]
fn a_value_written_anew_is_weighed_anew() {
    let ground = Ground::new(&config(10_000, Eviction::default()));
    ground.put(1, 4_000);
    ground.put(2, 4_000);
    ground.put(1, 1_000);
    assert_eq!((ground.engine.weight(), ground.engine.len()), (5_000, 2));
    ground.put(1, 9_000);
    assert_eq!((ground.engine.weight(), ground.engine.len()), (9_000, 1));
    assert!(!ground.put(1, 11_000));
    assert_eq!((ground.engine.weight(), ground.engine.len()), (0, 0));
}
