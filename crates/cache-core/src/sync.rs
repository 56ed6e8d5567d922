//! The locks and counters of what must hold whatever the order in which threads take their turns.
//!
//! `cargo xtask ci shuttle` builds the tests with `--cfg shuttle`: then these are shuttle's, which
//! let a scheduler choose who goes next at every use, and the tests named `schedules` try thousands
//! of orders. Everywhere else they are the ordinary ones.

#[cfg(all(test, shuttle))]
pub(crate) use modelled::{AtomicU64, Mutex, RwLock, RwLockWriteGuard};
#[cfg(not(all(test, shuttle)))]
pub(crate) use {
    parking_lot::{Mutex, RwLock, RwLockWriteGuard},
    std::sync::atomic::AtomicU64,
};

#[cfg(all(test, shuttle))]
mod modelled {
    use std::sync::{PoisonError, TryLockError};

    use shuttle::sync::{MutexGuard, RwLockReadGuard};
    pub(crate) use shuttle::sync::{RwLockWriteGuard, atomic::AtomicU64};

    /// Shuttle's lock in the manner of parking_lot's: a panic does not poison it.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
    /// Shuttle's lock for many readers, likewise.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            match self.0.try_write() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }
}
