//! Compares two tiers for keys that have changed in the lower one.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    key::Key,
    tier::{Removal, Tier},
};

/// Keys that have changed, with the digest of the entry that was inserted last; 0 for a removal.
pub(super) type Changed = BTreeMap<Key, u32>;

/// The most keys of one look into a tier: a page of a log may have more than a batch may name.
const PART_LEN: usize = 1_000;

/// Removes from `upper` what `lower` does not have just so, of the keys that have `changed`; answers
/// how many.
///
/// The lower tier was changed first: what is the same in both is younger than the change, and
/// anything else in the upper one may be older. A fill that comes in between is removed at worst.
pub(super) async fn mend(upper: &dyn Tier, lower: &dyn Tier, changed: &Changed) -> Result<usize> {
    let changed: Vec<(&Key, &u32)> = changed.iter().collect();
    let mut removed = 0;
    for part in changed.chunks(PART_LEN) {
        removed += mend_part(upper, lower, part).await?;
    }
    Ok(removed)
}

async fn mend_part(upper: &dyn Tier, lower: &dyn Tier, changed: &[(&Key, &u32)]) -> Result<usize> {
    let keys: Vec<Key> = changed.iter().map(|(key, _)| (*key).clone()).collect();
    let above = upper.get_many(&keys).await?;
    let (mut held, mut entries) = (Vec::new(), Vec::new());
    for ((key, digest), lookup) in changed.iter().zip(above) {
        // The very entry that was inserted needs no comparison.
        if let Some(entry) = lookup.entry.filter(|e| **digest == 0 || e.digest() != **digest) {
            held.push((*key).clone());
            entries.push(entry);
        }
    }
    let below = lower.get_many(&held).await?;
    let wrong: Vec<Removal> = held
        .into_iter()
        .zip(entries.iter().zip(&below))
        .filter(|(_, (above, below))| Some(*above) != below.entry.as_ref())
        .map(|(key, _)| Removal::from(key))
        .collect();
    if !wrong.is_empty() {
        upper.remove_many(&wrong).await?;
    }
    Ok(wrong.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        entry::{BATCH_LEN_MAX, CodecId, Entry, Ttl},
        key::Namespace,
        memory::MemoryTier,
        tier::TierExt,
        units::ByteSize,
    };

    #[tokio::test]
    async fn more_changes_than_a_batch_may_name_are_mended() {
        let clock = ManualClock::new();
        let tier = || MemoryTier::new(ByteSize::mib(64), std::sync::Arc::new(clock.clone()));
        let (upper, lower) = (tier(), tier());
        let namespace = Namespace::new("c").unwrap();
        let key = |i: usize| namespace.key(&format!("k{i}")).unwrap();
        let entry = |text| {
            let ttl = Ttl::fresh(Duration::from_secs(60));
            Entry::new(Bytes::from_static(text), CodecId(3), clock.now(), ttl)
        };
        for i in [0, BATCH_LEN_MAX + 5] {
            upper.put(key(i), entry(b"old")).await.unwrap();
        }
        for tier in [&upper, &lower] {
            tier.put(key(7), entry(b"same")).await.unwrap();
        }
        let changed: Changed = (0..BATCH_LEN_MAX + 10).map(|i| (key(i), 0)).collect();
        assert_eq!(mend(&upper, &lower, &changed).await.unwrap(), 2);
        assert!(upper.get(&key(7)).await.unwrap().entry.is_some());
        assert!(upper.get(&key(BATCH_LEN_MAX + 5)).await.unwrap().entry.is_none());
    }
}
