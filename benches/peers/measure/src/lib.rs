//! What is asked of each cache that is compared, and how it is measured.
//!
//! Each cache implements [`Peer`] in a program of its own, whose `main` is [`worker::run`]. It is
//! asked [`Question`]s, and answers each with one figure, as JSON on a line.

mod callers;
mod held;
mod herd;
mod keys;
mod near;
mod pace;
mod peer;
mod question;
mod remote;
pub mod worker;

/// Rows and their verdicts: those of `cache_benches`, without all that it depends on.
#[path = "../../../src/comparison.rs"]
pub mod comparison;

pub use herd::{Calls, NODES, READY};
pub use keys::Key;
pub use pace::Pace;
pub use peer::{LIFE, Loader, NEAR_ENTRIES_MAX, Node, Peer, Text, Turns};
pub use question::Question;
