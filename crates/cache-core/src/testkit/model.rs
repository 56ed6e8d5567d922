//! What a tier should answer, in the fewest words.

use std::collections::HashMap;

use crate::{
    clock::Timestamp,
    entry::{Entry, Version},
    fence::Fence,
    key::{Key, Namespace},
    tier::{Condition, Lookup, Put, PutOutcome, Removal},
};

/// A tier of one thread that forgets nothing: the yardstick of random histories.
#[derive(Debug, Default)]
pub struct Model {
    mark: u64,
    records: HashMap<Key, Record>,
    floors: HashMap<String, u64>,
}

#[derive(Debug)]
struct Record {
    mark: u64,
    version: Option<Version>,
    entry: Option<Entry>,
}

impl Model {
    /// What a lookup answers.
    #[must_use]
    pub fn get(&self, key: &Key, now: Timestamp) -> Lookup {
        let absent = Lookup::absent(self.stands_at(key));
        let entry = self.live(key).and_then(|record| record.entry.clone());
        Lookup { entry: entry.filter(|entry| !entry.is_expired(now)), ..absent }
    }

    /// What becomes of a put.
    pub fn put(&mut self, put: &Put) -> PutOutcome {
        let outcome = self.judge(put);
        let moves = put.condition == Condition::Always;
        if outcome == PutOutcome::Stored {
            let mark = if moves { self.next() } else { self.stands_at(&put.key) };
            let Put { key, entry, .. } = put.clone();
            self.records.insert(key, Record { mark, version: entry.version, entry: Some(entry) });
        }
        outcome
    }

    /// What would become of a put.
    #[must_use]
    pub fn judge(&self, Put { key, entry, condition }: &Put) -> PutOutcome {
        let moved = match condition {
            Condition::Always => false,
            Condition::Unmoved(fence) => match fence.as_mark() {
                Some(seen) => self.stands_at(key) > seen,
                None => return PutOutcome::Skipped,
            },
        };
        let known = self.live(key).and_then(|record| record.version);
        if moved || entry.is_older_than(known) {
            PutOutcome::Superseded
        } else {
            PutOutcome::Stored
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, Removal { key, version }: &Removal) {
        let known = self.live(key).and_then(|record| record.version);
        let record = Record { mark: self.next(), version: known.max(*version), entry: None };
        self.records.insert(key.clone(), record);
    }

    /// Clears a namespace.
    pub fn clear(&mut self, namespace: &Namespace) {
        let floor = self.next();
        self.floors.insert(namespace.as_str().to_owned(), floor);
    }

    /// The fence of a key, as a lookup tells it.
    #[must_use]
    pub fn fence(&self, key: &Key) -> Fence {
        Fence::mark(self.stands_at(key))
    }

    fn stands_at(&self, key: &Key) -> u64 {
        self.records.get(key).map_or(0, |record| record.mark).max(self.floor(key))
    }

    fn live(&self, key: &Key) -> Option<&Record> {
        self.records.get(key).filter(|record| record.mark >= self.floor(key))
    }

    fn floor(&self, key: &Key) -> u64 {
        self.floors.get(key.namespace()).copied().unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.mark += 1;
        self.mark
    }
}
