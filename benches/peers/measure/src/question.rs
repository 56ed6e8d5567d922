//! What is asked of each cache.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::comparison::Bound;

/// One question, which each cache answers with one figure.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What the last 80,000 of 100,000 values in a near tier add to its process, each.
    Held,
    /// What a hit of the near tier takes, over 1,000 keys.
    NearHot,
    /// What a hit of the near tier takes, over 100,000 keys.
    NearWide,
    /// What a hit of Redis takes one caller, with a near tier that is empty.
    L1One,
    /// How many hits of Redis 64 callers have.
    L1Few,
    /// How many hits of Redis 1,000 callers have.
    L1Many,
    /// What a write takes one caller.
    SetOne,
    /// How many writes 1,000 callers make.
    SetMany,
    /// What a read of a missing key takes one caller, the loader being instant.
    Load,
    /// How often a missing key is loaded that 200 callers each on two nodes want.
    HerdLoads,
    /// How long that takes, of which the loader takes 20 ms.
    HerdTime,
}

impl Question {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::NearHot,
        Self::NearWide,
        Self::L1One,
        Self::L1Few,
        Self::L1Many,
        Self::SetOne,
        Self::SetMany,
        Self::Load,
        Self::HerdLoads,
        Self::HerdTime,
        Self::Held,
    ];

    /// What it is called in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NearHot => "near hit, 1,000 keys",
            Self::NearWide => "near hit, 100,000 keys",
            Self::L1One => "L1 hit, 1 caller",
            Self::L1Few => "L1 hits, 64 callers",
            Self::L1Many => "L1 hits, 1,000 callers",
            Self::SetOne => "set, 1 caller",
            Self::SetMany => "sets, 1,000 callers",
            Self::Load => "load of a missing key",
            Self::HerdLoads => "400 callers on two nodes, loads of a key",
            Self::HerdTime => "400 callers on two nodes, time",
            Self::Held => "memory held by an entry of 256 bytes",
        }
    }

    /// What its figure is counted in.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::NearHot | Self::NearWide => "ns",
            Self::L1One | Self::SetOne | Self::Load => "us",
            Self::L1Few | Self::L1Many | Self::SetMany => "per s",
            Self::HerdLoads => "loads",
            Self::HerdTime => "ms",
            Self::Held => "bytes",
        }
    }

    /// On which side of the other's figure it is good to be.
    #[must_use]
    pub const fn bound(self) -> Bound {
        match self {
            Self::L1Few | Self::L1Many | Self::SetMany => Bound::AtLeast,
            _ => Bound::AtMost,
        }
    }

    /// Whether it takes two processes at once.
    #[must_use]
    pub const fn is_of_herd(self) -> bool {
        matches!(self, Self::HerdLoads | Self::HerdTime)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_question_is_asked_once_and_by_a_name_of_its_own() {
        let asked = BTreeSet::from(Question::ALL);
        assert_eq!(asked.len(), Question::value_variants().len());
        let names: BTreeSet<_> = Question::ALL.map(Question::name).into();
        assert_eq!(names.len(), Question::ALL.len());
    }

    #[test]
    fn more_is_better_of_what_is_counted_a_second_and_of_nothing_else() {
        for question in Question::ALL {
            let is_rate = question.unit() == "per s";
            assert_eq!(question.bound() == Bound::AtLeast, is_rate, "{}", question.name());
        }
    }
}
