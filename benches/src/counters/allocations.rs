//! Allocations, as the allocator counts them.
//!
//! A program that asks for them has these two lines:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: cache_benches::counters::allocations::Allocator =
//!     cache_benches::counters::allocations::COUNTED;
//! ```

use std::{alloc::System, hint::black_box};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// The type of the allocator.
pub type Allocator = &'static StatsAlloc<System>;

/// The system's allocator, which counts.
pub const COUNTED: Allocator = &INSTRUMENTED_SYSTEM;

/// What the process has asked its allocator for so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Requests for memory, new or for growing.
    pub count: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

impl Allocated {
    /// Up to now.
    #[must_use]
    pub fn so_far() -> Self {
        let stats = INSTRUMENTED_SYSTEM.stats();
        Self {
            count: (stats.allocations + stats.reallocations) as u64,
            bytes: stats.bytes_allocated as u64,
        }
    }

    /// Since an earlier moment.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}

/// Whether the program counts its allocations at all.
#[must_use]
pub fn are_counted() -> bool {
    let before = Allocated::so_far();
    drop(black_box(Box::new(7_u64)));
    Allocated::so_far() != before
}
