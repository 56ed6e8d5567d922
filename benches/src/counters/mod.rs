//! What an operation costs that does not depend on the moment: allocations, round trips, commands
//! and statements. They are the same in each run, and so are gated tightly.
//!
//! A program that counts must count its allocations: see [`allocations`].

pub mod allocations;
mod expected;
mod figures;
pub mod local;
pub mod remote;
mod requests;
mod tally;
mod way;

pub use expected::expected;
pub use figures::{Counter, Figure, Figures, Worse};
pub use tally::{Mode, Repeat, Tally};
