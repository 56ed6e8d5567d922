use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::numbers::Mixing;
use super::part::{self, Part};
use super::queue::Slots;
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Two LRU queues, of those that came once (`recent`) and of those that came again (`frequent`), and
/// a ghost of each. A key that comes back from a ghost says that its queue was too short: the share
/// of `recent` is moved towards it.
///
/// Good: no setting, follows a load that changes between scans and reuse. Bad: each read is told,
/// which takes a lock, and it remembers as many ghosts as records.
///
/// Each call is O(1). 24 bytes a slot, and 47 to 67 for each ghost; there are never more ghosts than
/// slots, and with the records they weigh twice the capacity at most.
///
/// Source: N. Megiddo, D. S. Modha, *ARC: a self-tuning, low overhead replacement cache*, FAST 2003,
/// with weights in place of counts.
#[derive(Debug)]
pub(super) struct Arc {
    slots: Slots<Record>,
    recent: Part,
    frequent: Part,
    ghosts: Ghosts,
    /// What `recent` may weigh; `p` in the paper.
    target: f64,
    capacity: u64,
    /// For whom room was made last, and where it was found.
    expected: Option<(u64, Origin)>,
}

type Record = part::Record<Home>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Recent,
    Frequent,
}

/// Where a newcomer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Unknown,
    Ghost(Home),
}

