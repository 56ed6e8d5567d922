//! One look at the whole table: how much there is, and what goes first.

use std::collections::BinaryHeap;

use cache_core::Ranking;

/// The most values that one look remembers as those that go first: a few megabytes.
pub(crate) const CANDIDATES_MAX: usize = 20_000;

/// The number of a ranking in [`sql::Survey`](crate::sql::Survey).
pub(crate) const fn number_of(ranking: Ranking) -> i16 {
    match ranking {
        Ranking::Arrival => 1,
        Ranking::Deadline => 2,
        Ranking::Chance => 3,
        Ranking::Recency => 4,
        Ranking::Frequency => 5,
        Ranking::AgingFrequency => 6,
        Ranking::SecondChance => 7,
    }
}

/// A value that may go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// The smallest goes first: class, then two ranks.
    pub(crate) rank: (i16, f64, f64),
    pub(crate) key: Vec<u8>,
    /// By which it is recognised: a value that was written since has another deadline.
    pub(crate) expires_at: i64,
    pub(crate) bytes: u64,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ((class, first, second), (class_o, first_o, second_o)) = (self.rank, other.rank);
        let ranks = first.total_cmp(&first_o).then(second.total_cmp(&second_o));
        class.cmp(&class_o).then(ranks).then_with(|| self.key.cmp(&other.key))
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) bytes: u64,
    /// Values, without tombstones.
    pub(crate) rows: u64,
    pub(crate) pinned_bytes: u64,
    first: BinaryHeap<Candidate>,
    /// Of some that would go first there was no place to remember.
    pub(crate) is_cut: bool,
}

impl Survey {
    pub(crate) fn add(&mut self, candidate: Candidate) {
        self.first.push(candidate);
        if self.first.len() > CANDIDATES_MAX {
            self.first.pop();
            self.is_cut = true;
        }
    }

    /// The rank below which a value is of interest; all, while there is room.
    pub(crate) fn worst(&self) -> (i16, f64) {
        match self.first.peek() {
            Some(worst) if self.first.len() == CANDIDATES_MAX => (worst.rank.0, worst.rank.1),
            _ => (i16::MAX, f64::MAX),
        }
    }

    /// What goes, in its order.
    pub(crate) fn into_candidates(self) -> Vec<Candidate> {
        self.first.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(class: i16, rank: f64) -> Candidate {
        let key = format!("{class} {rank}").into_bytes();
        Candidate { rank: (class, rank, 0.0), key, expires_at: 0, bytes: 1 }
    }

    #[test]
    fn classes_go_before_ranks() {
        let mut survey = Survey::default();
        for (class, rank) in [(1, 5.0), (0, 9.0), (1, 2.0), (2, 0.0)] {
            survey.add(candidate(class, rank));
        }
        let order: Vec<_> = survey.into_candidates().iter().map(|c| c.rank.1).collect();
        assert_eq!(order, [9.0, 2.0, 5.0, 0.0]);
    }

    #[test]
    fn no_more_are_remembered_than_may_and_those_that_go_first_are() {
        let mut survey = Survey::default();
        for rank in (0..CANDIDATES_MAX + 10).rev() {
            survey.add(candidate(1, rank as f64));
        }
        assert!(survey.is_cut);
        assert_eq!(survey.worst(), (1, (CANDIDATES_MAX - 1) as f64));
        assert_eq!(survey.into_candidates()[0].rank.1, 0.0);
    }
}
