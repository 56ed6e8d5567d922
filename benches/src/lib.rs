//! What the benchmarks and the load generator of this workspace share: real prices as values, the
//! stacks that are measured, the scenarios, the closed loop, and the verdicts.

pub mod bar;
pub mod chaos;
pub mod comparison;
pub mod counters;
pub mod curve;
pub mod load;
pub mod loopback;
pub mod market;
pub mod popularity;
pub mod processes;
pub mod refill;
pub mod report;
pub mod resident;
pub mod scenario;
pub mod seed_system;
pub mod stacks;
pub mod trend;
pub mod verdict;
pub mod warm;

/// The code in README.md and docs/GUIDE.md compiles, and runs where it does not need a server.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/GUIDE.md")]
    struct Guide;
}
