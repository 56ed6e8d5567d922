//! Who is let in while memory is short.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// While memory is short, one of so many newcomers is let in.
const ONE_IN: u64 = 4;

/// Lets in all newcomers, or few of them: each would push out what the policy has kept so far, and
/// most are not read again before memory is plenty.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    is_slow: AtomicBool,
    asked: AtomicU64,
}

impl Admission {
    /// What admits has been shrunk to this share of its capacity; 1: to nothing less than all.
    pub(crate) fn shrunk_to(&self, fraction: f64) {
        self.is_slow.store(fraction < 1.0, Ordering::Relaxed);
    }

    /// Whether a record may be kept that is a copy, if it `is_new`. Copies of what is there take its
    /// place in any case.
    pub(crate) fn admits(&self, is_new: impl FnOnce() -> bool) -> bool {
        !self.is_slow.load(Ordering::Relaxed)
            || !is_new()
            || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_memory_is_short_a_quarter_of_the_newcomers_is_let_in_and_all_that_are_known() {
        let admission = Admission::default();
        let admitted = |is_new: bool| (0..100).filter(|_| admission.admits(|| is_new)).count();
        assert_eq!(admitted(true), 100);
        admission.shrunk_to(0.7);
        assert_eq!(admitted(true), 25);
        assert_eq!(admitted(false), 100);
        admission.shrunk_to(1.0);
        assert_eq!(admitted(true), 100);
    }
}
