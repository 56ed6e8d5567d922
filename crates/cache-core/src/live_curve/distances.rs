//! How much of other keys was read between two reads of one.

/// The followed keys in the order of their last reads, each with its weight: a Fenwick tree sums
/// those from a place on.
#[derive(Debug)]
pub(super) struct Distances {
    tree: Vec<u64>,
    /// The key at each place, with its weight; 0 where it has moved on.
    places: Vec<(u64, u32)>,
    sum: u64,
}

impl Distances {
    /// For at most `len` keys at a time.
    pub(super) fn new(len: usize) -> Self {
        let places = 2 * (len + 1);
        Self { tree: vec![0; places + 1], places: Vec::with_capacity(places), sum: 0 }
    }

    /// Whether there is no place left; then they are to be [renumbered](Self::renumber).
    pub(super) fn is_full(&self) -> bool {
        self.places.len() + 1 == self.tree.len()
    }

    /// Puts a key at the end and answers its place.
    pub(super) fn push(&mut self, hash: u64, weight: u32) -> usize {
        let place = self.places.len();
        self.places.push((hash, weight));
        self.sum += u64::from(weight);
        let mut i = place + 1;
        while i < self.tree.len() {
            self.tree[i] += u64::from(weight);
            i += i & i.wrapping_neg();
        }
        place
    }

    /// Takes a key away from its place.
    pub(super) fn take(&mut self, place: usize) {
        let weight = std::mem::take(&mut self.places[place].1);
        self.sum -= u64::from(weight);
        let mut i = place + 1;
        while i < self.tree.len() {
            self.tree[i] -= u64::from(weight);
            i += i & i.wrapping_neg();
        }
    }

    /// What the keys weigh that come after a place.
    pub(super) fn after(&self, place: usize) -> u64 {
        let mut upto = 0;
        let mut i = place + 1;
        while i > 0 {
            upto += self.tree[i];
            i &= i - 1;
        }
        self.sum - upto
    }

    /// Takes the gaps out; `moved` is told of each key's new place.
    pub(super) fn renumber(&mut self, mut moved: impl FnMut(u64, usize)) {
        let places = std::mem::take(&mut self.places);
        self.tree.fill(0);
        self.sum = 0;
        for (hash, weight) in places.into_iter().filter(|(_, weight)| *weight > 0) {
            let place = self.push(hash, weight);
            moved(hash, place);
        }
    }
}
