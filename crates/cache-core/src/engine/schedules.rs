//! What the engine promises, under thousands of orders of a few threads.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
};

use shuttle::{check_pct, check_random, thread};

use super::*;

const SCHEDULES: usize = 5_000;

fn try_schedules(test: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(test.clone(), SCHEDULES);
    check_pct(test, SCHEDULES, 3);
}

/// A value that says of which key it is, and counts how many of them are alive.
struct Value(u64, Arc<AtomicUsize>, AtomicU8);

impl Record for Value {
    fn reads(&self) -> &AtomicU8 {
        &self.2
    }
}

impl Value {
    fn new(key: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self(key, Arc::clone(alive), AtomicU8::new(0))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

#[derive(Clone)]
struct Ground {
    engine: Arc<Engine<Value>>,
    alive: Arc<AtomicUsize>,
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

impl Ground {
    /// Room for a few values, in two shards.
    fn new(eviction: Eviction, capacity: u64) -> Self {
        let config = EngineConfig {
            capacity,
            entries_max: None,
            eviction,
            quotas: Vec::new(),
            seed: Some(7),
        };
        Self {
            engine: Arc::new(Engine::with_shards(&config, 2)),
            alive: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn put(&self, key: u64, weight: u32) -> bool {
        let priority = EvictionPriority::Normal;
        let (expires_at, reclaim_at) = (Timestamp::MAX, Timestamp::MAX);
        let terms = Terms { weight, expires_at, reclaim_at, priority, group: 0 };
        let record = Value::new(key, &self.alive);
        let hash = self.engine.hash(&key.to_le_bytes());
        self.engine.insert(hash, |other| other.0 == key, record, terms, NOW)
    }

    fn get(&self, key: u64) -> Option<u64> {
        let hash = self.engine.hash(&key.to_le_bytes());
        self.engine.get(hash, |other| other.0 == key, |value| Some(value.0))
    }

    fn remove(&self, key: u64) {
        self.engine.remove(self.engine.hash(&key.to_le_bytes()), |other| other.0 == key);
    }

    /// What holds whenever nobody is at work.
    fn check(&self, keys: std::ops::Range<u64>, weight: u64, capacity: u64) {
        let held = keys.filter(|key| self.get(*key).is_some()).count();
        assert_eq!(self.engine.len(), held as u64);
        assert_eq!(self.engine.weight(), held as u64 * weight);
        assert!(self.engine.weight() <= capacity);
        assert_eq!(self.alive.load(SeqCst), held, "a value was leaked, or dropped too soon");
    }
}

fn on_threads(count: u64, work: impl Fn(u64) + Clone + Send + 'static) {
    let start = |index| {
        let work = work.clone();
        thread::spawn(move || work(index))
    };
    let threads: Vec<_> = (0..count).map(start).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
}

#[test]
fn a_key_has_its_own_value_and_the_room_adds_up_in_every_schedule() {
    for eviction in [Eviction::default(), Eviction::Lru, Eviction::Fifo] {
        try_schedules(move || {
            let ground = Ground::new(eviction, 30);
            let threads = ground.clone();
            on_threads(3, move |index| {
                for step in 0..3 {
                    let key = (index + step) % 4;
                    assert!(threads.put(key, 10));
                    for other in 0..4 {
                        assert!(threads.get(other).is_none_or(|value| value == other));
                    }
                    if index == 2 {
                        threads.remove((key + 1) % 4);
                    }
                }
            });
            ground.check(0..4, 10, 30);
        });
    }
}

#[test]
fn a_capacity_that_shrinks_meanwhile_holds_in_the_end() {
    try_schedules(|| {
        let ground = Ground::new(Eviction::default(), 60);
        let threads = ground.clone();
        on_threads(3, move |index| match index {
            0 => {
                threads.engine.resize(20, NOW);
            }
            1 => threads.engine.clear(),
            _ => (0..6).for_each(|key| {
                threads.put(key, 10);
            }),
        });
        ground.check(0..6, 10, 20);
    });
}
