//! What a tier lets others do about the room that it takes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Pressure, PressureGauge, Shrink};
use crate::{
    error::{Error, ErrorKind, Result},
    tier::Tier,
};

/// What can be told and done about the room of a tier: its answer to [`Tier::room`].
///
/// # Examples
///
/// What a tier with a server answers, which is a [`PressureGauge`] and a [`Shrink`] itself:
///
/// ```
/// use cache_core::{PressureGauge, Shrink, TierRoom};
///
/// fn room<T: Shrink + PressureGauge>(tier: &T) -> Option<TierRoom<'_>> {
///     Some(TierRoom::shrunk_by(tier).measured_by(tier))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TierRoom<'t> {
    shrink: Option<&'t dyn Shrink>,
    gauge: Option<&'t dyn PressureGauge>,
    misfit: Option<Misfit>,
}

/// A server makes room otherwise than the tier was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What is so.
    pub found: Arc<str>,
    /// What to do about it: a command where there is one.
    pub change: Arc<str>,
}

impl<'t> TierRoom<'t> {
    /// The tier can give room back. Unless it is [measured](Self::measured_by) by itself, its room is
    /// part of this process's memory.
    #[must_use]
    pub const fn shrunk_by(shrink: &'t dyn Shrink) -> Self {
        Self { shrink: Some(shrink), gauge: None, misfit: None }
    }

    /// The tier's server makes room by itself, and nobody else can.
    #[must_use]
    pub const fn of_the_server() -> Self {
        Self { shrink: None, gauge: None, misfit: None }
    }

    /// How much of its own room the tier uses is told by `gauge`.
    #[must_use]
    pub fn measured_by(self, gauge: &'t dyn PressureGauge) -> Self {
        Self { gauge: Some(gauge), ..self }
    }

    /// The server makes room otherwise than it was set.
    #[must_use]
    pub fn with_misfit(self, misfit: Option<Misfit>) -> Self {
        Self { misfit, ..self }
    }

    /// What gives room back, where anything can.
    #[must_use]
    pub const fn shrink(&self) -> Option<&'t dyn Shrink> {
        self.shrink
    }

    /// What tells how much room is used, of a room that is the tier's own.
    #[must_use]
    pub const fn gauge(&self) -> Option<&'t dyn PressureGauge> {
        self.gauge
    }

    /// How the server differs from what was set, where that is known.
    #[must_use]
    pub const fn misfit(&self) -> Option<&Misfit> {
        self.misfit.as_ref()
    }
}

/// The room of a shared tier, for who watches it.
#[derive(Debug)]
pub(crate) struct RoomOf(pub(crate) Arc<dyn Tier>);

#[async_trait]
impl PressureGauge for RoomOf {
    fn name(&self) -> &str {
        &self.0.info().name
    }

    async fn read(&self) -> Result<Pressure> {
        match self.0.room().and_then(|room| room.gauge()) {
            Some(gauge) => gauge.read().await,
            None => Err(Error::new(ErrorKind::Unavailable, "the tier has no gauge any more")),
        }
    }
}

#[async_trait]
impl Shrink for RoomOf {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        match self.0.room().and_then(|room| room.shrink()) {
            Some(shrink) => shrink.shrink_to(fraction).await,
            None => Ok(0),
        }
    }
}
