//! P1: what was seen before a change is not written after it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::Ground;
use crate::{
    entry::Ttl,
    fence::Fence,
    tier::{PutOutcome, TierExt},
};

pub(super) async fn a_fill_is_stored_while_nothing_moves(ground: &Ground<'_>) {
    let key = ground.key("k");
    let fence = ground.lookup(&key).await.fence;
    let outcome = ground.tier.fill(key.clone(), ground.entry("v"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
    assert_eq!(ground.read(&key).await.as_deref(), Some("v"));
}

pub(super) async fn a_fill_moves_nothing(ground: &Ground<'_>) {
    let key = ground.key("k");
    let fence = ground.lookup(&key).await.fence;
    for value in ["first", "second"] {
        let entry = ground.entry(value);
        let outcome = ground.tier.fill(key.clone(), entry, fence.clone()).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored, "the {value} fill");
    }
    assert_eq!(ground.read(&key).await.as_deref(), Some("second"));
}

pub(super) async fn a_fill_after_a_removal_is_refused(ground: &Ground<'_>) {
    let key = ground.key("k");
    let fence = ground.lookup(&key).await.fence;
    ground.other.remove(key.clone()).await.unwrap();
    let outcome = ground.tier.fill(key.clone(), ground.entry("stale"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded);
    assert_eq!(ground.read(&key).await, None);
    // Whoever looks again may fill again.
    let fence = ground.lookup(&key).await.fence;
    let outcome = ground.tier.fill(key.clone(), ground.entry("new"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

pub(super) async fn a_fill_after_an_insert_is_refused(ground: &Ground<'_>) {
    let key = ground.key("k");
    let fence = ground.lookup(&key).await.fence;
    ground.other.put(key.clone(), ground.entry("inserted")).await.unwrap();
    let outcome = ground.tier.fill(key.clone(), ground.entry("stale"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded);
    assert_eq!(ground.read(&key).await.as_deref(), Some("inserted"));
}

pub(super) async fn a_fill_after_a_clear_is_refused(ground: &Ground<'_>) {
    let (known, unknown) = (ground.key("known"), ground.key("unknown"));
    ground.tier.put(known.clone(), ground.entry("v")).await.unwrap();
    for key in [known, unknown] {
        let fence = ground.lookup(&key).await.fence;
        ground.other.clear(&ground.namespace).await.unwrap();
        let outcome = ground.tier.fill(key.clone(), ground.entry("stale"), fence).await.unwrap();
        // A stack that had it fresh on top did not read the other fences: it skips.
        assert_ne!(outcome, PutOutcome::Stored, "{key}");
        assert_eq!(ground.read(&key).await, None);
    }
}

pub(super) async fn a_fill_after_an_insert_that_has_expired_is_refused(ground: &Ground<'_>) {
    let key = ground.key("k");
    let fence = ground.lookup(&key).await.fence;
    let brief = ground.entry_for("brief", Ttl::fresh(Duration::from_millis(5)));
    ground.tier.put(key.clone(), brief).await.unwrap();
    ground.advance(Duration::from_secs(1));
    assert_eq!(ground.read(&key).await, None);
    let outcome = ground.tier.fill(key.clone(), ground.entry("stale"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded, "the fence outlives the entry");
}

pub(super) async fn expiry_does_not_move_a_fence(ground: &Ground<'_>) {
    let key = ground.key("k");
    let brief = ground.entry_for("brief", Ttl::fresh(Duration::from_millis(5)));
    ground.tier.put(key.clone(), brief).await.unwrap();
    let fence = ground.lookup(&key).await.fence;
    ground.advance(Duration::from_secs(1));
    // A stale entry makes a stack ask every tier; while it is fresh the fence may be partial.
    let whole = ground.lookup(&key).await.fence;
    assert!(fence == whole || fence.as_mark().is_none(), "{fence:?} became {whole:?}");
    let outcome = ground.tier.fill(key.clone(), ground.entry("v"), whole).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

pub(super) async fn a_fill_with_an_unread_fence_is_skipped(ground: &Ground<'_>) {
    let key = ground.key("k");
    let outcome = ground.tier.fill(key.clone(), ground.entry("v"), Fence::unread()).await.unwrap();
    assert_eq!(outcome, PutOutcome::Skipped);
    assert_eq!(ground.read(&key).await, None);
}

/// 1,000 random interleavings of a load through one handle and a change through the other.
pub(super) async fn p1_no_stale_fill(ground: &Ground<'_>) {
    let mut rng = SmallRng::seed_from_u64(1);
    for round in 0..1_000 {
        // A few keys, so that rounds meet what earlier rounds left.
        let key = ground.key(&format!("k{}", rng.random_range(0..8)));
        let source = AtomicU64::new(0);
        let pauses: [u32; 4] = std::array::from_fn(|_| rng.random_range(0..6));
        let change = rng.random_range(0..4);
        let load = async {
            let fence = ground.tier.get(&key).await.unwrap().fence;
            pause(pauses[0]).await;
            let value = source.load(Ordering::SeqCst).to_string();
            pause(pauses[1]).await;
            ground.tier.fill(key.clone(), ground.entry(&value), fence).await.unwrap();
        };
        let invalidate = async {
            pause(pauses[2]).await;
            source.store(1, Ordering::SeqCst);
            pause(pauses[3]).await;
            match change {
                0 => {
                    ground.other.put(key.clone(), ground.entry("1")).await.unwrap();
                }
                1 => ground.other.clear(&ground.namespace).await.unwrap(),
                _ => ground.other.remove(key.clone()).await.unwrap(),
            }
        };
        // The rounds before left their values: they are not this round's source.
        ground.tier.remove(key.clone()).await.unwrap();
        futures::future::join(load, invalidate).await;
        for tier in [&ground.tier, &ground.other] {
            let found = tier.get(&key).await.unwrap().entry;
            let stale = found.is_some_and(|entry| &entry.payload[..] == b"0");
            assert!(!stale, "round {round}: change {change}, pauses {pauses:?}");
        }
    }
}

/// Lets others go first, `turns` times.
async fn pause(turns: u32) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
