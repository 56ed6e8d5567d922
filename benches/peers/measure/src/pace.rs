//! How much is measured.

/// How often and for how long each question is put to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For figures that are told.
    Full,
    /// For a look.
    Quick,
}

impl Pace {
    /// How many windows of near hits, and how many hits each has.
    pub(crate) const fn near(self) -> (usize, usize) {
        match self {
            Self::Full => (15, 20_000),
            Self::Quick => (7, 10_000),
        }
    }

    /// How many windows of operations that go to Redis.
    pub(crate) const fn windows(self) -> usize {
        match self {
            Self::Full => 2,
            Self::Quick => 1,
        }
    }

    /// How many keys a window takes of one caller that waits for each.
    pub(crate) const fn alone(self) -> usize {
        match self {
            Self::Full => 1_000,
            Self::Quick => 500,
        }
    }

    /// How many keys a window takes of many callers together.
    pub(crate) const fn together(self) -> usize {
        match self {
            Self::Full => 10_000,
            Self::Quick => 5_000,
        }
    }

    /// How many keys a herd is let loose on, one after the other.
    #[must_use]
    pub const fn herds(self) -> usize {
        match self {
            Self::Full => 9,
            Self::Quick => 3,
        }
    }
}
