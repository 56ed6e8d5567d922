use super::numbers::SplitMix;
use super::part::{self, Part};
use super::queue::Slots;
use super::sketch::Sketch;
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// How much of the capacity the window starts with.
const WINDOW_SHARE: f64 = 0.01;

/// How much of the main part is protected.
const PROTECTED_SHARE: f64 = 0.8;

/// How much of the capacity the window is changed by, at first.
const STEP: f64 = 0.0625;

/// How much smaller each step is than the one before.
const STEP_DECAY: f64 = 0.98;

/// A change of the hit ratio from which the steps are large again.
const RESTART: f64 = 0.05;

/// A candidate that was asked for so often may be let in though it lost.
const WARM: u8 = 6;

/// Newcomers pass through a window; who leaves it must have been asked for more often than whom it
/// would replace in the main part. How large the window is, is learnt: it grows or shrinks in steps
/// for as long as that brings hits.
///
/// The main part is a segmented LRU: on probation until read again, then protected. One in 128 of the
/// losers that are warm is let in, so that no sender of keys can keep the cache to itself.
///
/// Good: popularity that is steady, scans, loops. Bad: small caches of what is in use now and not
/// later; it takes a few times ten requests for each record until the window fits.
///
/// Each call is O(1), amortised. 24 bytes a slot and 8 in the sketch, up to 16 where the number of
/// slots is no power of two.
///
/// Source: G. Einziger, R. Friedman, B. Manes, *TinyLFU: a highly efficient cache admission policy*,
/// ACM TOS 13(4), 2017; G. Einziger, O. Eytan, R. Friedman, B. Manes, *Adaptive software cache
/// management*, Middleware 2018. The numbers are those of Caffeine 3; that a window as small or as
/// large as may be turns round is ours: Caffeine's waits there until chance changes the hit ratio.
#[derive(Debug)]
pub(super) struct WTinyLfu {
    slots: Slots<Record>,
    window: Part,
    probation: Part,
    protected: Part,
    sketch: Sketch,
    climber: Climber,
    capacity: u64,
    random: SplitMix,
}

type Record = part::Record<Home>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Window,
    Probation,
    Protected,
}

impl WTinyLfu {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Slots::new(),
            window: Part::new(),
            probation: Part::new(),
            protected: Part::new(),
            sketch: Sketch::new(),
            climber: Climber::new(),
            capacity: 0,
            random: SplitMix(seed),
        }
    }

    fn window_capacity(&self) -> u64 {
        ((self.capacity as f64 * self.climber.share) as u64).max(1)
    }

    fn main_capacity(&self) -> u64 {
        self.capacity.saturating_sub(self.window_capacity())
    }

    fn protected_capacity(&self) -> u64 {
        (self.main_capacity() as f64 * PROTECTED_SHARE) as u64
    }

    fn part(&mut self, home: Home) -> (&mut Part, &mut Slots<Record>) {
        let part = match home {
            Home::Window => &mut self.window,
            Home::Probation => &mut self.probation,
            Home::Protected => &mut self.protected,
        };
        (part, &mut self.slots)
    }

    fn enter(&mut self, home: Home, slot: Slot) {
        self.slots.get_mut(slot).home = home;
        let (part, slots) = self.part(home);
        part.push_back(slots, slot);
    }

    fn leave(&mut self, slot: Slot) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.unlink(slots, slot);
    }

    /// Moves what the window holds too much to the main part, as far as there is room.
    fn drain_window(&mut self, newcomer: u64) {
        let (window_capacity, main_capacity) = (self.window_capacity(), self.main_capacity());
        while self.window.weight() + newcomer > window_capacity
            && let Some(slot) = self.window.front()
        {
            let main = self.probation.weight() + self.protected.weight();
            if main + u64::from(self.slots.get(slot).weight) > main_capacity {
                break;
            }
            self.leave(slot);
            self.enter(Home::Probation, slot);
        }
    }

    /// Moves what is protected too much back on probation.
    fn drain_protected(&mut self) {
        let capacity = self.protected_capacity();
        while self.protected.weight() > capacity
            && let Some(slot) = self.protected.front()
        {
            self.leave(slot);
            self.enter(Home::Probation, slot);
        }
    }

    /// Counts a request, and lets the window learn from it.
    fn asked(&mut self, hash: u64, outcome: Outcome) {
        self.sketch.count(hash);
        if self.climber.asked(outcome, self.sketch.sample()) {
            self.drain_window(0);
            self.drain_protected();
        }
    }

    fn admits(&mut self, candidate: Slot, victim: Slot) -> bool {
        let [candidate, victim] =
            [candidate, victim].map(|slot| self.sketch.estimate(self.slots.get(slot).hash));
        candidate > victim || (candidate >= WARM && self.random.below(128) == 0)
    }
}

