//! Who may load a key, among several processes.

mod memory;

use std::{fmt, time::Duration};

use async_trait::async_trait;

pub use memory::MemoryLeases;

use crate::{error::Result, key::Key};

/// Leases on keys in a shared place.
///
/// A lease only keeps processes from doing the same work twice. What a late owner writes is refused
/// by its fence, not by the lease: a lease that is lost, or given out twice by a server that lost
/// its data, costs a load and never a wrong value.
///
/// # Contract
///
/// The suite `lease_conformance_tests!` of the testkit checks each line of this.
///
/// - While a lease is held, nobody else acquires it. It ends when its owner releases it, or when
///   its period has passed without a renewal.
/// - Only the owner's token renews or releases. A token of a lease that has ended does neither.
/// - Whoever waits is woken soon after a release, not only when it looks again.
///
/// # Cancel safety
///
/// A dropped [`acquire`](Self::acquire) may have taken the lease, which then ends with its period.
/// Dropped waits, renewals and releases harm nothing.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync + 'static {
    /// Takes the lease of `key` for `period`; nothing when somebody has it.
    ///
    /// # Errors
    ///
    /// When the place cannot be reached.
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>>;

    /// Has the lease end `period` from now; false when it is not the owner's any more.
    ///
    /// # Errors
    ///
    /// When the place cannot be reached.
    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool>;

    /// Gives the lease up, and wakes those who wait for it. Nothing happens when it is not the
    /// owner's any more.
    ///
    /// # Errors
    ///
    /// When the place cannot be reached: the lease ends with its period.
    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()>;

    /// Waits until the lease of `key` is free, but not longer than `wait`.
    ///
    /// # Errors
    ///
    /// When the place cannot be reached.
    async fn wait(&self, key: &Key, wait: Duration) -> Result<()>;
}

/// What makes a lease its owner's: a random number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(u64);

impl LeaseToken {
    /// The token `number`, which its maker drew at random.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseToken({:016x})", self.0)
    }
}
