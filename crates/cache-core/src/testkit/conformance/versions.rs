//! P2: no tier replaces a newer version by an older one.

use super::Ground;
use crate::{
    entry::Version,
    tier::{PutOutcome, Removal, TierExt},
};

pub(super) async fn p2_newer_wins(ground: &Ground<'_>) {
    let key = ground.key("k");
    use PutOutcome::{Stored, Superseded};
    // The halves of the larger versions differ in both words: a comparison must see all 64 bits.
    let steps = [
        (5, Stored),
        (4, Superseded),
        (5, Stored),
        (1 << 53, Stored),
        ((1 << 53) - 1, Superseded),
        ((1 << 53) + 1, Stored),
        (u64::MAX, Stored),
        (u64::MAX - 1, Superseded),
    ];
    for (version, expected) in steps {
        let fence = ground.lookup(&key).await.fence;
        let insert = ground.versioned(&format!("v{version}"), version);
        let outcome = ground.tier.put(key.clone(), insert.clone()).await.unwrap();
        assert_eq!(outcome, expected, "insert of version {version}");
        if expected == Superseded {
            let outcome = ground.tier.fill(key.clone(), insert, fence).await.unwrap();
            assert_ne!(outcome, Stored, "fill of version {version}");
        }
    }
    assert_eq!(ground.read(&key).await.as_deref(), Some("v18446744073709551615"));
}

pub(super) async fn a_removal_keeps_the_version(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.tier.put(key.clone(), ground.versioned("v5", 5)).await.unwrap();
    ground.tier.remove(key.clone()).await.unwrap();
    let fence = ground.lookup(&key).await.fence;
    let replica = ground.versioned("v4", 4);
    let outcome = ground.tier.fill(key.clone(), replica, fence.clone()).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded, "an older version after a removal");
    let outcome = ground.tier.fill(key.clone(), ground.versioned("v5", 5), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored, "the same version after a removal");

    let at_6 = Removal { key: key.clone(), version: Some(Version(6)) };
    ground.tier.remove_many(&[at_6]).await.unwrap();
    let outcome = ground.tier.put(key.clone(), ground.versioned("v5", 5)).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded, "a version from before the removal's");
    let outcome = ground.tier.put(key, ground.versioned("v6", 6)).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

pub(super) async fn a_clear_forgets_versions(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.tier.put(key.clone(), ground.versioned("v5", 5)).await.unwrap();
    ground.tier.clear(&ground.namespace).await.unwrap();
    let outcome = ground.tier.put(key.clone(), ground.versioned("v1", 1)).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
    ground.tier.clear(&ground.namespace).await.unwrap();
    let fence = ground.lookup(&key).await.fence;
    let outcome = ground.tier.fill(key, ground.versioned("v0", 0), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

pub(super) async fn an_unversioned_put_replaces_any_version(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.tier.put(key.clone(), ground.versioned("v5", 5)).await.unwrap();
    let outcome = ground.tier.put(key.clone(), ground.entry("plain")).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
    assert_eq!(ground.read(&key).await.as_deref(), Some("plain"));
}
