//! Policies as far as a store outside of the process can follow them.

use super::Eviction;

/// By what a store that keeps its values elsewhere (rows of a database, records of a server) ranks
/// them, so that its eviction comes as near to a policy as it can. What is first in the ranking goes
/// first.
///
/// A policy in the process hears of each read at once, in order. Such a store hears of reads late and
/// in part ([`ReadNotes`](crate::ReadNotes)), so several policies come to the same ranking there:
/// [`Eviction::ranking`] says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ranking {
    /// First in, first out.
    Arrival,
    /// What expires first goes first.
    Deadline,
    /// Any.
    Chance,
    /// Read or written longest ago.
    Recency,
    /// Read least; then longest ago. What has just come has had no time to be read, and goes last.
    Frequency,
    /// The same, where reads count less the longer ago they were.
    AgingFrequency,
    /// What was not read since it was last looked at, first in first out; then the rest likewise.
    SecondChance,
}

impl Ranking {
    /// Whether reads have to be noted for it.
    #[must_use]
    pub const fn goes_by_reads(self) -> bool {
        !matches!(self, Self::Arrival | Self::Deadline | Self::Chance)
    }

    /// Whether a value that is written again counts as one that came just then.
    #[must_use]
    pub const fn moves_what_is_written(self) -> bool {
        !matches!(self, Self::Arrival)
    }
}

impl Eviction {
    /// The ranking that comes nearest to it.
    #[must_use]
    pub const fn ranking(self) -> Ranking {
        match self {
            Self::Fifo => Ranking::Arrival,
            Self::Ttl => Ranking::Deadline,
            Self::Random => Ranking::Chance,
            Self::Lru => Ranking::Recency,
            Self::Lfu => Ranking::Frequency,
            Self::AgingLfu | Self::WTinyLfu => Ranking::AgingFrequency,
            Self::S3Fifo | Self::AdaptiveS3Fifo | Self::Sieve | Self::Arc => Ranking::SecondChance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_that_need_no_reads_have_rankings_of_their_own_that_need_none() {
        let without: Vec<Eviction> =
            Eviction::ALL.iter().copied().filter(|one| !one.ranking().goes_by_reads()).collect();
        assert_eq!(without, [Eviction::Fifo, Eviction::Ttl, Eviction::Random]);
        assert!(!Eviction::Fifo.ranking().moves_what_is_written());
        assert!(Eviction::Lru.ranking().moves_what_is_written());
    }
}
