//! Puts, gets, removals, deadlines, batches.

use std::time::Duration;

use bytes::Bytes;

use super::{Ground, fresh_namespace};
use crate::{
    clock::Clock,
    entry::{BATCH_LEN_MAX, CodecId, Entry, Ttl, Version},
    error::ErrorKind,
    key::{KEY_LEN_MAX, Namespace},
    tier::{Condition, Put, PutOutcome, Removal, TierExt},
};

pub(super) async fn a_missing_key_is_absent(ground: &Ground<'_>) {
    let lookup = ground.lookup(&ground.key("nothing")).await;
    assert_eq!((lookup.entry, lookup.corrupt), (None, None));
}

pub(super) async fn what_is_put_is_got(ground: &Ground<'_>) {
    let ttl = Ttl { fresh: Duration::from_millis(1_500), stale: Duration::from_secs(7) };
    let entry = Entry::new(
        Bytes::from_static(b"\0\r\n\xff{}"),
        CodecId(0xABCD),
        ground.harness.clock().now(),
        ttl,
    )
    .with_version(Some(Version(u64::MAX)))
    .with_load_cost(Duration::from_micros(123_456));
    let key = ground.key("all fields");
    assert_eq!(ground.tier.put(key.clone(), entry.clone()).await.unwrap(), PutOutcome::Stored);
    assert_eq!(ground.lookup(&key).await.entry, Some(entry));
}

pub(super) async fn payloads_of_every_size_come_back_exactly(ground: &Ground<'_>) {
    for len in [0, 1, 255, 4_096, 1_000_000] {
        let key = ground.key(&format!("len {len}"));
        let payload: Vec<u8> = (0..len).map(|i: u32| (i.wrapping_mul(31) >> 3) as u8).collect();
        let entry = Entry { payload: payload.into(), ..ground.entry("") };
        ground.tier.put(key.clone(), entry.clone()).await.unwrap();
        assert_eq!(ground.lookup(&key).await.entry, Some(entry), "{len} bytes");
    }
}

pub(super) async fn a_put_replaces(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.tier.put(key.clone(), ground.entry("a longer first value")).await.unwrap();
    ground.tier.put(key.clone(), ground.entry("second")).await.unwrap();
    assert_eq!(ground.read(&key).await.as_deref(), Some("second"));
}

pub(super) async fn a_removal_removes_that_key_only(ground: &Ground<'_>) {
    let (gone, kept) = (ground.key("gone"), ground.key("kept"));
    for key in [&gone, &kept] {
        ground.tier.put(key.clone(), ground.entry("v")).await.unwrap();
    }
    ground.tier.remove(gone.clone()).await.unwrap();
    ground.tier.remove(ground.key("never there")).await.unwrap();
    assert_eq!(ground.read(&gone).await, None);
    assert_eq!(ground.read(&kept).await.as_deref(), Some("v"));
}

