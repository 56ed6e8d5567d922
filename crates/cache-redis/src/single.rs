//! Calls for a single key, as they travel together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cache_core::{Carry, Gather, Key, Limits, Lookup, Put, PutOutcome, Removal, Result, wire};

use crate::store::Store;

/// As much as a server that does one thing at a time does in a fraction of a millisecond, and no
/// more than a slow line carries in the time that an answer may take.
const BATCH_BYTES: usize = 1 << 20;
/// While one batch is answered, the next is sent.
const CARRIERS: usize = 2;
const READS: Limits = Limits { carriers: CARRIERS, calls: 512, bytes: BATCH_BYTES };
const CHANGES: Limits = Limits { carriers: CARRIERS, calls: 256, bytes: BATCH_BYTES };

/// Lookups of one key.
#[derive(Debug)]
pub(crate) struct Reads {
    store: Arc<Store>,
    /// About how long the records are that were found lately: how long those are that are asked for
    /// shows only when they come.
    record_len: AtomicUsize,
    hasher: ahash::RandomState,
}

impl Reads {
    pub(crate) fn gather(store: Arc<Store>) -> Gather<Self> {
        let record_len = AtomicUsize::new(wire::HEADER_LEN);
        let hasher = ahash::RandomState::with_seed(rand::random::<u32>() as usize);
        Gather::new(Self { store, record_len, hasher }, READS)
    }

    /// Moves the expected length a quarter of the way to that of what was found.
    fn learn(&self, found: &[Lookup]) {
        let entries = found.iter().filter_map(|lookup| lookup.entry.as_ref());
        let (count, bytes) =
            entries.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.payload.len()));
        if let Some(len) = usize::checked_div(bytes, count) {
            let expected = self.record_len.load(Ordering::Relaxed);
            let next = (3 * expected + wire::HEADER_LEN + len) / 4;
            self.record_len.store(next, Ordering::Relaxed);
        }
    }
}

impl Carry for Reads {
    type Ask = Key;
    type Answer = Lookup;

    fn weigh(&self, _key: &Key) -> usize {
        self.record_len.load(Ordering::Relaxed)
    }

    async fn carry(&self, keys: Vec<Key>) -> Result<Vec<Lookup>> {
        // Many callers want the same few keys: each travels once.
        let mut distinct = Vec::with_capacity(keys.len());
        let mut places = HashMap::with_capacity_and_hasher(keys.len(), self.hasher.clone());
        let mut wanted = Vec::with_capacity(keys.len());
        for key in &keys {
            wanted.push(*places.entry(key).or_insert_with(|| {
                distinct.push(key);
                distinct.len() - 1
            }));
        }
        let found = self.store.look_up(&distinct).await?;
        self.learn(&found);
        if found.len() == wanted.len() {
            return Ok(found);
        }
        Ok(wanted.into_iter().map(|place| found[place].clone()).collect())
    }
}

/// Puts of one key.
#[derive(Debug)]
pub(crate) struct Puts {
    store: Arc<Store>,
}

impl Puts {
    pub(crate) fn gather(store: Arc<Store>) -> Gather<Self> {
        Gather::new(Self { store }, CHANGES)
    }
}

impl Carry for Puts {
    type Ask = Put;
    type Answer = PutOutcome;

    fn weigh(&self, put: &Put) -> usize {
        wire::HEADER_LEN + put.entry.payload.len()
    }

    async fn carry(&self, puts: Vec<Put>) -> Result<Vec<PutOutcome>> {
        self.store.put(&puts).await
    }
}

/// Removals of one key.
#[derive(Debug)]
pub(crate) struct Removals {
    store: Arc<Store>,
}

impl Removals {
    pub(crate) fn gather(store: Arc<Store>) -> Gather<Self> {
        Gather::new(Self { store }, CHANGES)
    }
}

impl Carry for Removals {
    type Ask = Removal;
    type Answer = ();

    fn weigh(&self, _removal: &Removal) -> usize {
        wire::HEADER_LEN
    }

    async fn carry(&self, removals: Vec<Removal>) -> Result<Vec<()>> {
        self.store.remove(&removals).await?;
        Ok(vec![(); removals.len()])
    }
}
