//! Calls for a single key, as they travel together.

use std::sync::{Arc, atomic::Ordering};

use cache_core::{Carry, Gather, Key, Limits, Lookup, Put, PutOutcome, Removal, Result};

use crate::{ending::to_its_end, store::Store};

/// The calls of one statement: more of them gain nothing, and have its time limit in common. For
/// the same reason it ends after some bytes, which a read can only expect.
const fn limits(carriers: usize) -> Limits {
    Limits { carriers, calls: 256, bytes: 2 << 20 }
}

/// Lookups of one key.
pub(crate) struct Reads(Arc<Store>);

impl Reads {
    pub(crate) fn gather(store: &Arc<Store>, carriers: usize) -> Gather<Self> {
        Gather::new(Self(Arc::clone(store)), limits(carriers))
    }
}

impl Carry for Reads {
    type Ask = Key;
    type Answer = Lookup;

    fn weigh(&self, _key: &Key) -> usize {
        self.0.record_len.load(Ordering::Relaxed)
    }

    async fn carry(&self, keys: Vec<Key>) -> Result<Vec<Lookup>> {
        let store = Arc::clone(&self.0);
        to_its_end(async move { store.get_many(&keys).await }).await
    }
}

/// Puts of one key.
pub(crate) struct Puts(Arc<Store>);

impl Puts {
    pub(crate) fn gather(store: &Arc<Store>, carriers: usize) -> Gather<Self> {
        Gather::new(Self(Arc::clone(store)), limits(carriers))
    }
}

impl Carry for Puts {
    type Ask = Put;
    type Answer = PutOutcome;

    fn weigh(&self, put: &Put) -> usize {
        put.entry.payload.len()
    }

    async fn carry(&self, puts: Vec<Put>) -> Result<Vec<PutOutcome>> {
        let store = Arc::clone(&self.0);
        to_its_end(async move { store.put_many(&puts).await }).await
    }
}

/// Removals of one key.
pub(crate) struct Removals(Arc<Store>);

impl Removals {
    pub(crate) fn gather(store: &Arc<Store>, carriers: usize) -> Gather<Self> {
        Gather::new(Self(Arc::clone(store)), limits(carriers))
    }
}

impl Carry for Removals {
    type Ask = Removal;
    type Answer = ();

    fn weigh(&self, _removal: &Removal) -> usize {
        0
    }

    async fn carry(&self, removals: Vec<Removal>) -> Result<Vec<()>> {
        let (store, len) = (Arc::clone(&self.0), removals.len());
        to_its_end(async move { store.remove_many(&removals).await }).await?;
        Ok(vec![(); len])
    }
}
