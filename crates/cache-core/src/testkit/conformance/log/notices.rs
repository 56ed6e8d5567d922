//! Which changes are told, and what is told of them.

use std::collections::{HashMap, HashSet};

use super::{Ground, beside};
use crate::{
    bus::{Author, Change, Notice},
    clock::Clock,
    key::Key,
    tier::{Condition, Put, PutOutcome, Removal, TierExt},
};

/// The notice of a change that was just made, after which `key` was looked up.
async fn expected(ground: &Ground<'_>, change: Change, key: &Key, digest: u32) -> Notice {
    let mark = ground.base.lookup(key).await.fence.as_mark().expect("one tier's fence is a mark");
    let at = ground.base.harness.clock().now();
    Notice { change, mark, at, author: Author::Cache, digest }
}

pub(super) async fn a_removal_is_told_with_its_fence(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.base.tier.put(key.clone(), ground.base.entry("v")).await.unwrap();
    let mut reader = ground.reader(&ground.log).await;
    ground.base.tier.remove(key.clone()).await.unwrap();
    let expected = expected(ground, Change::Key(key.clone()), &key, 0).await;
    assert_eq!(reader.rest().await, [expected]);
}

pub(super) async fn a_removal_of_a_missing_key_is_told(ground: &Ground<'_>) {
    let key = ground.key("never there");
    let mut reader = ground.reader(&ground.log).await;
    ground.base.other.remove(key.clone()).await.unwrap();
    let expected = expected(ground, Change::Key(key.clone()), &key, 0).await;
    assert_eq!(reader.rest().await, [expected]);
}

pub(super) async fn an_insert_is_told_with_its_fence_and_its_digest(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    for (text, entry) in [
        ("plain", ground.base.entry("v")),
        ("new", ground.base.versioned("w", 7)),
        ("long", ground.base.entry(&"what a layer may shorten".repeat(500))),
    ] {
        let (key, digest) = (ground.key(text), entry.digest());
        ground.base.tier.put(key.clone(), entry).await.unwrap();
        let expected = expected(ground, Change::Key(key.clone()), &key, digest).await;
        assert_eq!(reader.rest().await, [expected]);
    }
}

/// It has removed the old value.
pub(super) async fn an_oversized_insert_is_told_as_a_removal(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.base.tier.put(key.clone(), ground.base.entry("v")).await.unwrap();
    let mut reader = ground.reader(&ground.log).await;
    let mut entry = ground.base.entry("");
    entry.payload = vec![0; ground.base.tier.info().payload_len_max + 1].into();
    let outcome = ground.base.tier.put(key.clone(), entry).await.unwrap();
    assert_eq!(outcome, PutOutcome::TooLarge);
    let expected = expected(ground, Change::Key(key.clone()), &key, 0).await;
    assert_eq!(reader.rest().await, [expected]);
}

pub(super) async fn a_clear_is_told_with_its_floor(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    let namespace = ground.base.namespace.clone();
    ground.base.tier.clear(&namespace).await.unwrap();
    // A key that was never touched stands at the floor.
    let untouched = ground.key("untouched");
    let expected = expected(ground, Change::Clear(namespace), &untouched, 0).await;
    assert_eq!(reader.rest().await, [expected]);
}

pub(super) async fn a_fill_is_not_told(ground: &Ground<'_>) {
    let key = ground.key("k");
    let mut reader = ground.reader(&ground.log).await;
    let fence = ground.base.lookup(&key).await.fence;
    let fill = ground.base.tier.fill(key.clone(), ground.base.entry("v"), fence.clone()).await;
    assert_eq!(fill.unwrap(), PutOutcome::Stored);
    assert_eq!(reader.rest().await, []);
    ground.base.tier.remove(key.clone()).await.unwrap();
    let late = ground.base.tier.fill(key, ground.base.entry("late"), fence).await;
    assert_eq!(late.unwrap(), PutOutcome::Superseded);
    assert_eq!(reader.rest().await.len(), 1, "the removal alone");
}

pub(super) async fn a_superseded_insert_is_not_told(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.base.tier.put(key.clone(), ground.base.versioned("new", 2)).await.unwrap();
    let mut reader = ground.reader(&ground.log).await;
    let older = ground.base.tier.put(key, ground.base.versioned("old", 1)).await;
    assert_eq!(older.unwrap(), PutOutcome::Superseded);
    assert_eq!(reader.rest().await, []);
}

