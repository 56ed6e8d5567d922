//! What a replay counts.

use std::{fmt, ops::Add};

use crate::trace::Request;

/// What the reads of a replay, and the hits among them, come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All reads.
    pub requests: Sums,
    /// Those that were hits.
    pub hits: Sums,
}

/// A number of reads, the bytes of their values, and what their loads cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their loads' cost.
    pub cost: u64,
}

/// By what a hit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Each as one.
    #[default]
    Count,
    /// By the bytes of its value.
    Bytes,
    /// By what a load of it costs.
    Cost,
}

impl Tally {
    /// Notes a read.
    pub(crate) fn note(&mut self, request: &Request, hit: Hit) {
        self.requests.note(request);
        if hit == Hit::Yes {
            self.hits.note(request);
        }
    }

    /// The hits' part of the reads, from 0 to 1.
    #[must_use]
    pub fn hit_ratio(&self, weight: Weight) -> f64 {
        match self.requests.of(weight) {
            0 => 0.0,
            requests => self.hits.of(weight) as f64 / requests as f64,
        }
    }
}

/// Whether a read found its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    Yes,
    No,
}

impl Sums {
    pub(crate) fn note(&mut self, request: &Request) {
        self.count += 1;
        self.bytes += u64::from(request.size);
        self.cost += u64::from(request.cost);
    }

    /// The sum by which hits count.
    #[must_use]
    pub const fn of(&self, weight: Weight) -> u64 {
        match weight {
            Weight::Count => self.count,
            Weight::Bytes => self.bytes,
            Weight::Cost => self.cost,
        }
    }

    /// Each sum times `factor`.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let scaled = |sum: u64| (sum as f64 * factor).round() as u64;
        Self { count: scaled(self.count), bytes: scaled(self.bytes), cost: scaled(self.cost) }
    }
}

impl Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            bytes: self.bytes + other.bytes,
            cost: self.cost + other.cost,
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Cost => "cost",
        })
    }
}
