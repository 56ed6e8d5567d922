use super::{EvictionPolicy, ReadCounts, Reads, Resident, Slot};

/// Any record goes, each as likely as another: the baseline that a policy has to beat.
///
/// Good: in a loop longer than the cache it keeps what LRU and FIFO lose. Bad: it learns nothing.
///
/// Each call is O(1). 8 bytes a slot.
///
/// Source: L. A. Belady, *A study of replacement algorithms for a virtual-storage computer*, IBM
/// Systems Journal 5(2), 1966. The numbers are drawn by SplitMix64: G. L. Steele, D. Lea,
/// C. H. Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
#[derive(Debug)]
pub(super) struct Random {
    /// The slots in use, in no order.
    slots: Vec<Slot>,
    /// Where each slot lies in `slots`.
    places: Vec<u32>,
    random: SplitMix,
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { slots: Vec::new(), places: Vec::new(), random: SplitMix(seed) }
    }

    /// Takes out the slot at `place`; the last one fills its place.
    fn take(&mut self, place: usize) -> Slot {
        let slot = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places[moved.0 as usize] = place as u32;
        }
        slot
    }
}

impl EvictionPolicy for Random {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn set_capacity(&mut self, _: u64) {}

    fn insert(&mut self, slot: Slot, _: Resident) {
        let index = slot.0 as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.places[index] = self.slots.len() as u32;
        self.slots.push(slot);
    }

    fn read(&mut self, _: Slot) {}

    fn update(&mut self, _: Slot, _: Resident) {}

    fn remove(&mut self, slot: Slot) {
        self.take(self.places[slot.0 as usize] as usize);
    }

    fn evict(&mut self, _: Option<&Resident>, _: &dyn ReadCounts) -> Option<Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let place = self.random.below(self.slots.len() as u64);
        Some(self.take(place as usize))
    }
}

/// Random numbers that are the same for a seed in every version of every library.
#[derive(Clone, Debug)]
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number under `bound`.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

/// Spreads the bits of a number over the whole of it.
#[inline]
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
