//! Moments that processes of one machine can compare.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of the machine's monotonic clock, which is one for all of its processes.
///
/// The standard library's `Instant` reads the same clock and hides its number.
pub(super) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).expect("the monotonic clock is not negative");
    part(now.tv_sec) * 1_000_000 + part(now.tv_nsec) / 1_000
}
