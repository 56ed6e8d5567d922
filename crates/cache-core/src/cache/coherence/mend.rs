//! Compares two tiers for keys that have changed in the lower one.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    key::Key,
    tier::{Removal, Tier},
};

/// Keys that have changed, with the digest of the entry that was inserted last; 0 for a removal.
pub(super) type Changed = BTreeMap<Key, u32>;

/// Removes from `upper` what `lower` does not have just so, of the keys that have `changed`; answers
/// how many.
///
/// The lower tier was changed first: what is the same in both is younger than the change, and
/// anything else in the upper one may be older. A fill that comes in between is removed at worst.
pub(super) async fn mend(upper: &dyn Tier, lower: &dyn Tier, changed: &Changed) -> Result<usize> {
    let keys: Vec<Key> = changed.keys().cloned().collect();
    let above = upper.get_many(&keys).await?;
    let (mut held, mut entries) = (Vec::new(), Vec::new());
    for ((key, digest), lookup) in changed.iter().zip(above) {
        // The very entry that was inserted needs no comparison.
        if let Some(entry) = lookup.entry.filter(|e| *digest == 0 || e.digest() != *digest) {
            held.push(key.clone());
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
