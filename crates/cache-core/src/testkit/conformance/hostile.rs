//! P10: bytes that this cache did not write, and entries that it must not.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::Ground;
use crate::{
    entry::{Entry, Ttl},
    error::ErrorKind,
    tier::{PutOutcome, TierExt},
    wire,
};

pub(super) async fn p10_bytes_from_outside_are_not_trusted(ground: &Ground<'_>) {
    let mut rng = SmallRng::seed_from_u64(10);
    let good = wire::encode_value(&ground.entry("good"), 1);
    let hostile: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"x".to_vec(),
        b"{\"a\": 1}".to_vec(),
        good[..wire::HEADER_LEN - 1].to_vec(),
        good[..good.len() - 1].to_vec(),
        (0..10_000).map(|_| rng.random()).collect(),
        // A fence beyond all others must not lock the key for ever.
        wire::encode_value(&ground.entry("good"), u64::MAX),
    ];
    let flipped = (0..64).map(|_| {
        let mut bytes = good.clone();
        let bit = rng.random_range(0..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    for (i, bytes) in hostile.into_iter().chain(flipped.collect::<Vec<_>>()).enumerate() {
        let key = ground.key(&format!("hostile {i}"));
        if !ground.harness.plant(&key, &bytes).await {
            return;
        }
        let lookup = ground.lookup(&key).await;
        let held = lookup.entry.as_ref().map(|entry| &entry.payload[..]);
        // A store that keeps the fence elsewhere does not look at the one in the bytes.
        assert!(held.is_none() || held == Some(b"good"), "case {i}: {held:?}");
        assert!(held.is_some() || lookup.corrupt.is_some(), "case {i} goes uncounted");
        let outcome = ground.tier.fill(key.clone(), ground.entry("mended"), lookup.fence).await;
        assert_eq!(outcome.unwrap(), PutOutcome::Stored, "case {i} cannot be overwritten");
        assert_eq!(ground.read(&key).await.as_deref(), Some("mended"), "case {i}");
        ground.harness.plant(&key, &bytes).await;
        ground.tier.remove(key.clone()).await.unwrap();
        assert_eq!(ground.read(&key).await, None, "case {i} cannot be removed");
    }
}

pub(super) async fn a_payload_above_the_limit_is_refused_and_removes_the_old_one(
    ground: &Ground<'_>,
) {
    let limit = ground.tier.info().payload_len_max;
    let key = ground.key("k");
    let old = ground.entry_for("old", Ttl::fresh(Duration::from_secs(60)));
    ground.tier.put(key.clone(), old.clone()).await.unwrap();
    let fence = ground.lookup(&key).await.fence;
    let huge = Entry { payload: vec![0; limit + 1].into(), ..old };
    match ground.tier.fill(key.clone(), huge.clone(), fence).await {
        Ok(outcome) => assert_ne!(outcome, PutOutcome::Stored),
        Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}"),
    }
    assert_eq!(ground.read(&key).await.as_deref(), Some("old"), "a refused fill changes nothing");
    let outcome = ground.tier.put(key.clone(), huge).await.unwrap();
    assert_eq!(outcome, PutOutcome::TooLarge);
    assert_eq!(ground.read(&key).await, None, "an insert that does not fit still replaces");

    // One that is older than what is there, though, is not to have any effect.
    ground.tier.put(key.clone(), ground.versioned("newer", 2)).await.unwrap();
    let huge = Entry { payload: vec![0; limit + 1].into(), ..ground.versioned("", 1) };
    let outcome = ground.tier.put(key.clone(), huge).await.unwrap();
    assert_eq!(outcome, PutOutcome::Superseded);
    assert_eq!(ground.read(&key).await.as_deref(), Some("newer"));
}
