//! What each policy is chosen for.

use cache_core::{Eviction, ReadCounts, Replay, Resident, Slot, Timestamp};

/// A cache of which nobody reads.
struct Unread;

impl ReadCounts for Unread {
    fn get(&self, _: Slot) -> u8 {
        0
    }

    fn set(&self, _: Slot, _: u8) {}
}

fn record(hash: u64, ends: u64) -> Resident {
    Resident { hash, weight: 1, expires_at: Timestamp::from_millis(ends) }
}

/// The slots in the order in which they leave, where the record of slot 0 ends at the first of
/// `ends`, and so on.
fn order(policy: Eviction, ends: &[u64]) -> Vec<u32> {
    let mut policy = policy.policy(0);
    policy.set_capacity(ends.len() as u64);
    for (slot, ends) in ends.iter().enumerate() {
        policy.insert(Slot(slot as u32), record(slot as u64, *ends));
    }
    std::iter::from_fn(|| policy.evict(None, &Unread)).map(|slot| slot.0).collect()
}

#[test]
fn fifo_evicts_in_the_order_of_coming_and_ttl_in_the_order_of_the_deadlines() {
    let ends = [50, 10, 40, 10, 30];
    assert_eq!(order(Eviction::Fifo, &ends), [0, 1, 2, 3, 4]);
    assert_eq!(order(Eviction::Ttl, &ends), [1, 3, 4, 2, 0]);
}

#[test]
fn lfu_keeps_a_new_hot_key() {
    for policy in [Eviction::Lfu, Eviction::AgingLfu] {
        let mut cache = Replay::new(policy.policy(0), 100);
        let mut access = |key| cache.access(key, 1, Timestamp::MAX);
        (0..100).for_each(|key| {
            access(key);
            access(key);
        });
        // It comes into a full cache, and is hot at once.
        (0..10).for_each(|_| {
            access(1_000);
        });
        (2_000..2_500).for_each(|key| {
            access(key);
        });
        assert!(access(1_000), "{policy} has evicted it");
    }
}

#[test]
fn aging_lfu_forgets_what_was_hot_once_and_plain_lfu_never_does() {
    for (policy, kept) in [(Eviction::Lfu, true), (Eviction::AgingLfu, false)] {
        let mut cache = Replay::new(policy.policy(0), 100);
        (0..1_000).for_each(|_| {
            cache.access(0, 1, Timestamp::MAX);
        });
        (1..20_000).for_each(|key| {
            cache.access(key, 1, Timestamp::MAX);
        });
        assert_eq!(cache.access(0, 1, Timestamp::MAX), kept, "{policy}");
    }
}

#[test]
fn the_same_calls_have_the_same_answers() {
    for policy in Eviction::ALL {
        let run = |seed| {
            let mut cache = Replay::new(policy.policy(seed), 500);
            let access = |step: u64| {
                cache.access(step * step % 1_009, 1 + (step % 7) as u32, Timestamp::MAX)
            };
            (0..20_000).map(access).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1), "{policy}");
        if *policy == Eviction::Random {
            assert_ne!(run(1), run(2));
        }
    }
}

#[test]
fn a_cache_never_holds_more_than_its_capacity_and_uses_it() {
    for policy in Eviction::ALL {
        let mut cache = Replay::new(policy.policy(3), 10_000);
        for step in 0..50_000_u64 {
            let key = (step * 7_919) % 3_001;
            let weight = [1, 10, 100, 999, 10_001][(key % 5) as usize];
            cache.access(key, weight, Timestamp::from_millis(step % 97));
            assert!(cache.weight() <= 10_000, "{policy}");
        }
        assert!(cache.weight() > 9_000, "{policy}: {} of 10,000", cache.weight());
    }
}
