//! Many keys, many callers.

use cache_core::{Condition, Key, Namespace, Put, PutOutcome, Removal, Tier, TierExt, Version};
use cache_postgres::PostgresConfig;
use futures::future::{join_all, try_join_all};

use crate::support::{Place, key, mark, namespace, read};

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_is_one_call() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let keys: Vec<Key> = (0..10_000).map(|i| key(&format!("k{i}"))).collect();
    let puts = keys.iter().map(|key| Put {
        key: key.clone(),
        entry: place.entry(key.text()),
        condition: Condition::Always,
    });
    let puts: Vec<Put> = puts.collect();
    let outcomes = tier.put_many(&puts).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Stored));
    let found = tier.get_many(&keys).await.unwrap();
    let same =
        |(put, lookup): (&Put, &cache_core::Lookup)| lookup.entry.as_ref() == Some(&put.entry);
    assert!(puts.iter().zip(&found).all(same));
    let removals: Vec<Removal> = keys.iter().cloned().map(Removal::from).collect();
    tier.remove_many(&removals).await.unwrap();
    assert!(tier.get_many(&keys).await.unwrap().iter().all(|lookup| lookup.entry.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_share_two_connections_and_none_is_lost() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let callers = (0..1_000).map(|i| {
        let (tier, entry) = (tier.clone(), place.entry(&i.to_string()));
        tokio::spawn(async move {
            let (own, shared) = (key(&format!("k{i}")), key(&format!("shared {}", i % 10)));
            assert_eq!(tier.put(own.clone(), entry.clone()).await.unwrap(), PutOutcome::Stored);
            assert_eq!(tier.put(shared, entry).await.unwrap(), PutOutcome::Stored);
            assert_eq!(read(&*tier, &own).await, Some(i.to_string()));
            tier.remove(own.clone()).await.unwrap();
            assert_eq!(read(&*tier, &own).await, None);
        })
    });
    try_join_all(callers).await.unwrap();
}

#[tokio::test]
async fn namespaces_of_one_batch_keep_their_own_floors() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let other = Namespace::new("other").unwrap();
    let keys = [key("k"), other.key("k").unwrap(), key("unknown"), other.key("unknown").unwrap()];
    for key in &keys[..2] {
        tier.put(key.clone(), place.entry("v")).await.unwrap();
    }
    tier.clear(&other).await.unwrap();
    let found = tier.get_many(&keys).await.unwrap();
    let held: Vec<bool> = found.iter().map(|lookup| lookup.entry.is_some()).collect();
    assert_eq!(held, [true, false, false, false]);
    assert_eq!(mark(&found[2].fence), 0);
    assert_eq!(found[1].fence, found[3].fence, "both stand at the clear");
    for (key, lookup) in keys.iter().zip(&found) {
        assert_eq!(tier.get(key).await.unwrap(), *lookup, "alone and in a batch");
    }
}

#[tokio::test]
async fn a_mixed_batch_acts_on_each_key_in_its_order() {
    let Some(place) = Place::from_env() else { return };
    let config =
        PostgresConfig { payload_len_max: cache_core::ByteSize::bytes(100), ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    let unseen = Condition::Unmoved(tier.get(&key("a")).await.unwrap().fence);
    let huge = "x".repeat(101);
    let steps = [
        ("a", "fill", unseen.clone(), PutOutcome::Stored),
        ("b", huge.as_str(), Condition::Always, PutOutcome::TooLarge),
        ("a", "insert", Condition::Always, PutOutcome::Stored),
        ("b", "after", unseen.clone(), PutOutcome::Superseded),
        ("a", "late", unseen.clone(), PutOutcome::Superseded),
        ("c", huge.as_str(), unseen, PutOutcome::TooLarge),
        ("c", "plain", Condition::Always, PutOutcome::Stored),
    ];
    let puts: Vec<Put> = steps
        .iter()
        .map(|(text, payload, condition, _)| Put {
            key: key(text),
            entry: place.entry(payload),
            condition: condition.clone(),
        })
        .collect();
    let expected: Vec<PutOutcome> = steps.iter().map(|(.., outcome)| *outcome).collect();
    assert_eq!(tier.put_many(&puts).await.unwrap(), expected);
    assert_eq!(read(&*tier, &key("a")).await.as_deref(), Some("insert"));
    assert_eq!(read(&*tier, &key("b")).await, None);
    assert_eq!(read(&*tier, &key("c")).await.as_deref(), Some("plain"));
}

#[tokio::test]
async fn a_key_that_is_removed_twice_in_a_batch_keeps_the_newer_version() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let at = |version: Option<u64>| Removal { key: key("k"), version: version.map(Version) };
    tier.remove_many(&[at(Some(7)), at(None), at(Some(5))]).await.unwrap();
    let older = place.entry("v6").with_version(Some(Version(6)));
    assert_eq!(tier.put(key("k"), older).await.unwrap(), PutOutcome::Superseded);
}

/// Statements of several rows lock them in one order, so they never wait for each other in a ring;
/// and a clear is above every mark that a writer took before, however the two came to overlap.
#[tokio::test(flavor = "multi_thread")]
async fn batches_in_all_orders_and_clears_do_not_disturb_each_other() {
    let Some(place) = Place::from_env() else { return };
    let tiers = join_all((0..3).map(|_| place.tier())).await;
    let writers = (0..12).map(|writer: usize| {
        let (tier, entry) = (tiers[writer % 3].clone(), place.entry("v"));
        tokio::spawn(async move {
            for round in 0..15 {
                let mut keys: Vec<Key> = (0..40).map(|i| key(&format!("k{i}"))).collect();
                keys.rotate_left((writer * 7 + round) % 40);
                if writer.is_multiple_of(2) {
                    keys.reverse();
                }
                if writer.is_multiple_of(3) {
                    let removals: Vec<Removal> = keys.into_iter().map(Removal::from).collect();
                    tier.remove_many(&removals).await.unwrap();
                } else {
                    let put = |key| Put { key, entry: entry.clone(), condition: Condition::Always };
                    let puts: Vec<Put> = keys.into_iter().map(put).collect();
                    tier.put_many(&puts).await.unwrap();
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..10 {
        tiers[0].clear(&namespace()).await.unwrap();
    }
    try_join_all(writers).await.unwrap();
    tiers[1].clear(&namespace()).await.unwrap();
    let keys: Vec<Key> = (0..40).map(|i| key(&format!("k{i}"))).collect();
    let left = tiers[2].get_many(&keys).await.unwrap();
    assert!(left.iter().all(|lookup| lookup.entry.is_none()), "{left:?}");
}
