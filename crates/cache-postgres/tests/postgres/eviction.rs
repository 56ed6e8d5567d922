//! What gives way, in which order, how it is counted, and how large the table becomes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{
    ByteSize, Clock, CodecId, Entry, Eviction, EvictionPriority, Key, PressureGauge, Put,
    PutOutcome, Shrink, Span, Tier, TierExt, Ttl, Usage,
};
use cache_postgres::{PostgresConfig, PostgresTier};

use crate::support::{Database, Place, key};

const HOUR: Duration = Duration::from_secs(3_600);

fn config(place: &Place, policy: &str) -> PostgresConfig {
    PostgresConfig {
        entries_max: Some(100),
        eviction: policy.parse::<Eviction>().unwrap(),
        ..place.config()
    }
}

async fn tier(place: &Place, policy: &str) -> Arc<PostgresTier> {
    place.connect(&config(place, policy)).await.unwrap()
}

/// One after the other, a millisecond apart: who comes first is told by the clock.
async fn put(place: &Place, tier: &PostgresTier, name: &str, lives: Duration) {
    place.clock.advance(Duration::from_millis(1));
    let entry = Entry::new(vec![7; 100].into(), CodecId(3), place.clock.now(), Ttl::fresh(lives));
    assert_eq!(tier.put(key(name), entry).await.unwrap(), PutOutcome::Stored);
}

/// Which of so many keys have a value, once what is too much has gone.
async fn left(tier: &PostgresTier, count: usize) -> Vec<usize> {
    tier.shrink_to(1.0).await.unwrap();
    found(tier, count).await
}

async fn found(tier: &PostgresTier, count: usize) -> Vec<usize> {
    let keys: Vec<Key> = (0..count).map(|i| key(&i.to_string())).collect();
    let lookups = tier.get_many(&keys).await.unwrap();
    (0..count).filter(|i| lookups[*i].entry.is_some()).collect()
}

#[tokio::test]
async fn fifo_evicts_in_the_order_of_arrival() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "fifo").await;
    for i in 0..100 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    // Neither being read nor being written again makes the first one younger.
    found(&tier, 10).await;
    put(&place, &tier, "0", HOUR).await;
    for i in 100..200 {
        put(&place, &tier, &i.to_string(), HOUR).await;
        if i % 10 == 0 {
            let left = left(&tier, i + 1).await;
            assert!((90..=100).contains(&left.len()), "{} are left", left.len());
            assert_eq!(left, (i + 1 - left.len()..=i).collect::<Vec<_>>(), "after {i}");
        }
    }
}

#[tokio::test]
async fn ttl_evicts_what_expires_first() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "ttl").await;
    // Deadlines in an order that has nothing to do with that of arrival.
    let seconds = |i: usize| 1_000 + (i * 7_919) % 1_009;
    for i in 0..300 {
        put(&place, &tier, &i.to_string(), Duration::from_secs(seconds(i) as u64)).await;
    }
    let left = left(&tier, 300).await;
    assert!((90..=100).contains(&left.len()), "{} are left", left.len());
    // The last ones may have come after the last eviction.
    let first = left.iter().filter(|i| **i < 285).map(|i| seconds(*i)).min().unwrap();
    let gone = (0..285).filter(|i| !left.contains(i)).map(seconds).max().unwrap();
    assert!(gone < first, "one of {gone} s went before one of {first} s");
}

#[tokio::test]
async fn lfu_keeps_a_new_hot_key() {
    for policy in ["lfu", "lru", "s3-fifo"] {
        let Some(place) = Place::from_env() else { return };
        let tier = tier(&place, policy).await;
        for i in 0..100 {
            put(&place, &tier, &i.to_string(), HOUR).await;
        }
        put(&place, &tier, "hot", HOUR).await;
        for i in 100..300 {
            assert!(tier.get(&key("hot")).await.unwrap().entry.is_some(), "{policy}: before {i}");
            put(&place, &tier, &i.to_string(), HOUR).await;
        }
    }
}

