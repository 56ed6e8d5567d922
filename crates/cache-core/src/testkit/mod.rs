//! What the tests of tiers, layers and caches share: the conformance suite, fault injection, a
//! reference model, and the servers to run against.
//!
//! A tier of your own is checked by the suite that checks ours:
//!
//! ```
//! use std::sync::Arc;
//! use cache_core::{ByteSize, ManualClock, MemoryTier, Tier};
//! use cache_core::testkit::Harness;
//!
//! struct Memory {
//!     clock: ManualClock,
//!     tier: Arc<MemoryTier>,
//! }
//!
//! impl Memory {
//!     fn new() -> Self {
//!         let clock = ManualClock::new();
//!         let tier = Arc::new(MemoryTier::new(ByteSize::mib(64), Arc::new(clock.clone())));
//!         Self { clock, tier }
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl Harness for Memory {
//!     async fn open(&self) -> Arc<dyn Tier> {
//!         self.tier.clone()
//!     }
//!
//!     fn clock(&self) -> &ManualClock {
//!         &self.clock
//!     }
//!
//!     async fn plant(&self, _key: &cache_core::Key, _bytes: &[u8]) -> bool {
//!         false // It keeps entries, not bytes.
//!     }
//! }
//!
//! cache_core::conformance_tests!(MemoryTier, Some(Memory::new()));
//! ```
//!
//! A tier that has a log or leases runs `log_conformance_tests!` and `lease_conformance_tests!` as
//! well.

mod bounded_map;
pub mod conformance;
mod faults;
pub mod fuzzing;
mod hit_statistics;
mod model;
mod services;
mod suite;

pub use bounded_map::BoundedMap;
pub use conformance::{
    Harness, leases as lease_conformance, log as log_conformance, log::LogHarness,
};
pub use faults::{Fault, Faults};
pub use hit_statistics::HitStatistics;
pub use model::Model;
pub use services::{left_out, service_url, unique_name};
