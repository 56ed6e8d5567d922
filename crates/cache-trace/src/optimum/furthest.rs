//! A set of positions that gives out the largest.

/// How many positions a word holds, as a power of two.
const SHIFT: usize = 6;

/// A tree of bits, 64 to a node: each call takes as many steps as it has levels, of which there are
/// four for 16 million positions.
#[derive(Debug)]
pub(super) struct Furthest {
    /// From the positions up; a bit of a level says that a word of the level below is not empty.
    levels: Vec<Vec<u64>>,
}

impl Furthest {
    /// For positions below `len`.
    pub(super) fn new(len: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = len.max(1);
        while levels.is_empty() || words > 1 {
            words = words.div_ceil(1 << SHIFT);
            levels.push(vec![0; words]);
        }
        Self { levels }
    }

    pub(super) fn insert(&mut self, mut position: usize) {
        for level in &mut self.levels {
            let word = &mut level[position >> SHIFT];
            let was = *word;
            *word |= bit(position);
            if was != 0 {
                break;
            }
            position >>= SHIFT;
        }
    }

    /// Answers whether it was there.
    pub(super) fn remove(&mut self, mut position: usize) -> bool {
        if self.levels[0][position >> SHIFT] & bit(position) == 0 {
            return false;
        }
        for level in &mut self.levels {
            let word = &mut level[position >> SHIFT];
            *word &= !bit(position);
            if *word != 0 {
                break;
            }
            position >>= SHIFT;
        }
        true
    }

    /// Takes the largest out.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let mut position = 0;
        for level in self.levels.iter().rev() {
            let word = level[position];
            let highest = word.checked_ilog2()? as usize;
            position = (position << SHIFT) | highest;
        }
        self.remove(position);
        Some(position)
    }
}

const fn bit(position: usize) -> u64 {
    1 << (position & ((1 << SHIFT) - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_set(
            len in 1_usize..20_000,
            steps in prop::collection::vec((0_u8..3, any::<prop::sample::Index>()), 0..500),
        ) {
            let (mut furthest, mut model) = (Furthest::new(len), BTreeSet::new());
            for (step, position) in steps {
                let position = position.index(len);
                match step {
                    0 => {
                        furthest.insert(position);
                        model.insert(position);
                    }
                    1 => prop_assert_eq!(furthest.remove(position), model.remove(&position)),
                    _ => prop_assert_eq!(furthest.pop(), model.pop_last()),
                }
            }
        }
    }
}
