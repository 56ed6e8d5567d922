//! The cache under real faults: several processes on private servers, what is done to them, and
//! the oracle that judges what they answered.
//!
//! Two roles of one program. The **driver** ([`drive`]) starts the servers, the source of truth and
//! the nodes, inflicts a fault, collects what every node saw, and judges it. A **node** ([`node`])
//! is a service: a cache over near, Redis and PostgreSQL, built by the public API alone, under load,
//! which writes down each operation with its begin and end by a clock that all processes share.
//!
//! The driver starts the servers itself, from programs that `cargo xtask chaos` has found: it kills
//! and restarts them in the midst of its own timeline.
//!
//! What is right is said in [`oracle`].

mod fault;
mod figures;
mod fleet;
mod history;
mod moment;
pub mod node;
pub mod oracle;
mod proxy;
mod report;
mod run;
pub mod scenario;
mod servers;
pub mod shows;
mod source;

pub use figures::{Figures, Points};
pub use history::{Act, Place, Record, Seen};
pub use report::{Outcome, Report, WrongAnswer};
pub use run::{Pace, Plan, drive};
pub use servers::Programs;