impl EvictionPolicy for WTinyLfu {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.drain_window(0);
        self.drain_protected();
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let Resident { hash, weight, .. } = record;
        self.slots.put(slot, Record { hash, weight, home: Home::Window });
        self.enter(Home::Window, slot);
        self.sketch.fit(self.window.len() + self.probation.len() + self.protected.len());
        self.asked(hash, Outcome::Miss);
        self.drain_window(0);
    }

    fn read(&mut self, slot: Slot) {
        let Record { hash, home, .. } = *self.slots.get(slot);
        match home {
            Home::Window | Home::Protected => {
                let (part, slots) = self.part(home);
                part.move_to_back(slots, slot);
            }
            Home::Probation => {
                self.leave(slot);
                self.enter(Home::Protected, slot);
            }
        }
        self.drain_protected();
        self.asked(hash, Outcome::Hit);
    }

    fn update(&mut self, slot: Slot, record: Resident) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.weigh(slots, slot, record.weight);
        self.read(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.leave(slot);
    }

    fn evict(&mut self, newcomer: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        let room = newcomer.map_or(0, |newcomer| u64::from(newcomer.weight));
        self.drain_window(room);
        let victim = self.probation.front().or_else(|| self.protected.front());
        let crowded = self.window.weight() + room > self.window_capacity();
        let candidate = self.window.front().filter(|_| crowded || victim.is_none());
        let loser = match (candidate, victim) {
            (Some(candidate), Some(victim)) if self.admits(candidate, victim) => {
                self.leave(candidate);
                self.enter(Home::Probation, candidate);
                victim
            }
            (Some(candidate), _) => candidate,
            (None, victim) => victim?,
        };
        self.leave(loser);
        Some(loser)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Hit,
    Miss,
}

/// Finds the share of the window that brings the most hits, by climbing: a step, a look at the hit
/// ratio, and on, or back. The steps become smaller, and large again when the hit ratio jumps.
#[derive(Debug)]
struct Climber {
    share: f64,
    step: f64,
    hits: u64,
    requests: u64,
    hit_ratio: f64,
}

impl Climber {
    const fn new() -> Self {
        Self { share: WINDOW_SHARE, step: -STEP, hits: 0, requests: 0, hit_ratio: 0.0 }
    }

    /// Counts a request, and says whether the share has changed.
    fn asked(&mut self, outcome: Outcome, sample: u64) -> bool {
        self.requests += 1;
        self.hits += u64::from(outcome == Outcome::Hit);
        if self.requests < sample {
            return false;
        }
        let hit_ratio = self.hits as f64 / self.requests as f64;
        let change = hit_ratio - self.hit_ratio;
        let step = if change >= 0.0 { self.step } else { -self.step };
        let share = (self.share + step).clamp(WINDOW_SHARE, 1.0 - WINDOW_SHARE);
        // At an end there is one way only.
        let next = if share == self.share { -step } else { step };
        self.share = share;
        self.step = if change.abs() >= RESTART { STEP.copysign(next) } else { next * STEP_DECAY };
        (self.hit_ratio, self.hits, self.requests) = (hit_ratio, 0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of the window after many samples, where the hit ratio is `ratio` of the share.
    fn climb(ratio: impl Fn(f64) -> f64) -> f64 {
        let mut climber = Climber::new();
        for _ in 0..200 {
            let hits = (ratio(climber.share) * 1_000.0) as u64;
            for request in 0..1_000 {
                let outcome = if request < hits { Outcome::Hit } else { Outcome::Miss };
                climber.asked(outcome, 1_000);
            }
        }
        climber.share
    }

    #[test]
    fn the_window_grows_where_that_brings_hits_and_shrinks_where_it_costs_them() {
        assert!(climb(|share| share / 2.0) > 0.8);
        assert!(climb(|share| 0.5 - share / 2.0) < 0.2);
        assert!((climb(|share| 0.5 - (share - 0.4).abs()) - 0.4).abs() < 0.1);
    }
}
