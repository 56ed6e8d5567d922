use super::ghost::Ghost;
use super::part::{self, Part};
use super::queue::Slots;
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
    small_capacity: u64,
    main_capacity: u64,
    /// Whether anything was ever evicted: until then, newcomers fill the main queue as well.
    full: bool,
}

type Record = part::Record<Home>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Small,
    Main,
}

impl S3Fifo {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
            small: Part::new(),
            main: Part::new(),
            ghost: Ghost::new(),
            small_capacity: 0,
            main_capacity: 0,
            full: false,
        }
    }

    #[inline]
    fn part(&mut self, home: Home) -> (&mut Part, &mut Slots<Record>) {
        let part = match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        };
        (part, &mut self.slots)
    }

    #[inline]
    fn enter(&mut self, home: Home, slot: Slot) {
        self.slots.get_mut(slot).home = home;
        let (part, slots) = self.part(home);
        part.push_back(slots, slot);
    }

    #[inline]
    fn leave(&mut self, slot: Slot) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.unlink(slots, slot);
    }

    /// The first of the small queue that was not read enough; on the way, the others move to the main
    /// queue.
    fn evict_small(&mut self, reads: &dyn ReadCounts) -> Option<Slot> {
        while let Some(slot) = self.small.front() {
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
        let turns = u64::from(self.main.len()) * u64::from(READS_MAX);
        for _ in 0..turns {
            let slot = self.main.front()?;
            let count = reads.get(slot);
            if count == 0 {
                break;
            }
            reads.set(slot, count.min(READS_MAX) - 1);
            self.main.move_to_back(&mut self.slots, slot);
        }
        let slot = self.main.front()?;
        self.leave(slot);
        Some(slot)
    }
}

impl EvictionPolicy for S3Fifo {
    fn reads(&self) -> Reads {
        Reads::Counted { max: READS_MAX }
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.small_capacity = capacity / 10;
        self.main_capacity = capacity - self.small_capacity;
    }

    fn insert(&mut self, slot: Slot, record: Resident) {
        let Resident { hash, weight, .. } = record;
        self.slots.put(slot, Record { hash, weight, home: Home::Small });
        let filling = !self.full && self.small.weight() >= self.small_capacity;
        let home = if filling || self.ghost.take(hash) { Home::Main } else { Home::Small };
        self.enter(home, slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        let (part, slots) = self.part(self.slots.get(slot).home);
        part.weigh(slots, slot, record.weight);
    }

    fn remove(&mut self, slot: Slot) {
        self.leave(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        self.full = true;
        let records = self.small.len() + self.main.len();
        self.ghost.set_limit(records - records / 10);
        if self.main.weight() <= self.main_capacity
            && let Some(slot) = self.evict_small(reads)
        {
            return Some(slot);
        }
        self.evict_main(reads)
    }
}