#[tokio::test]
async fn each_policy_keeps_the_bound_and_counts_what_it_evicts() {
    for policy in Eviction::ALL {
        let Some(place) = Place::from_env() else { return };
        let tier = tier(&place, policy.as_str()).await;
        for i in 0..250 {
            put(&place, &tier, &i.to_string(), HOUR).await;
        }
        let left = left(&tier, 250).await.len() as u64;
        assert!((90..=100).contains(&left), "{policy}: {left} are left");
        let usage = tier.usage().await.unwrap();
        let evicted = usage.evicted.unwrap();
        assert_eq!(usage.evictions, Some(evicted.total()), "{policy}");
        assert_eq!(evicted.entries + left, 250, "{policy}: {evicted:?}");
    }
}

#[tokio::test]
async fn an_expired_value_goes_first_and_is_no_eviction() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "fifo").await;
    for i in 0..50 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    for i in 50..100 {
        put(&place, &tier, &i.to_string(), Duration::from_secs(1)).await;
    }
    place.clock.advance(Duration::from_secs(2));
    for i in 100..150 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    let expected: Vec<usize> = (0..50).chain(100..150).collect();
    assert_eq!(left(&tier, 150).await, expected);
    assert_eq!(tier.usage().await.unwrap().evictions, Some(0));
}

#[tokio::test]
async fn what_was_evicted_still_refuses_a_fill_from_before_it_was_written() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "fifo").await;
    let before = tier.get(&key("0")).await.unwrap().fence;
    for i in 0..200 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    left(&tier, 200).await;
    assert!(tier.get(&key("0")).await.unwrap().entry.is_none());
    let late = tier.fill(key("0"), place.entry("stale"), before).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded);
    place.clock.advance(Duration::from_secs(61));
    tier.sweep().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM entries WHERE record IS NULL").await, 0);
}

#[tokio::test]
async fn what_is_of_low_priority_goes_first_and_what_is_pinned_last() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "fifo").await;
    let priorities = ["high", "normal", "pinned", "low"];
    for i in 0..100 {
        let priority = priorities[i / 25].parse::<EvictionPriority>().unwrap();
        tier.put(key(&i.to_string()), place.entry("v").with_priority(priority)).await.unwrap();
    }
    for (share, kept) in [(0.79, 0..75), (0.53, 0..25), (0.53, 50..75)] {
        tier.shrink_to(share).await.unwrap();
        let left = found(&tier, 100).await;
        assert!(kept.clone().all(|i| left.contains(&i)), "{kept:?}: {left:?}");
        assert!(left.iter().all(|i| *i < 75), "{left:?}");
    }
    tier.shrink_to(0.2).await.unwrap();
    let left = found(&tier, 100).await;
    assert!(left.iter().all(|i| (50..75).contains(i)), "{left:?}");
}

#[tokio::test]
async fn two_evictors_at_once_do_not_evict_twice_what_is_too_much() {
    let Some(place) = Place::from_env() else { return };
    let (one, two) = (tier(&place, "fifo").await, tier(&place, "fifo").await);
    for i in 0..300 {
        let tier = if i % 2 == 0 { &one } else { &two };
        put(&place, tier, &i.to_string(), HOUR).await;
        if i % 20 == 0 {
            let (a, b) = tokio::join!(one.shrink_to(1.0), two.shrink_to(1.0));
            a.and(b).unwrap();
        }
    }
    let left = left(&one, 300).await;
    assert!((88..=100).contains(&left.len()), "{} are left", left.len());
    let evicted = two.usage().await.unwrap().evictions.unwrap();
    assert_eq!(evicted as usize + left.len(), 300);
}

