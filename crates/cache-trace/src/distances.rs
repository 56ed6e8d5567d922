//! LRU at all sizes in one pass.

use crate::{
    replay::Ticker,
    tally::{Sums, Tally},
    trace::Trace,
};

/// How many reads found their key again at each distance: after so many *different* keys, itself
/// included. LRU of a size holds exactly what has a distance up to that (R. L. Mattson et al.,
/// *Evaluation techniques for storage hierarchies*, IBM Systems Journal 9(2), 1970), where every
/// value weighs the same and none expires.
#[derive(Debug)]
pub(crate) struct Distances {
    /// The hits of LRU at each size, from 0 up.
    hits: Vec<Sums>,
    requests: Sums,
}

impl Distances {
    /// O(log n) a read, for n different keys, and 36 bytes a key.
    pub(crate) fn of(trace: &Trace, ticker: &mut Ticker<'_>) -> Option<Self> {
        let keys = trace.keys_len();
        let mut at_distance = vec![Sums::default(); keys + 1];
        let mut requests = Sums::default();
        let mut last = vec![NONE; keys];
        let mut marks = Marks::new(2 * keys.max(32));
        for (id, request) in trace.requests() {
            ticker.tick()?;
            requests.note(&request);
            if marks.is_full() {
                marks.renumber(&mut last);
            }
            let seen = std::mem::replace(&mut last[id as usize], marks.end());
            if seen != NONE {
                at_distance[marks.from(seen)].note(&request);
                marks.clear(seen);
            }
            marks.set();
        }
        let mut sum = Sums::default();
        for hits in &mut at_distance {
            sum = sum + *hits;
            *hits = sum;
        }
        Some(Self { hits: at_distance, requests })
    }

    /// What LRU comes to with room for `capacity` values.
    pub(crate) fn tally(&self, capacity: u64) -> Tally {
        let largest = self.hits.len() - 1;
        let at = usize::try_from(capacity).map_or(largest, |capacity| capacity.min(largest));
        Tally { requests: self.requests, hits: self.hits[at] }
    }
}

const NONE: u32 = u32::MAX;

/// A mark at the last read of each key, in the order of the reads: a Fenwick tree counts those after
/// a position.
struct Marks {
    tree: Vec<u32>,
    end: usize,
    count: u32,
}

impl Marks {
    fn new(len: usize) -> Self {
        Self { tree: vec![0; len + 1], end: 0, count: 0 }
    }

    fn is_full(&self) -> bool {
        self.end + 1 == self.tree.len()
    }

    /// Where the next mark is set.
    fn end(&self) -> u32 {
        u32::try_from(self.end).expect("there are at most twice as many positions as keys")
    }

    fn set(&mut self) {
        self.end += 1;
        self.count += 1;
        let mut i = self.end;
        while i < self.tree.len() {
            self.tree[i] += 1;
            i += i & i.wrapping_neg();
        }
    }

    fn clear(&mut self, position: u32) {
        self.count -= 1;
        let mut i = position as usize + 1;
        while i < self.tree.len() {
            self.tree[i] -= 1;
            i += i & i.wrapping_neg();
        }
    }

    /// How many marks there are from a position on.
    fn from(&self, position: u32) -> usize {
        let mut before = 0;
        let mut i = position as usize;
        while i > 0 {
            before += self.tree[i];
            i &= i - 1;
        }
        (self.count - before) as usize
    }

    /// Takes the gaps out, of which half of the positions are.
    fn renumber(&mut self, last: &mut [u32]) {
        let mut order = vec![NONE; self.end];
        for (id, position) in last.iter().enumerate().filter(|(_, position)| **position != NONE) {
            order[*position as usize] = u32::try_from(id).expect("a key's number has 32 bits");
        }
        self.tree.fill(0);
        (self.end, self.count) = (0, 0);
        for id in order.into_iter().filter(|id| *id != NONE) {
            last[id as usize] = self.end();
            self.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::{Columns, Request, TraceBuilder};

    fn naive(keys: &[u64], capacity: usize) -> u64 {
        let mut held: Vec<u64> = Vec::new();
        let mut hits = 0;
        for key in keys {
            match held.iter().position(|held| held == key) {
                Some(place) => {
                    held.remove(place);
                    hits += 1;
                }
                None if held.len() == capacity => drop(held.remove(0)),
                None => {}
            }
            held.push(*key);
        }
        hits
    }

    proptest! {
        #[test]
        fn it_is_lru_at_each_size(keys in prop::collection::vec(0_u64..40, 1..600)) {
            let mut builder = TraceBuilder::new(Columns::default(), usize::MAX);
            keys.iter().for_each(|key| builder.push(Request { hash: *key, ..Request::default() }));
            let mut ticker = Ticker::new(&|_| true);
            let distances = Distances::of(&builder.finish().unwrap(), &mut ticker).unwrap();
            for capacity in 1..45 {
                let hits = distances.tally(capacity as u64).hits.count;
                prop_assert_eq!(hits, naive(&keys, capacity));
            }
        }
    }
}
