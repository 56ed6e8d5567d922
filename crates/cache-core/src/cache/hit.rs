//! A value out of a cache, and where it came from.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use crate::entry::Version;

/// A value, where it came from, how old it is and whether it is still fresh.
///
/// Dereferences to the value.
#[derive(Debug)]
pub struct Hit<V> {
    pub(super) value: Arc<V>,
    pub(super) origin: Origin,
    pub(super) age: Duration,
    pub(super) fresh_for: Duration,
    pub(super) version: Option<Version>,
}

impl<V> Hit<V> {
    /// The value, shared with the near tier and with other callers.
    #[must_use]
    pub const fn value(&self) -> &Arc<V> {
        &self.value
    }

    /// The value alone.
    #[must_use]
    pub fn into_value(self) -> Arc<V> {
        self.value
    }

    /// Where it came from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How long ago it was loaded or inserted, when this answer was made.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// Whether its fresh time was over: it is served because nothing better was to be had.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.fresh_for.is_zero()
    }

    /// How long it still counted as fresh, when this answer was made; zero when it is stale.
    #[must_use]
    pub const fn fresh_for(&self) -> Duration {
        self.fresh_for
    }

    /// Its version at the source, if the source told one.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }
}

impl<V> Deref for Hit<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

/// Shares the value: `V` itself need not be `Clone`.
impl<V> Clone for Hit<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), origin: self.origin.clone(), ..*self }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The near tier, in this process.
    Near,
    /// A tier of the stack.
    Tier {
        /// 1 for the first below the near tier, and so on: L1, L2.
        level: usize,
        /// The tier's name.
        name: Arc<str>,
    },
    /// The loader: this caller's, or that of another caller at the same time.
    Load,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near => f.write_str("near"),
            Self::Tier { level, name } => write!(f, "L{level} {name}"),
            Self::Load => f.write_str("load"),
        }
    }
}
