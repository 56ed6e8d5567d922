//! Counts an operation, or just repeats it for somebody else who counts.

use super::{Counter, Figure, Figures, allocations::Allocated, way::Way};

/// Of each operation, before it is counted: what is made once has been made then.
const BEFORE: usize = 40;
/// An odd number, so that the median is one of them.
const REPEATS: usize = 101;
/// The place of the lower decile in as many.
const LOWER_DECILE: usize = REPEATS / 10;
/// Two of the allocator, and two of the way to each server.
const COUNTERS_MAX: usize = 6;

/// What is done with operations.
#[derive(Clone, Debug)]
pub enum Mode {
    /// All are counted.
    Count,
    /// One is repeated, and the others are not done.
    Repeat(Repeat),
}

/// An operation to be repeated.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Its name.
    pub operation: String,
    /// How often.
    pub times: usize,
}

/// What was counted so far.
#[derive(Debug)]
pub struct Tally {
    mode: Mode,
    /// The ways to servers on which requests are counted.
    ways: Vec<Way>,
    figures: Figures,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, ways: Vec::new(), figures: Figures::default() }
    }

    /// Counts on this way, too, from now on.
    pub(super) fn watch(&mut self, way: Way) {
        self.ways.push(way);
    }

    /// What was counted.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The names of all operations that were counted.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.figures.figures.iter().map(|figure| figure.operation.clone()).collect();
        names.dedup();
        names
    }

    /// Does `operation`, after `prepare`, which is not counted: both are told the how-manieth time
    /// it is.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the operation uncounted.
    pub async fn operation(
        &mut self,
        name: &str,
        mut prepare: impl AsyncFnMut(usize),
        mut operation: impl AsyncFnMut(usize),
    ) {
        if let Mode::Repeat(repeat) = &self.mode {
            if repeat.operation == name {
                for round in 0..repeat.times {
                    prepare(round).await;
                    operation(round).await;
                }
            }
            return;
        }
        for round in 0..BEFORE {
            prepare(round).await;
            operation(round).await;
        }
        let mut counts = vec![Vec::with_capacity(REPEATS); self.counters().len()];
        for round in BEFORE..BEFORE + REPEATS {
            prepare(round).await;
            let before = self.now();
            operation(round).await;
            let after = self.now();
            for (i, counts) in counts.iter_mut().enumerate() {
                counts.push(after[i] - before[i]);
            }
        }
        for (counter, mut counts) in self.counters().into_iter().zip(counts) {
            counts.sort_unstable();
            let (operation, value) = (name.to_owned(), counts[self.place()]);
            self.figures.figures.push(Figure { operation, counter, value });
        }
    }

    /// Which of the sorted repeats is the figure. A tier with a server has tasks of its own, which
    /// wake readers of its log and tend its table: they do not belong to an operation, come when
    /// they like, and only ever add. So there it is the lower decile, and the median elsewhere.
    fn place(&self) -> usize {
        if self.ways.is_empty() { REPEATS / 2 } else { LOWER_DECILE }
    }

    fn counters(&self) -> Vec<Counter> {
        let of_ways = self.ways.iter().flat_map(Way::counters);
        [Counter::Allocations, Counter::AllocatedBytes].into_iter().chain(of_ways).collect()
    }

    /// In the order of [`counters`](Self::counters). It does not allocate: that would be counted.
    fn now(&self) -> [u64; COUNTERS_MAX] {
        let Allocated { count, bytes } = Allocated::so_far();
        let mut counts = [0; COUNTERS_MAX];
        counts[..2].copy_from_slice(&[count, bytes]);
        for (way, counts) in self.ways.iter().zip(counts[2..].chunks_mut(2)) {
            counts.copy_from_slice(&way.now());
        }
        counts
    }
}