pub(super) async fn an_entry_lives_until_its_deadline_and_not_longer(ground: &Ground<'_>) {
    let key = ground.key("k");
    let ttl = Ttl { fresh: Duration::from_millis(100), stale: Duration::from_millis(50) };
    ground.tier.put(key.clone(), ground.entry_for("v", ttl)).await.unwrap();
    ground.advance(Duration::from_millis(149));
    assert_eq!(ground.read(&key).await.as_deref(), Some("v"), "1 ms before its deadline");
    ground.advance(Duration::from_millis(1));
    assert_eq!(ground.read(&key).await, None, "at its deadline");
    let batch = ground.tier.get_many(std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(batch[0].entry, None, "at its deadline, in a batch");
}

pub(super) async fn a_batch_answers_in_its_order(ground: &Ground<'_>) {
    let keys = ["c", "a", "missing", "b", "a"].map(|text| ground.key(text));
    let puts: Vec<Put> = ["a", "b", "c"]
        .map(|text| Put {
            key: ground.key(text),
            entry: ground.entry(text),
            condition: Condition::Always,
        })
        .to_vec();
    let outcomes = ground.tier.put_many(&puts).await.unwrap();
    assert_eq!(outcomes, [PutOutcome::Stored; 3]);
    let found = ground.tier.get_many(&keys).await.unwrap();
    let found: Vec<Option<&[u8]>> =
        found.iter().map(|l| l.entry.as_ref().map(|e| &e.payload[..])).collect();
    assert_eq!(found, [Some(&b"c"[..]), Some(b"a"), None, Some(b"b"), Some(b"a")]);
}

pub(super) async fn a_batch_acts_in_its_order(ground: &Ground<'_>) {
    let key = ground.key("twice");
    let put = |entry| Put { key: key.clone(), entry, condition: Condition::Always };
    let puts = [
        put(ground.versioned("newer", 2)),
        put(ground.versioned("older", 1)),
        put(ground.versioned("newest", 3)),
    ];
    let outcomes = ground.tier.put_many(&puts).await.unwrap();
    use PutOutcome::{Stored, Superseded};
    assert_eq!(outcomes, [Stored, Superseded, Stored]);
    assert_eq!(ground.read(&key).await.as_deref(), Some("newest"));
    let twice = [Removal::from(key.clone()), key.clone().into()];
    ground.tier.remove_many(&twice).await.unwrap();
    assert_eq!(ground.read(&key).await, None);
}

pub(super) async fn an_empty_batch_succeeds(ground: &Ground<'_>) {
    assert!(ground.tier.get_many(&[]).await.unwrap().is_empty());
    assert!(ground.tier.put_many(&[]).await.unwrap().is_empty());
    ground.tier.remove_many(&[]).await.unwrap();
}

pub(super) async fn a_batch_above_the_limit_is_refused(ground: &Ground<'_>) {
    let keys = vec![ground.key("k"); BATCH_LEN_MAX + 1];
    let error = ground.tier.get_many(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let removals: Vec<Removal> = keys.into_iter().map(Removal::from).collect();
    let error = ground.tier.remove_many(&removals).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

pub(super) async fn a_clear_empties_its_namespace_only(ground: &Ground<'_>) {
    let mine = ground.key("k");
    let neighbour = fresh_namespace().key("k").unwrap();
    for key in [&mine, &neighbour] {
        ground.tier.put(key.clone(), ground.entry("v")).await.unwrap();
    }
    ground.tier.clear(&ground.namespace).await.unwrap();
    assert_eq!(ground.read(&mine).await, None);
    assert_eq!(ground.read(&neighbour).await.as_deref(), Some("v"));
    ground.tier.put(mine.clone(), ground.entry("again")).await.unwrap();
    assert_eq!(ground.read(&mine).await.as_deref(), Some("again"), "after the clear");
}

pub(super) async fn awkward_keys_are_kept_apart(ground: &Ground<'_>) {
    let inner = Namespace::new(&format!("{}:a", ground.namespace)).unwrap();
    let texts = [
        ":", "a", "a:", ":a", "a:b", "{a}", "*", "[a-z]*?", "\\", "'; --", "%3A", "\u{fc}",
        "u\u{308}",
    ];
    let mut keys: Vec<_> = texts.iter().map(|text| ground.key(text)).collect();
    keys.push(ground.key(&"long".repeat(KEY_LEN_MAX / 4)));
    keys.push(inner.key("b").unwrap());
    for key in &keys {
        ground.tier.put(key.clone(), ground.entry(key.encoded())).await.unwrap();
    }
    for key in &keys {
        assert_eq!(ground.read(key).await.as_deref(), Some(key.encoded()));
    }
    for (i, key) in keys.iter().enumerate() {
        ground.tier.remove(key.clone()).await.unwrap();
        let left = ground.tier.get_many(&keys).await.unwrap();
        let left: Vec<bool> = left.iter().map(|lookup| lookup.entry.is_some()).collect();
        assert!(left.iter().enumerate().all(|(j, there)| *there == (j > i)), "{key}: {left:?}");
    }
}

pub(super) async fn another_handle_sees_the_same(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.tier.put(key.clone(), ground.entry("v")).await.unwrap();
    assert!(ground.other.get(&key).await.unwrap().entry.is_some());
    ground.other.remove(key.clone()).await.unwrap();
    assert_eq!(ground.read(&key).await, None);
    ground.tier.put(key.clone(), ground.entry("v")).await.unwrap();
    ground.other.clear(&ground.namespace).await.unwrap();
    assert_eq!(ground.read(&key).await, None);
}