/// In any order: a tier may lock its keys in one of its own.
pub(super) async fn a_batch_is_told_and_no_key_twice(ground: &Ground<'_>) {
    let keys: Vec<Key> = (0..50).map(|i| ground.key(&format!("k{}", i * 7 % 50))).collect();
    let removals: Vec<Removal> = keys.iter().cloned().map(Removal::from).collect();
    let put = |key: &Key| Put {
        key: key.clone(),
        entry: ground.base.entry(key.text()),
        condition: Condition::Always,
    };
    let puts: Vec<Put> = keys.iter().map(put).collect();

    let mut reader = ground.reader(&ground.log).await;
    ground.base.tier.remove_many(&removals).await.unwrap();
    let told = parts(reader.rest().await);
    assert_eq!(told, parts_of(&puts, |_| 0));
    ground.base.tier.put_many(&puts).await.unwrap();
    let told = parts(reader.rest().await);
    assert_eq!(told, parts_of(&puts, |put| put.entry.digest()));
}

/// What is told and with which digest, in the order of the keys.
fn parts(notices: Vec<Notice>) -> Vec<(String, u32)> {
    let part = |notice: Notice| match notice.change {
        Change::Key(key) => (key.to_string(), notice.digest),
        other => panic!("{other:?} is not of a key"),
    };
    let mut parts: Vec<_> = notices.into_iter().map(part).collect();
    parts.sort();
    parts
}

fn parts_of(puts: &[Put], digest: impl Fn(&Put) -> u32) -> Vec<(String, u32)> {
    let mut parts: Vec<_> = puts.iter().map(|put| (put.key.to_string(), digest(put))).collect();
    parts.sort();
    parts
}

pub(super) async fn changes_of_several_namespaces_are_told(ground: &Ground<'_>) {
    let beside = beside(&ground.base.namespace);
    let (here, there) = (ground.key("k"), beside.key("k").unwrap());
    let mut reader = ground.reader(&ground.log).await;
    ground.base.tier.remove_many(&[here.clone().into(), there.clone().into()]).await.unwrap();
    let told = parts(reader.rest().await);
    assert_eq!(told, [(there.to_string(), 0), (here.to_string(), 0)]);
    ground.base.tier.clear(&beside).await.unwrap();
    let told: Vec<Change> = reader.rest().await.into_iter().map(|notice| notice.change).collect();
    assert_eq!(told, [Change::Clear(beside)]);
}

pub(super) async fn notices_of_one_key_come_in_the_order_of_their_marks(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    let key = ground.key("contended");
    let changer = |tier: &std::sync::Arc<dyn crate::tier::Tier>| {
        let (tier, key, entry) = (tier.clone(), key.clone(), ground.base.entry("v"));
        tokio::spawn(async move {
            for _ in 0..50 {
                tier.remove(key.clone()).await.unwrap();
                tier.put(key.clone(), entry.clone()).await.unwrap();
            }
        })
    };
    let changers = [&ground.base.tier, &ground.base.other, &ground.base.tier].map(changer);
    for changer in changers {
        changer.await.unwrap();
    }
    let marks: Vec<u64> = reader.rest().await.iter().map(|notice| notice.mark).collect();
    assert_eq!(marks.len(), 300);
    assert!(marks.is_sorted_by(|one, next| one < next), "{marks:?}");
}

pub(super) async fn concurrent_removals_are_all_told_once(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.other).await;
    let tasks: Vec<_> = (0..1_000)
        .map(|i| {
            let tier = if i % 2 == 0 { &ground.base.tier } else { &ground.base.other }.clone();
            let key = ground.key(&format!("k{}", i % 250));
            tokio::spawn(async move { tier.remove(key).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let notices = reader.rest().await;
    let marks: HashSet<u64> = notices.iter().map(|notice| notice.mark).collect();
    assert_eq!(notices.len(), marks.len());
    let mut told: HashMap<Change, u64> = HashMap::new();
    for notice in notices {
        *told.entry(notice.change).or_default() += 1;
    }
    assert_eq!(told.len(), 250);
    // Removals of one key that travel together may be one.
    assert!(told.values().all(|count| (1..=4).contains(count)), "{told:?}");
}
