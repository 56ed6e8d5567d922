//! The locks and counters of what must hold whatever the order in which threads take their turns.
//!
//! `cargo xtask ci shuttle` builds the tests with `--cfg shuttle`: then these are shuttle's, which
//! let a scheduler choose who goes next at every use, and the tests named `schedules` try thousands
//! of orders. Everywhere else they are the ordinary ones.

#[cfg(all(test, shuttle))]
pub(crate) use modelled::{AtomicU64, Mutex};
#[cfg(not(all(test, shuttle)))]
pub(crate) use {parking_lot::Mutex, std::sync::atomic::AtomicU64};

#[cfg(all(test, shuttle))]
mod modelled {
    use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::AtomicU64;

    /// Shuttle's lock in the manner of parking_lot's: a panic does not poison it.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
