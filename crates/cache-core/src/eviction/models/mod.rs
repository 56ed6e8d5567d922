//! Each policy beside a model of it that is slow and plain: both are told the same, and must choose
//! the same victims.

mod arcs;
mod frequency;
mod order;
mod s3;
mod windows;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::numbers::mix;
use super::{Eviction, EvictionPolicy, ReadCounts, Reads, Resident, Slot};
use crate::clock::Timestamp;

/// Few keys, so that they come back, and few enough for the ghosts' smallest table.
const KEYS: u8 = 24;

fn model(policy: Eviction, seed: u64) -> Box<dyn EvictionPolicy> {
    match policy {
        Eviction::Lru => Box::new(order::Lru::default()),
        Eviction::Fifo => Box::new(order::Fifo::default()),
        Eviction::Ttl => Box::new(order::Ttl::default()),
        Eviction::Sieve => Box::new(order::Sieve::default()),
        Eviction::Random => Box::new(order::Random::new(seed)),
        Eviction::Lfu => Box::new(frequency::Lfu::default()),
        Eviction::AgingLfu => Box::new(frequency::AgingLfu::default()),
        Eviction::S3Fifo => Box::new(s3::S3Fifo::default()),
        Eviction::AdaptiveS3Fifo => Box::new(s3::AdaptiveS3Fifo::default()),
        Eviction::WTinyLfu => Box::new(windows::WTinyLfu::new(seed)),
        Eviction::Arc => Box::new(arcs::Arc::default()),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Access(u8, u32, u64),
    Update(u8, u32, u64),
    Remove(u8),
    Evict,
    Capacity(u64),
}

fn steps(weight_max: u32) -> impl Strategy<Value = Vec<Step>> {
    // Some keys come far more often than others.
    let key = || prop_oneof![3 => 0..KEYS / 4, 2 => 0..KEYS];
    let record = move || (key(), 1..=weight_max, 0..40_u64);
    let step = prop_oneof![
        30 => record().prop_map(|(key, weight, ends)| Step::Access(key, weight, ends)),
        3 => record().prop_map(|(key, weight, ends)| Step::Update(key, weight, ends)),
        2 => key().prop_map(Step::Remove),
        1 => Just(Step::Evict),
        1 => (1..60_u64).prop_map(Step::Capacity),
    ];
    proptest::collection::vec(step, 1..400)
}

/// Counts of reads, one table for the policy and one for its model.
#[derive(Debug, Default, PartialEq)]
struct Counts(Vec<Cell<u8>>);

impl ReadCounts for Counts {
    fn get(&self, slot: Slot) -> u8 {
        self.0[slot.0 as usize].get()
    }

    fn set(&self, slot: Slot, count: u8) {
        self.0[slot.0 as usize].set(count);
    }
}

/// A cache that asks two policies.
struct Twins {
    policies: [Box<dyn EvictionPolicy>; 2],
    counts: [Counts; 2],
    resident: BTreeMap<u8, (Slot, Resident)>,
    free: BTreeSet<u32>,
    capacity: u64,
}

impl Twins {
    fn new(policy: Eviction, seed: u64, capacity: u64) -> Self {
        let mut policies = [policy.policy(seed), model(policy, seed)];
        policies.iter_mut().for_each(|policy| policy.set_capacity(capacity));
        assert_eq!(policies[0].reads(), policies[1].reads());
        let counts = || Counts(vec![Cell::new(0); usize::from(KEYS)]);
        Self {
            policies,
            counts: [counts(), counts()],
            resident: BTreeMap::new(),
            free: (0..u32::from(KEYS)).collect(),
            capacity,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Access(key, weight, ends) => match self.resident.get(&key) {
                Some((slot, _)) => self.read(*slot),
                None => self.insert(key, weight, ends),
            },
            Step::Update(key, weight, ends) => self.update(key, weight, ends),
            Step::Remove(key) => {
                if let Some((slot, _)) = self.resident.remove(&key) {
                    self.policies.iter_mut().for_each(|policy| policy.remove(slot));
                    self.free.insert(slot.0);
                }
            }
            Step::Evict => self.evict(None),
            Step::Capacity(capacity) => {
                self.capacity = capacity;
                self.policies.iter_mut().for_each(|policy| policy.set_capacity(capacity));
                self.make_room(0, None);
            }
        }
        assert_eq!(self.counts[0], self.counts[1]);
    }

    fn read(&mut self, slot: Slot) {
        match self.policies[0].reads() {
            Reads::Ignored => {}
            Reads::Told => self.policies.iter_mut().for_each(|policy| policy.read(slot)),
            Reads::Counted { .. } => self.count(slot),
        }
    }

    fn count(&self, slot: Slot) {
        if let Reads::Counted { max } = self.policies[0].reads() {
            self.counts.iter().for_each(|table| table.set(slot, (table.get(slot) + 1).min(max)));
        }
    }

    fn insert(&mut self, key: u8, weight: u32, ends: u64) {
        if u64::from(weight) > self.capacity {
            return;
        }
        let record = record(key, weight, ends);
        self.make_room(u64::from(weight), Some(&record));
        let slot = Slot(self.free.pop_first().expect("there are as many slots as keys"));
        self.counts.iter().for_each(|table| table.set(slot, 0));
        self.policies.iter_mut().for_each(|policy| policy.insert(slot, record));
        self.resident.insert(key, (slot, record));
    }

    fn update(&mut self, key: u8, weight: u32, ends: u64) {
        let Some((slot, known)) = self.resident.get_mut(&key) else { return };
        *known = record(key, weight, ends);
        let (slot, record) = (*slot, *known);
        self.count(slot);
        self.policies.iter_mut().for_each(|policy| policy.update(slot, record));
        self.make_room(0, None);
    }

    fn weight(&self) -> u64 {
        self.resident.values().map(|(_, record)| u64::from(record.weight)).sum()
    }

    fn make_room(&mut self, room: u64, newcomer: Option<&Resident>) {
        while self.weight() + room > self.capacity {
            self.evict(newcomer);
        }
    }

    fn evict(&mut self, newcomer: Option<&Resident>) {
        let [policy, model] = &mut self.policies;
        let victim = policy.evict(newcomer, &self.counts[0]);
        assert_eq!(victim, model.evict(newcomer, &self.counts[1]));
        match victim {
            None => assert!(self.resident.is_empty(), "there was a victim, but none was named"),
            Some(slot) => {
                let before = self.resident.len();
                self.resident.retain(|_, (held, _)| *held != slot);
                assert_eq!(self.resident.len() + 1, before, "{slot:?} is in use");
                self.free.insert(slot.0);
            }
        }
    }
}

fn record(key: u8, weight: u32, ends: u64) -> Resident {
    let expires_at = Timestamp::from_millis(ends);
    Resident { hash: mix(u64::from(key)), weight, expires_at }
}

fn run(policy: Eviction, seed: u64, capacity: u64, steps: &[Step]) {
    let mut twins = Twins::new(policy, seed, capacity);
    steps.iter().for_each(|step| twins.take(step));
    // What is left can be evicted to the last.
    (0..=twins.resident.len()).for_each(|_| twins.take(&Step::Evict));
    assert!(twins.resident.is_empty());
}

macro_rules! agrees_with_its_model {
    ($($name:ident: $policy:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]
            $(
                #[test]
                fn $name(
                    seed: u64,
                    capacity in 1..40_u64,
                    (weighed, even) in (steps(8), steps(1)),
                ) {
                    run(Eviction::$policy, seed, capacity, &weighed);
                    run(Eviction::$policy, seed, capacity.min(20), &even);
                }
            )*
        }
    };
}

agrees_with_its_model! {
    lru_agrees_with_its_model: Lru,
    fifo_agrees_with_its_model: Fifo,
    ttl_agrees_with_its_model: Ttl,
    sieve_agrees_with_its_model: Sieve,
    random_agrees_with_its_model: Random,
    lfu_agrees_with_its_model: Lfu,
    aging_lfu_agrees_with_its_model: AgingLfu,
    s3_fifo_agrees_with_its_model: S3Fifo,
    adaptive_s3_fifo_agrees_with_its_model: AdaptiveS3Fifo,
    w_tiny_lfu_agrees_with_its_model: WTinyLfu,
    arc_agrees_with_its_model: Arc,
}
