//! How near something is to the end of its room, and what is done about it.

mod admission;
mod monitor;
mod process;
mod room;

use std::fmt;

use async_trait::async_trait;

pub(crate) use self::{admission::Admission, room::RoomOf};
pub use self::{
    monitor::{MemoryPressure, PressureConfig, PressureStats},
    process::ProcessMemory,
    room::{Misfit, TierRoom},
};
use crate::error::Result;

/// How much of some room is used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// What is in use.
    pub used: u64,
    /// What may be in use; 0 where there is no limit, and so no pressure.
    pub limit: u64,
}

impl Pressure {
    /// Which share of the room is used: 1 when it is full.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn share(self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// Reads how much of some room is used: a process's memory, a server's, a database's budget.
#[async_trait]
pub trait PressureGauge: fmt::Debug + Send + Sync + 'static {
    /// What it reads, in events, metrics and log lines: `process`, `redis`.
    fn name(&self) -> &str;

    /// How much is used now.
    ///
    /// # Errors
    ///
    /// Those of the server or the file that is asked.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    async fn read(&self) -> Result<Pressure>;
}

/// What can give room back: a tier, or an engine in this process.
#[async_trait]
pub trait Shrink: fmt::Debug + Send + Sync + 'static {
    /// Evicts by its policy until at most `fraction` (0 to 1) of its capacity is used, and stays
    /// within that until it is told otherwise. 1 lifts the restriction. Answers how many entries
    /// were evicted.
    ///
    /// # Errors
    ///
    /// Those of the server that is asked to remove entries.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have evicted in part.
    async fn shrink_to(&self, fraction: f64) -> Result<u64>;
}

/// The part of `whole` that `fraction` (0 to 1) stands for.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a capacity need not be exact, and casts of floats saturate"
)]
pub(crate) fn share(whole: u64, fraction: f64) -> u64 {
    (whole as f64 * fraction.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_there_is_no_pressure() {
        assert_eq!(Pressure { used: 5, limit: 0 }.share(), 0.0);
        assert_eq!(Pressure { used: 5, limit: 10 }.share(), 0.5);
    }
}
