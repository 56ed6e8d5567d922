use super::ghost::Ghost;
use super::s3_queues::{Home, Queues};
use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Reads are counted up to here.
const READS_MAX: u8 = 3;

/// Three queues: a small one where newcomers prove themselves, a main one for those who were read,
/// and a ghost of those who left the small one unread. Who comes back from the ghost goes to the main
/// queue at once.
///
/// Good: a scan passes through a tenth of the cache and leaves the rest alone; no lock for a read.
/// Bad: keys that come again after a tenth of the cache has passed and before the whole has: the
/// small queue is too short for them. [`AdaptiveS3Fifo`](super::adaptive_s3_fifo::AdaptiveS3Fifo)
/// learns its length.
///
/// A read costs nothing here; `evict` is O(1) amortised (a record goes round the main queue once for
/// each read that was counted, three times at most); all else is O(1). 24 bytes a slot, and 16 for
/// each key in the ghost, up to 32 where their number is no power of two; there are nine ghosts for
/// ten records.
///
/// Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi, *FIFO queues are all you need for cache
/// eviction*, SOSP 2023; as in its authors' libCacheSim, newcomers go to the main queue while the
/// cache fills for the first time, and a record needs two reads to go from the small queue to it.
#[derive(Debug)]
pub(super) struct S3Fifo {
    queues: Queues,
    ghost: Ghost,
    small_capacity: u64,
    main_capacity: u64,
    /// Whether anything was ever evicted: until then, newcomers fill the main queue as well.
    full: bool,
}

impl S3Fifo {
    pub(super) const fn new() -> Self {
        Self {
            queues: Queues::new(),
            ghost: Ghost::new(),
            small_capacity: 0,
            main_capacity: 0,
            full: false,
        }
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
        let filling = !self.full && self.queues.small.weight() >= self.small_capacity;
        let known = self.ghost.take(record.hash).is_some();
        let home = if filling || known { Home::Main } else { Home::Small };
        self.queues.insert(slot, record, home);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, slot: Slot, record: Resident) {
        self.queues.weigh(slot, record.weight);
    }

    fn remove(&mut self, slot: Slot) {
        self.queues.remove(slot);
    }

    fn evict(&mut self, _: Option<&Resident>, reads: &dyn ReadCounts) -> Option<Slot> {
        self.full = true;
        let records = self.queues.len();
        self.ghost.set_limit((records - records / 10).max(1));
        if self.queues.main.weight() <= self.main_capacity
            && let Some(slot) = self.queues.take_small(reads)
        {
            self.ghost.note(self.queues.hash(slot));
            return Some(slot);
        }
        self.queues.take_main(reads, u32::from(READS_MAX), |count| count.min(READS_MAX) - 1)
    }
}
