//! Where the keys of a plan come from.

mod file;
mod preset;
mod ranking;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{Result, Ttl};

pub(crate) use self::ranking::rank;
pub use self::{file::FileKeys, preset::PresetKeys};

/// Names keys that will be read, and how much each is worth. [`Plan::from_sources`] ranks what
/// several of them name.
///
/// [`Plan::from_sources`]: crate::Plan::from_sources
///
/// # Examples
///
/// ```
/// use cache_core::Result;
/// use cache_warmer::{Candidate, KeySource};
///
/// /// The front page, which everybody reads.
/// #[derive(Debug)]
/// struct FrontPage;
///
/// #[async_trait::async_trait]
/// impl KeySource for FrontPage {
///     fn name(&self) -> &str {
///         "front page"
///     }
///
///     async fn candidates(&self, _max: usize) -> Result<Vec<Candidate>> {
///         Ok(vec![Candidate::new("/", 5_000.0)])
///     }
/// }
/// ```
#[async_trait]
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// What a plan calls the origin of its keys.
    fn name(&self) -> &str;

    /// The keys, at most `max`: those that are expected to be read most.
    ///
    /// # Errors
    ///
    /// Why they cannot be told. A plan goes on with its other sources.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives the question up.
    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>>;
}

/// A key that may be worth warming. It is loaded as every key of a plan is: by the warmer's source,
/// into the warmer's cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text of the key, in the namespace of the cache that is warmed.
    pub key: String,
    /// How often it is expected to be read within the next hour.
    pub expected_hits: f64,
    /// What its load takes, where that is known.
    pub load_cost: Option<Duration>,
    /// The bytes that its value takes, where that is known.
    pub size: Option<u64>,
    /// How long its value lives, where that is known.
    pub ttl: Option<Ttl>,
}

impl Candidate {
    /// A key of which nothing more is known than how often it will be read within an hour.
    #[must_use]
    pub fn new(key: impl Into<String>, expected_hits: f64) -> Self {
        Self { key: key.into(), expected_hits, load_cost: None, size: None, ttl: None }
    }

    /// Says what its load takes.
    #[must_use]
    pub fn load_cost(self, load_cost: Duration) -> Self {
        Self { load_cost: Some(load_cost), ..self }
    }

    /// Says what its value takes, in bytes.
    #[must_use]
    pub fn size(self, bytes: u64) -> Self {
        Self { size: Some(bytes), ..self }
    }

    /// Says how long its value lives.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        Self { ttl: Some(ttl), ..self }
    }
}

/// What a plan may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// So many keys.
    pub keys_max: usize,
    /// So many bytes of values. A value whose size is not known counts as the mean of those whose
    /// size is.
    pub bytes_max: u64,
}

impl Budget {
    /// At most `keys_max` keys, of any size.
    #[must_use]
    pub const fn keys(keys_max: usize) -> Self {
        Self { keys_max, bytes_max: u64::MAX }
    }

    /// And at most `bytes_max` bytes of values.
    #[must_use]
    pub const fn bytes(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }
}

/// Why a key is in a plan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Worth {
    /// The source that named it; of several, that which expects the most reads.
    pub origin: Arc<str>,
    /// What the ranking is by: expected hits within an hour × seconds of its load / KiB of its value.
    pub value: f64,
    /// How often it is expected to be read within an hour.
    pub expected_hits: f64,
    /// What its load takes; where nobody knows it, the mean of the plan's candidates, else 1 s.
    pub load_cost: Duration,
    /// What its value takes, in bytes; where nobody knows it, the mean, else 1 KiB.
    pub size: u64,
    /// How long its value lives, where that is known.
    pub ttl: Option<Ttl>,
}

/// What a plan costs to carry out, and to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PlanCost {
    /// Keys to load.
    pub keys: usize,
    /// Bytes of values.
    pub bytes: u64,
    /// What the loads take, one after the other.
    pub load_time: Duration,
    /// Loads an hour that keep the keys fresh whose time to live is known.
    pub loads_an_hour: f64,
    /// Reads within an hour that are expected to find their value warm.
    pub expected_hits: f64,
}

/// What became of the candidates of one source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceShare {
    /// The source.
    pub name: Arc<str>,
    /// Keys that it named.
    pub candidates: usize,
    /// Keys of the plan whose origin it is.
    pub planned: usize,
    /// Candidates that no cache accepts as keys.
    pub refused: usize,
    /// Why it named none.
    pub error: Option<cache_core::Error>,
}
