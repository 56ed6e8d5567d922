use super::numbers::mix;

/// Words of a block: one cache line.
const BLOCK_LEN: usize = 8;

/// Each of a key's counters stops here.
const COUNT_MAX: u64 = 15;

/// How often a key was asked for, about, whether it is in the cache or not: a count-min sketch of
/// counters of four bits. A key has four counters in one block of 64 bytes; when as many requests as
/// ten times the records have been counted, all are halved, so that the past fades.
///
/// 8 bytes for each record that it is made for, rounded up to a power of two.
///
/// Source: G. Cormode, S. Muthukrishnan, *An improved data stream summary: the count-min sketch and
/// its applications*, J. Algorithms 55(1), 2005; the halving: G. Einziger, R. Friedman, B. Manes,
/// *TinyLFU: a highly efficient cache admission policy*, ACM TOS 13(4), 2017.
#[derive(Debug)]
pub(super) struct Sketch {
    blocks: Vec<Block>,
    /// How many were counted since the last halving, with what was left of those before.
    counted: u64,
    /// At how many the counters are halved.
    sample: u64,
}

/// Counters of four bits, sixteen in a word.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; BLOCK_LEN]);

impl Sketch {
    pub(super) fn new() -> Self {
        Self { blocks: vec![Block::default()], counted: 0, sample: 10 * BLOCK_LEN as u64 }
    }

    /// Makes it large enough for so many records. What was counted is kept.
    pub(super) fn fit(&mut self, records: u32) {
        self.sample = self.sample.max(10 * u64::from(records));
        let wanted = (records as usize).div_ceil(BLOCK_LEN).next_power_of_two();
        if wanted > self.blocks.len() {
            // Which of the larger table's blocks a key has, the smaller one did not have to tell:
            // each of them starts as the one that the key had.
            let len = self.blocks.len();
            self.blocks = (0..wanted).map(|index| self.blocks[index & (len - 1)]).collect();
        }
    }

    /// How many requests there are from one halving to the next, about twice.
    pub(super) const fn sample(&self) -> u64 {
        self.sample
    }

    /// How often the key was counted, 15 at most.
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        let (block, places) = self.places(hash);
        let counts = places.map(|(word, shift)| (self.blocks[block].0[word] >> shift) & COUNT_MAX);
        counts.into_iter().min().map_or(0, |count| count as u8)
    }

    pub(super) fn count(&mut self, hash: u64) {
        let (block, places) = self.places(hash);
        let mut counted = false;
        for (word, shift) in places {
            let word = &mut self.blocks[block].0[word];
            if (*word >> shift) & COUNT_MAX < COUNT_MAX {
                *word += 1 << shift;
                counted = true;
            }
        }
        self.counted += u64::from(counted);
        if self.counted >= self.sample {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut odd = 0;
        for word in self.blocks.iter_mut().flat_map(|block| &mut block.0) {
            odd += u64::from((*word & 0x1111_1111_1111_1111).count_ones());
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
        // A key has four counters, so what rounding down took is a quarter of the odd ones.
        self.counted = self.counted.saturating_sub(odd / 4) / 2;
    }

    /// The block of a key, and in it each counter's word and how far it is shifted.
    fn places(&self, hash: u64) -> (usize, [(usize, u32); 4]) {
        let mixed = mix(hash);
        let places = [0, 1, 2, 3].map(|row| {
            let bits = (mixed >> (32 + 8 * row)) as u32;
            (row * 2 + (bits & 1) as usize, ((bits >> 1) & 15) * 4)
        });
        (mixed as u32 as usize & (self.blocks.len() - 1), places)
    }

    /// How many bytes it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.blocks.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_counted_less_often_than_it_came() {
        let mut sketch = Sketch::new();
        sketch.fit(1_000);
        for key in 0..1_000 {
            (0..key % 7).for_each(|_| sketch.count(key));
        }
        assert!((0..1_000).all(|key| u64::from(sketch.estimate(key)) >= key % 7));
        let exact = (0..1_000).filter(|key| u64::from(sketch.estimate(*key)) == key % 7).count();
        assert!(exact > 900, "{exact}");
    }

    #[test]
    fn the_past_fades() {
        let mut sketch = Sketch::new();
        sketch.fit(64);
        (0..15).for_each(|_| sketch.count(1));
        (0..10_000).for_each(|key| sketch.count(key + 2));
        assert!(sketch.estimate(1) < 5, "{}", sketch.estimate(1));
    }

    #[test]
    fn what_was_counted_is_kept_when_it_grows() {
        let mut sketch = Sketch::new();
        (0..3).for_each(|_| sketch.count(7));
        sketch.fit(10_000);
        assert_eq!(sketch.estimate(7), 3);
    }

    #[test]
    fn it_takes_8_bytes_for_each_record() {
        let mut sketch = Sketch::new();
        sketch.fit(1 << 16);
        assert_eq!(sketch.bytes(), 8 << 16);
    }
}
