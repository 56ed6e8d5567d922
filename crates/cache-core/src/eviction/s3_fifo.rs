use super::ghost::Ghost;
use super::queue::{Queue, Slots};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Reads are counted up to here.
const READS_MAX: u8 = 3;

/// Who was read so often in the small queue goes on to the main one.
const READS_TO_MAIN: u8 = 2;

/// Three queues: a small one where newcomers prove themselves, a main one for those who were read,
/// and a ghost of those who left the small one unread. Who comes back from the ghost goes to the main
/// queue at once.
///
/// Good: a scan passes through a tenth of the cache and leaves the rest alone; no lock for a read.
/// Bad: keys that come twice, far apart, and then never again.
///
/// A read costs nothing here; `evict` is O(1) amortised (a record goes round the main queue once for
/// each read that was counted, three times at most); all else is O(1). 24 bytes a slot, and 16 for
/// each key in the ghost, of which there are at most as many as records.
///
/// Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi, *FIFO queues are all you need for cache
/// eviction*, SOSP 2023; as in its authors' libCacheSim, newcomers go to the main queue while the
/// cache fills for the first time, and a record needs two reads to go from the small queue to it.
#[derive(Debug)]
pub(super) struct S3Fifo {
    slots: Slots<Record>,
    small: Part,
    main: Part,
    ghost: Ghost,
    /// Whether anything was ever evicted: until then, newcomers fill the main queue as well.
    full: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    hash: u64,
    weight: u32,
    home: Home,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Small,
    Main,
}

/// A queue with its share of the capacity.
#[derive(Debug)]
struct Part {
    queue: Queue,
    weight: u64,
    capacity: u64,
}

impl Part {
    const fn new() -> Self {
        Self { queue: Queue::new(), weight: 0, capacity: 0 }
    }
}

impl S3Fifo {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
            small: Part::new(),
            main: Part::new(),
            ghost: Ghost::new(),
            full: false,
        }
    }

    fn part(&mut self, home: Home) -> &mut Part {
        match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        }
    }

    #[inline]
    fn enter(&mut self, home: Home, slot: Slot) {
        let record = self.slots.get_mut(slot);
        record.home = home;
        let weight = u64::from(record.weight);
        let part = match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        };
        part.weight += weight;
        part.queue.push_back(&mut self.slots, slot);
    }

    #[inline]
    fn leave(&mut self, slot: Slot) {
        let Record { home, weight, .. } = *self.slots.get(slot);
        let part = match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        };
        part.weight -= u64::from(weight);
        part.queue.unlink(&mut self.slots, slot);
    }

    /// The first of the small queue that was not read enough; on the way, the others move to the main
    /// queue.
    fn evict_small(&mut self, reads: &dyn ReadCounts) -> Option<Slot> {
        while let Some(slot) = self.small.queue.front() {
            self.leave(slot);
            if reads.get(slot) < READS_TO_MAIN {
                self.ghost.note(self.slots.get(slot).hash);
                return Some(slot);
            }
            reads.set(slot, 0);
            self.enter(Home::Main, slot);
        }
        None
    }

    /// The first of the main queue that was not read since it last came to the front.
    fn evict_main(&mut self, reads: &dyn ReadCounts) -> Option<Slot> {
        // Readers count on while the queue turns: it gives up after as many rounds as there are
        // counts.
        let turns = u64::from(self.main.queue.len()) * u64::from(READS_MAX);
        for _ in 0..turns {
            let slot = self.main.queue.front()?;
            let count = reads.get(slot);
            if count == 0 {
                break;
            }
            reads.set(slot, count.min(READS_MAX) - 1);
            self.main.queue.move_to_back(&mut self.slots, slot);
        }
        let slot = self.main.queue.front()?;
        self.leave(slot);
        Some(slot)
    }
}

impl EvictionPolicy for S3Fifo {
    fn reads(&self) -> Reads {
        Reads::Counted { max: READS_MAX }
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.small.capacity = capacity / 10;
        self.main.capacity = capacity - self.small.capacity;
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let Resident { hash, weight, .. } = record;
        self.slots.put(slot, Record { hash, weight, home: Home::Small });
        let filling = !self.full && self.small.weight >= self.small.capacity;
        let home = if filling || self.ghost.take(hash) { Home::Main } else { Home::Small };
        self.enter(home, slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        let known = self.slots.get_mut(slot);
        let (before, home) = (u64::from(known.weight), known.home);
        known.weight = record.weight;
        let part = self.part(home);
        part.weight = part.weight - before + u64::from(record.weight);
    }

    fn remove(&mut self, slot: Slot) {
        self.leave(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        self.full = true;
        let records = self.small.queue.len() + self.main.queue.len();
        self.ghost.set_limit(records - records / 10);
        if self.main.weight <= self.main.capacity
            && let Some(slot) = self.evict_small(reads)
        {
            return Some(slot);
        }
        self.evict_main(reads)
    }
}
