//! Who has a lease, and for how long.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Barrier, time::Instant};

use super::{Ground, LONG, PATIENCE};
use crate::{lease::LeaseToken, tier::TierExt};

pub(super) async fn one_of_many_gets_the_lease(ground: &Ground<'_>) {
    let start = Arc::new(Barrier::new(100));
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            let leases = if i % 2 == 0 { &ground.leases } else { &ground.other }.clone();
            let (key, start) = (ground.key("wanted"), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                leases.acquire(&key, LONG).await.unwrap()
            })
        })
        .collect();
    let mut owners = 0;
    for task in tasks {
        owners += usize::from(task.await.unwrap().is_some());
    }
    assert_eq!(owners, 1);
}

pub(super) async fn a_lease_ends_with_its_period(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.acquire(&key, LONG).await;
    assert!(ground.is_held(&key).await, "long before its end");
    let key = ground.key("short");
    ground.acquire(&key, Duration::from_millis(100)).await;
    let began = Instant::now();
    while ground.is_held(&key).await {
        assert!(began.elapsed() < PATIENCE, "the lease does not end");
        ground.pass(Duration::from_millis(10)).await;
    }
}

pub(super) async fn a_renewal_keeps_the_lease(ground: &Ground<'_>) {
    let key = ground.key("k");
    let period = Duration::from_millis(500);
    let token = ground.acquire(&key, period).await;
    assert!(ground.other.renew(&key, token, LONG).await.unwrap(), "by either handle");
    ground.pass(2 * period).await;
    assert!(ground.is_held(&key).await);
    assert!(ground.leases.renew(&key, token, LONG).await.unwrap());
}

/// The period of a renewal counts from the renewal, not from the last end.
pub(super) async fn a_renewal_may_shorten_the_lease(ground: &Ground<'_>) {
    let key = ground.key("k");
    let token = ground.acquire(&key, LONG).await;
    assert!(ground.leases.renew(&key, token, Duration::from_millis(50)).await.unwrap());
    let began = Instant::now();
    while ground.is_held(&key).await {
        assert!(began.elapsed() < PATIENCE, "the lease does not end");
        ground.pass(Duration::from_millis(10)).await;
    }
}

pub(super) async fn a_release_frees_the_lease(ground: &Ground<'_>) {
    let key = ground.key("k");
    let token = ground.acquire(&key, LONG).await;
    ground.other.release(&key, token).await.unwrap();
    let next = ground.acquire(&key, LONG).await;
    assert_ne!(next, token, "every lease has a token of its own");
    ground.leases.release(&key, token).await.unwrap();
    assert!(ground.is_held(&key).await, "a second release does nothing");
}

pub(super) async fn a_foreign_token_neither_renews_nor_releases(ground: &Ground<'_>) {
    let (key, another) = (ground.key("k"), ground.key("another"));
    let token = ground.acquire(&key, LONG).await;
    let of_another_key = ground.acquire(&another, LONG).await;
    let flipped = LeaseToken::new(token.number() ^ 1);
    for foreign in [LeaseToken::new(0), LeaseToken::new(u64::MAX), flipped, of_another_key] {
        assert!(!ground.leases.renew(&key, foreign, Duration::from_millis(1)).await.unwrap());
        ground.leases.release(&key, foreign).await.unwrap();
        assert!(ground.is_held(&key).await, "{foreign:?}");
    }
    assert!(ground.leases.renew(&key, token, LONG).await.unwrap(), "it is still its owner's");
}

pub(super) async fn the_token_of_an_ended_lease_does_nothing(ground: &Ground<'_>) {
    let key = ground.key("k");
    let period = Duration::from_millis(50);
    let late = ground.acquire(&key, period).await;
    ground.pass(4 * period).await;
    assert!(!ground.leases.renew(&key, late, LONG).await.unwrap(), "it has ended");
    assert!(!ground.is_held(&key).await, "so another one can have it");
    ground.leases.release(&key, late).await.unwrap();
    assert!(!ground.leases.renew(&key, late, LONG).await.unwrap());
    assert!(ground.is_held(&key).await, "the next owner keeps it");
}

pub(super) async fn leases_of_different_keys_are_independent(ground: &Ground<'_>) {
    let (one, two) = (ground.key("one"), ground.key("two"));
    let token = ground.acquire(&one, LONG).await;
    ground.acquire(&two, LONG).await;
    ground.leases.release(&one, token).await.unwrap();
    assert!(ground.is_held(&two).await && !ground.is_held(&one).await);
}

pub(super) async fn a_lease_changes_nothing_of_its_key(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.base.tier.put(key.clone(), ground.base.entry("v")).await.unwrap();
    let before = ground.base.lookup(&key).await;
    let token = ground.acquire(&key, LONG).await;
    assert_eq!(ground.base.lookup(&key).await, before);
    ground.base.tier.remove(key.clone()).await.unwrap();
    ground.base.tier.clear(&ground.base.namespace).await.unwrap();
    assert!(ground.is_held(&key).await, "a removal or a clear ends no lease");
    let before = ground.base.lookup(&key).await;
    ground.leases.release(&key, token).await.unwrap();
    assert_eq!(ground.base.lookup(&key).await, before);
}
