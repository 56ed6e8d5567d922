//! A value to wait on, whose waiters go on in the order in which they came.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A value that tasks wait to see changed.
///
/// Tokio's `watch` wakes its waiters in a random order, which nobody can seed: a run with it could
/// not be run again.
#[derive(Debug)]
pub struct Gate<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Gate<T> {
    /// A gate that shows `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self) -> T {
        *self.value.lock()
    }

    /// Shows `value` from now on.
    pub fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    /// Waits until it shows something that `is_awaited`.
    pub async fn wait_for(&self, is_awaited: impl Fn(T) -> bool) -> T {
        loop {
            // Made before the look, so that no change is missed between the two.
            let changed = self.changed.notified();
            let value = self.get();
            if is_awaited(value) {
                return value;
            }
            changed.await;
        }
    }
}
