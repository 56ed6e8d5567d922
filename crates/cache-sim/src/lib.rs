//! A deterministic simulation of several nodes that share tiers, with an oracle.
//!
//! One [`run`] is one seed: a plan drawn from it, in virtual time, on one thread, with every choice
//! made by it. The nodes are real caches of `cache-core`; the servers, the network, the source and
//! the clocks are simulated. See `docs/concepts/simulation.md`.

pub mod broken;
pub mod client;
pub mod gate;
pub mod link;
pub mod moment;
pub mod nemesis;
pub mod oracle;
pub mod plan;
pub mod process;
mod run;
pub mod source;
pub mod store;
pub mod world;

pub use broken::Defect;
pub use plan::{Mix, Plan};
pub use run::{Report, run};
pub use world::Trace;
