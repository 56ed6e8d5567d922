//! A value out of a cache, and where it came from.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use super::load_error::Failure;
use crate::{
    clock::Timestamp,
    entry::{Entry, Version},
};

/// A value, where it came from, how old it is and whether it is still fresh.
///
/// Dereferences to the value.
// Small, as a hit of the near tier is moved a few times on its way to the caller.
pub struct Hit<V> {
    pub(super) value: Arc<V>,
    /// Nothing for a hit of the near tier.
    beyond: Option<Arc<Beyond>>,
    pub(super) age_ms: u64,
    /// Below zero once it is stale.
    pub(super) fresh_for_ms: i64,
    /// It counts if `has_version`.
    version: Version,
    pub(super) load_cost_us: u32,
    has_version: bool,
}

const _: () = assert!(size_of::<Option<Hit<u64>>>() == 48, "a hit is three quarters of a line");

/// What a hit of the near tier does not have.
#[derive(Clone, Debug)]
struct Beyond {
    origin: Origin,
    /// What it takes in a near tier; 0 where it is kept nowhere.
    weight: u32,
    /// Why its load brought nothing better.
    fault: Option<Arc<Failure>>,
    /// Whether its key had moved on during its load.
    is_superseded: bool,
}

impl Beyond {
    const fn new(origin: Origin) -> Self {
        Self { origin, weight: 0, fault: None, is_superseded: false }
    }
}

/// Milliseconds since the epoch; a moment beyond what they can tell is the last that they can.
fn signed(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

/// When a value was made, and until when it counts as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) created_at: Timestamp,
    pub(super) fresh_until: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Times {
    pub(super) const fn of(entry: &Entry) -> Self {
        let Entry { created_at, fresh_until, expires_at, .. } = *entry;
        Self { created_at, fresh_until, expires_at }
    }

    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }
}

impl<V> Hit<V> {
    /// The value `value` as it is answered at `now`.
    pub(super) fn new(
        value: Arc<V>,
        origin: Origin,
        times: Times,
        version: Option<Version>,
        load_cost_us: u32,
        now: Timestamp,
    ) -> Self {
        let beyond = match origin {
            Origin::Near => None,
            _ => Some(Arc::new(Beyond::new(origin))),
        };
        Self {
            value,
            beyond,
            age_ms: now.as_millis().saturating_sub(times.created_at.as_millis()),
            fresh_for_ms: signed(times.fresh_until).saturating_sub(signed(now)),
            version: version.unwrap_or(Version(0)),
            load_cost_us,
            has_version: version.is_some(),
        }
    }

    /// Says what it takes in a near tier.
    pub(super) fn weighing(self, weight: u32) -> Self {
        self.with(|beyond| beyond.weight = weight)
    }

    /// Says why its load brought nothing better.
    pub(super) fn with_fault(self, fault: Failure) -> Self {
        self.with(|beyond| beyond.fault = Some(Arc::new(fault)))
    }

    /// Says that its key had moved on during its load.
    pub(super) fn superseded(self) -> Self {
        self.with(|beyond| beyond.is_superseded = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Beyond)) -> Self {
        let beyond = self.beyond.get_or_insert_with(|| Arc::new(Beyond::new(Origin::Near)));
        change(Arc::make_mut(beyond));
        self
    }

    /// Why its load brought nothing better.
    pub(super) fn fault(&self) -> Option<&Failure> {
        self.beyond.as_ref()?.fault.as_deref()
    }

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
    pub fn origin(&self) -> &Origin {
        self.beyond.as_ref().map_or(&Origin::Near, |beyond| &beyond.origin)
    }

    /// How long ago its load began, or it was inserted, when this answer was made.
    #[must_use]
    pub const fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }

    /// Whether its fresh time was over: it is served because nothing better was to be had, or the
    /// caller was content with it.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.fresh_for_ms <= 0
    }

    /// How long it still counted as fresh, when this answer was made; zero when it is stale.
    #[must_use]
    pub const fn fresh_for(&self) -> Duration {
        let left = if self.is_stale() { 0 } else { self.fresh_for_ms.unsigned_abs() };
        Duration::from_millis(left)
    }

    /// For how long it had been stale, when this answer was made; zero when it is fresh.
    #[must_use]
    pub const fn stale_for(&self) -> Duration {
        let over = if self.is_stale() { self.fresh_for_ms.unsigned_abs() } else { 0 };
        Duration::from_millis(over)
    }

    /// Its version at the source, if the source told one.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        if self.has_version { Some(self.version) } else { None }
    }

    /// What it takes in a near tier, in bytes, with its key; 0 where it is kept nowhere, and for a
    /// hit of the near tier itself.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.beyond.as_ref().map_or(0, |beyond| beyond.weight)
    }

    /// Whether the cache did not keep it, because its key was changed during its load, or a newer
    /// version is known: the next reader gets another value.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.beyond.as_ref().is_some_and(|beyond| beyond.is_superseded)
    }

    /// Whether a load brought it just now, so that nothing newer was to be had.
    pub(super) fn is_loaded(&self) -> bool {
        *self.origin() == Origin::Load && self.fault().is_none()
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
        Self { value: Arc::clone(&self.value), beyond: self.beyond.clone(), ..*self }
    }
}

impl<V: fmt::Debug> fmt::Debug for Hit<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("value", &self.value)
            .field("origin", self.origin())
            .field("age_ms", &self.age_ms)
            .field("fresh_for_ms", &self.fresh_for_ms)
            .field("version", &self.version())
            .field("fault", &self.fault())
            .finish_non_exhaustive()
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
