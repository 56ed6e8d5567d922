//! Compares two tiers for keys that have changed in the lower one.

use crate::{
    error::Result,
    key::Key,
    tier::{Removal, Tier},
};

/// Removes from `upper` what `lower` does not have just so, of `keys`; answers how many.
///
/// The lower tier was changed first: what is the same in both is younger than the change, and
/// anything else in the upper one may be older. A fill that comes in between is removed at worst.
pub(super) async fn mend(upper: &dyn Tier, lower: &dyn Tier, keys: &[Key]) -> Result<usize> {
    let above = upper.get_many(keys).await?;
    let held: Vec<Key> = keys
        .iter()
        .zip(&above)
        .filter(|(_, lookup)| lookup.entry.is_some())
        .map(|(key, _)| key.clone())
        .collect();
    let below = lower.get_many(&held).await?;
    let above = above.into_iter().filter_map(|lookup| lookup.entry);
    let wrong: Vec<Removal> = held
        .into_iter()
        .zip(above.zip(below))
        .filter(|(_, (above, below))| Some(above) != below.entry.as_ref())
        .map(|(key, _)| Removal::from(key))
        .collect();
    if !wrong.is_empty() {
        upper.remove_many(&wrong).await?;
    }
    Ok(wrong.len())
}