impl Arc {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(),
            recent: Part::new(),
            frequent: Part::new(),
            ghosts: Ghosts::new(),
            target: 0.0,
            capacity: 0,
            expected: None,
        }
    }

    fn part(&mut self, home: Home) -> (&mut Part, &mut Slots<Record>) {
        let part = match home {
            Home::Recent => &mut self.recent,
            Home::Frequent => &mut self.frequent,
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

    /// Looks a newcomer up among the ghosts, and learns from it, once for each time that it comes.
    fn expect(&mut self, newcomer: &Resident) -> Origin {
        if let Some((hash, origin)) = self.expected
            && hash == newcomer.hash
        {
            return origin;
        }
        let [recent, frequent] =
            [&self.ghosts.recent, &self.ghosts.frequent].map(|part| part.weight() as f64);
        let weight = f64::from(newcomer.weight);
        let origin = match self.ghosts.take(newcomer.hash) {
            None => Origin::Unknown,
            Some(home) => {
                match home {
                    Home::Recent => self.target += weight * (frequent / recent).max(1.0),
                    Home::Frequent => self.target -= weight * (recent / frequent).max(1.0),
                }
                self.target = self.target.clamp(0.0, self.capacity as f64);
                Origin::Ghost(home)
            }
        };
        self.expected = Some((newcomer.hash, origin));
        origin
    }

    /// Forgets the oldest ghosts of which there are too many.
    fn forget(&mut self) {
        let (recent, frequent) = (self.recent.weight(), self.frequent.weight());
        let ghosts = &mut self.ghosts;
        while recent + ghosts.recent.weight() > self.capacity && ghosts.drop_oldest(Home::Recent) {}
        while recent + frequent + ghosts.recent.weight() + ghosts.frequent.weight()
            > 2 * self.capacity
            && (ghosts.drop_oldest(Home::Frequent) || ghosts.drop_oldest(Home::Recent))
        {}
        // Where records weigh different amounts, weight alone would not bound how many ghosts there
        // are.
        while (ghosts.recent.len() + ghosts.frequent.len()) as usize > self.slots.len() {
            let longer = ghosts.recent.len() > ghosts.frequent.len();
            ghosts.drop_oldest(if longer { Home::Recent } else { Home::Frequent });
        }
    }
}

impl EvictionPolicy for Arc {
    fn reads(&self) -> Reads {
        Reads::Told
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.target = self.target.min(capacity as f64);
        self.forget();
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let home = match self.expect(&record) {
            Origin::Unknown => Home::Recent,
            Origin::Ghost(_) => Home::Frequent,
        };
        self.expected = None;
        let Resident { hash, weight, .. } = record;
        self.slots.put(slot, Record { hash, weight, home });
        self.enter(home, slot);
        self.forget();
    }

    fn read(&mut self, slot: Slot) {
        self.leave(slot);
        self.enter(Home::Frequent, slot);
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
        let origin = newcomer.map_or(Origin::Unknown, |newcomer| self.expect(newcomer));
        let recent = self.recent.weight() as f64;
        let recent_goes = recent > self.target
            || (recent >= self.target && origin == Origin::Ghost(Home::Frequent));
        let (first, second) = if recent_goes {
            (&self.recent, &self.frequent)
        } else {
            (&self.frequent, &self.recent)
        };
        let slot = first.front().or_else(|| second.front())?;
        self.leave(slot);
        self.ghosts.note(*self.slots.get(slot));
        self.forget();
        Some(slot)
    }
}

/// The keys that have gone, in two queues.
#[derive(Debug)]
struct Ghosts {
    /// The ghosts, by places of their own.
    slots: Slots<Record>,
    places: HashMap<u64, Slot, BuildHasherDefault<Mixing>>,
    free: Vec<Slot>,
    recent: Part,
    frequent: Part,
}

impl Ghosts {
    fn new() -> Self {
        Self {
            slots: Slots::new(),
            places: HashMap::default(),
            free: Vec::new(),
            recent: Part::new(),
            frequent: Part::new(),
        }
    }

    fn part(&mut self, home: Home) -> (&mut Part, &mut Slots<Record>) {
        let part = match home {
            Home::Recent => &mut self.recent,
            Home::Frequent => &mut self.frequent,
        };
        (part, &mut self.slots)
    }

    fn note(&mut self, record: Record) {
        // Two keys with one hash have one ghost.
        self.take(record.hash);
        let place = self.free.pop().unwrap_or(Slot(self.slots.len() as u32));
        self.slots.put(place, record);
        self.places.insert(record.hash, place);
        let (part, slots) = self.part(record.home);
        part.push_back(slots, place);
    }

    fn take(&mut self, hash: u64) -> Option<Home> {
        let place = self.places.remove(&hash)?;
        let home = self.slots.get(place).home;
        let (part, slots) = self.part(home);
        part.unlink(slots, place);
        self.free.push(place);
        Some(home)
    }

    /// Says whether there was one.
    fn drop_oldest(&mut self, home: Home) -> bool {
        let (part, slots) = self.part(home);
        let Some(place) = part.front() else { return false };
        let hash = slots.get(place).hash;
        self.take(hash).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Replay;
    use super::super::queue::Node;
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_ghost_takes_47_to_67_bytes() {
        let place = size_of::<Node<Record>>() + size_of::<Slot>();
        // In a hash map an entry takes itself and a byte, and from an eighth of the places to more
        // than a half are free.
        let entry = size_of::<(u64, Slot)>() + 1;
        assert_eq!((place + entry * 8 / 7, (place * 7 + entry * 16).div_ceil(7)), (47, 67));
    }

    #[test]
    fn there_are_never_more_ghosts_than_slots_whatever_they_weigh() {
        let mut policy = Arc::new();
        policy.set_capacity(1_000);
        let record = |hash, weight| Resident { hash, weight, expires_at: Timestamp::MAX };
        // A hundred slots, of which light records leave and make room for heavy ones.
        for turn in 0..1_000_u64 {
            for slot in 0..100_u64 {
                let weight = if slot < 99 { 1 } else { 901 };
                policy.insert(Slot(slot as u32), record(turn << 32 | slot, weight));
            }
            while policy.evict(None, &NoCounts).is_some() {}
            assert!(policy.ghosts.places.len() <= 100);
        }
        assert!(policy.ghosts.slots.len() <= 101);
    }

    struct NoCounts;

    impl ReadCounts for NoCounts {
        fn get(&self, _: Slot) -> u8 {
            0
        }

        fn set(&self, _: Slot, _: u8) {}
    }

    #[test]
    fn a_scan_leaves_alone_what_was_read_again() {
        let mut cache = Replay::new(Box::new(Arc::new()), 100);
        for key in (0..50).chain(0..50).chain(1_000..9_000) {
            cache.access(key, 1, Timestamp::MAX);
        }
        assert!((0..50).all(|key| cache.access(key, 1, Timestamp::MAX)));
    }
}