#[tokio::test]
async fn a_tier_that_is_told_to_shrink_does_and_grows_again_when_it_may() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "fifo").await;
    for i in 0..90 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    let evicted = tier.shrink_to(0.5).await.unwrap();
    let there = found(&tier, 90).await;
    assert!((45..=50).contains(&there.len()), "{} are left", there.len());
    assert_eq!(evicted as usize + there.len(), 90);
    assert_eq!(tier.usage().await.unwrap().evicted.unwrap().pressure, evicted);
    tier.shrink_to(1.0).await.unwrap();
    for i in 90..130 {
        put(&place, &tier, &i.to_string(), HOUR).await;
    }
    assert!(left(&tier, 130).await.len() >= 80);
}

/// Sizes that fit badly into what others left, of which each round has another. 60 MiB of them into
/// 8 MiB, or 1 GiB into 64 MiB with `CACHE_EVICTION_FULL=1`.
#[tokio::test]
async fn the_table_stays_within_its_bound_whatever_the_sizes() {
    let Some((database, place)) = Database::make().await else { return };
    let is_full = std::env::var_os("CACHE_EVICTION_FULL").is_some();
    let bytes_max = ByteSize::mib(if is_full { 64 } else { 8 });
    let round = if is_full { 103 << 20 } else { 6 << 20 };
    let tier = place
        .connect(&PostgresConfig {
            bytes_max: Some(bytes_max),
            eviction: Eviction::Fifo,
            statement_timeout: Span::secs(60),
            ..place.config()
        })
        .await
        .unwrap();
    let mut number = 0;
    let mut worst = Usage::default();
    for len in [200, 1_700, 9_000, 300_000, 60, 2_500, 40_000, 700, 5_000, 100_000] {
        let mut written = 0;
        while written < round {
            let puts: Vec<Put> = (0..(256 << 10) / len + 1)
                .map(|_| {
                    number += 1;
                    let payload = Bytes::from(vec![number as u8; len]);
                    let ttl = Ttl::fresh(HOUR);
                    let entry = Entry::new(payload, CodecId(3), place.clock.now(), ttl);
                    let condition = cache_core::Condition::Unmoved(cache_core::Fence::mark(0));
                    Put { key: key(&number.to_string()), entry, condition }
                })
                .collect();
            place.clock.advance(Duration::from_millis(1));
            written += len * puts.len();
            let outcomes = tier.put_many(&puts).await.unwrap();
            assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Stored));
            let usage = tier.usage().await.unwrap();
            if usage.bytes > worst.bytes {
                worst = usage;
            }
        }
    }
    let bytes = worst.bytes.unwrap();
    eprintln!("{bytes} bytes at most, of {bytes_max}");
    assert!(bytes <= bytes_max.as_u64() / 10 * 11, "{bytes} bytes");
    let pressure = tier.read().await.unwrap();
    assert_eq!(pressure.limit, bytes_max.as_u64());
    assert!(pressure.share() > 0.5, "{pressure:?}");
    assert!(tier.usage().await.unwrap().evicted.unwrap().bytes > 1_000);
    tier.close().await.unwrap();
    drop(place);
    database.drop().await;
}

/// An index on a column that a write changes would move each row that is written again: notes on
/// reads lie beside, and what eviction goes by is in none.
#[tokio::test]
async fn no_index_but_that_of_the_keys_stands_in_the_way_of_an_update() {
    let Some(place) = Place::from_env() else { return };
    let tier = tier(&place, "lfu").await;
    put(&place, &tier, "k", HOUR).await;
    left(&tier, 1).await;
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'entries'::regclass";
    assert_eq!(place.number(indexes).await, 1);
    put(&place, &tier, "k", HOUR).await;
    put(&place, &tier, "k", HOUR).await;
    tier.shrink_to(1.0).await.unwrap();
    found(&tier, 1).await;
    tier.shrink_to(1.0).await.unwrap();
    let page = "SELECT (ctid::text::point)[0]::bigint FROM entries";
    assert_eq!(place.number(page).await, 0, "it is where it was");
}
