//! Random histories, held against the model.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::Ground;
use crate::{
    clock::Clock,
    entry::{Entry, Ttl, Version},
    fence::Fence,
    key::Key,
    testkit::Model,
    tier::{Condition, Put, PutOutcome, Removal},
};

/// One history: what the tier and the model said of fences, to be handed back to each.
struct History<'g> {
    ground: &'g Ground<'g>,
    rng: SmallRng,
    model: Model,
    keys: Vec<Key>,
    seen: Vec<(Key, Fence, Fence)>,
    log: Vec<String>,
}

/// 100 histories of 40 steps over 3 keys, each the same at every run.
pub(super) async fn random_histories_agree_with_the_model(ground: &Ground<'_>) {
    for seed in 0..100 {
        let mut history = History {
            ground,
            rng: SmallRng::seed_from_u64(seed),
            model: Model::default(),
            keys: (0..3).map(|i| ground.key(&format!("{seed} {i}"))).collect(),
            seen: Vec::new(),
            log: vec![format!("seed {seed}")],
        };
        for _ in 0..40 {
            history.step().await;
        }
    }
}

impl History<'_> {
    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..40 => self.get().await,
            40..80 => self.put().await,
            80..92 => self.remove().await,
            92..94 => self.clear().await,
            _ => self.wait(),
        }
    }

    async fn get(&mut self) {
        let len = self.rng.random_range(1..=3);
        let keys: Vec<Key> = (0..len).map(|_| self.key()).collect();
        self.log.push(format!("get {keys:?}"));
        let told = self.ground.tier.get_many(&keys).await.unwrap();
        let now = self.ground.harness.clock().now();
        for (key, told) in keys.into_iter().zip(told) {
            let expected = self.model.get(&key, now);
            assert_eq!(told.entry, expected.entry, "{key}\n{}", self.log.join("\n"));
            self.seen.push((key, told.fence, expected.fence));
        }
    }

    async fn put(&mut self) {
        let entry = self.entry();
        let seen = self.seen.choose(&mut self.rng).cloned();
        let (key, told, expected) = match seen {
            Some((key, told, expected)) if self.rng.random_bool(0.7) => {
                (key, Condition::Unmoved(told), Condition::Unmoved(expected))
            }
            _ => (self.key(), Condition::Always, Condition::Always),
        };
        self.log.push(format!("put {key} {:?} {:?} {told:?}", entry.version, entry.payload));
        let put = Put { key: key.clone(), entry: entry.clone(), condition: told };
        let outcome = self.ground.tier.put_many(&[put]).await.unwrap()[0];
        let put = Put { key, entry, condition: expected };
        let expected = self.model.judge(&put);
        let always = put.condition == Condition::Always;
        // A fill may be refused without need, and the model follows; never the other way round.
        if outcome == PutOutcome::Stored || always {
            assert_eq!(outcome, expected, "\n{}", self.log.join("\n"));
            self.model.put(&put);
        }
    }

    async fn remove(&mut self) {
        let version = self.version();
        let removal = Removal { key: self.key(), version };
        self.log.push(format!("remove {removal:?}"));
        self.ground.tier.remove_many(std::slice::from_ref(&removal)).await.unwrap();
        self.model.remove(&removal);
    }

    async fn clear(&mut self) {
        self.log.push("clear".to_owned());
        self.ground.tier.clear(&self.ground.namespace).await.unwrap();
        self.model.clear(&self.ground.namespace);
    }

    fn wait(&mut self) {
        let span = Duration::from_millis(self.rng.random_range(1..200));
        self.log.push(format!("wait {span:?}"));
        self.ground.advance(span);
    }

    fn key(&mut self) -> Key {
        self.keys.choose(&mut self.rng).expect("there are keys").clone()
    }

    fn version(&mut self) -> Option<Version> {
        let versioned = self.rng.random_bool(0.5);
        versioned.then(|| Version(self.rng.random_range(0..6)))
    }

    fn entry(&mut self) -> Entry {
        let fresh = Duration::from_millis(self.rng.random_range(1..300));
        let payload: u32 = self.rng.random();
        let version = self.version();
        self.ground.entry_for(&payload.to_string(), Ttl::fresh(fresh)).with_version(version)
    }
}
