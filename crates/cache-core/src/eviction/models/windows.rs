//! A model of W-TinyLFU. The sketch is the real one: it has tests of its own.

use crate::eviction::numbers::SplitMix;
use crate::eviction::sketch::Sketch;
use crate::eviction::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Each queue: the least recently read first.
type Queue = Vec<(Slot, Resident)>;

#[derive(Debug)]
pub(super) struct WTinyLfu {
    window: Queue,
    probation: Queue,
    protected: Queue,
    sketch: Sketch,
    random: SplitMix,
    capacity: u64,
    share: f64,
    step: f64,
    hits: u64,
    requests: u64,
    hit_ratio: f64,
}

fn weight(queue: &Queue) -> u64 {
    queue.iter().map(|(_, record)| u64::from(record.weight)).sum()
}

fn take(queue: &mut Queue, slot: Slot) -> Option<(Slot, Resident)> {
    let place = queue.iter().position(|(held, _)| *held == slot)?;
    Some(queue.remove(place))
}

impl WTinyLfu {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            window: Queue::new(),
            probation: Queue::new(),
            protected: Queue::new(),
            sketch: Sketch::new(),
            random: SplitMix(seed),
            capacity: 0,
            share: 0.01,
            step: -0.0625,
            hits: 0,
            requests: 0,
            hit_ratio: 0.0,
        }
    }

    fn window_capacity(&self) -> u64 {
        1.max((self.capacity as f64 * self.share) as u64)
    }

    fn main_capacity(&self) -> u64 {
        self.capacity.saturating_sub(self.window_capacity())
    }

    /// The window's oldest go on probation while there is room, and the oldest that are protected
    /// when there are too many.
    fn settle(&mut self, newcomer: u64) {
        while !self.window.is_empty()
            && weight(&self.window) + newcomer > self.window_capacity()
            && weight(&self.probation)
                + weight(&self.protected)
                + u64::from(self.window[0].1.weight)
                <= self.main_capacity()
        {
            self.probation.push(self.window.remove(0));
        }
        while weight(&self.protected) > (self.main_capacity() as f64 * 0.8) as u64 {
            self.probation.push(self.protected.remove(0));
        }
    }

    fn ask(&mut self, hash: u64, hits: u64) {
        self.sketch.count(hash);
        self.requests += 1;
        self.hits += hits;
        if self.requests >= self.sketch.sample() {
            let hit_ratio = self.hits as f64 / self.requests as f64;
            let change = hit_ratio - self.hit_ratio;
            let step = if change < 0.0 { -self.step } else { self.step };
            let before = self.share;
            self.share = (self.share + step).clamp(0.01, 0.99);
            let step = if self.share == before { -step } else { step };
            self.step = if change.abs() < 0.05 { step * 0.98 } else { 0.0625_f64.copysign(step) };
            (self.requests, self.hits, self.hit_ratio) = (0, 0, hit_ratio);
            self.settle(0);
        }
    }
}

impl EvictionPolicy for WTinyLfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.settle(0);
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        self.window.push((slot, record));
        let records = self.window.len() + self.probation.len() + self.protected.len();
        self.sketch.fit(records as u32);
        self.ask(record.hash, 0);
        self.settle(0);
    }

    fn read(&mut self, slot: Slot) {
        let hash;
        if let Some(found) = take(&mut self.window, slot) {
            hash = found.1.hash;
            self.window.push(found);
        } else {
            let found = take(&mut self.probation, slot)
                .or_else(|| take(&mut self.protected, slot))
                .expect("it is here");
            hash = found.1.hash;
            self.protected.push(found);
            while weight(&self.protected) > (self.main_capacity() as f64 * 0.8) as u64 {
                self.probation.push(self.protected.remove(0));
            }
        }
        self.ask(hash, 1);
    }

    fn update(&mut self, slot: Slot, record: Resident) {
        for queue in [&mut self.window, &mut self.probation, &mut self.protected] {
            queue.iter_mut().filter(|(held, _)| *held == slot).for_each(|held| held.1 = record);
        }
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        for queue in [&mut self.window, &mut self.probation, &mut self.protected] {
            take(queue, slot);
        }
    }

    fn evict(&mut self, newcomer: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let room = newcomer.map_or(0, |newcomer| u64::from(newcomer.weight));
        self.settle(room);
        let main =
            if self.probation.is_empty() { &mut self.protected } else { &mut self.probation };
        let victim = main.first().copied();
        let crowded =
            weight(&self.window) + room > 1.max((self.capacity as f64 * self.share) as u64);
        let Some((victim, record)) = victim else {
            return (!self.window.is_empty()).then(|| self.window.remove(0).0);
        };
        if !crowded || self.window.is_empty() {
            main.remove(0);
            return Some(victim);
        }
        let candidate = self.window.remove(0);
        let candidate_count = self.sketch.estimate(candidate.1.hash);
        if candidate_count > self.sketch.estimate(record.hash)
            || (candidate_count >= 6 && self.random.below(128) == 0)
        {
            main.remove(0);
            self.probation.push(candidate);
            return Some(victim);
        }
        Some(candidate.0)
    }
}
