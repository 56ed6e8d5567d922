//! What all leases promise, as tests over a harness.

mod holding;
mod waiting;

use std::{sync::Arc, time::Duration};

use super::{Harness, properties};
use crate::{
    key::Key,
    lease::{LeaseToken, Leases},
};

/// How long the suite waits for something that must come. Only what fails ever takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A period that does not end while a property is checked.
const LONG: Duration = Duration::from_secs(600);

/// What a property works with: what one of the tier suite does, and the leases of both handles.
pub(crate) struct Ground<'h> {
    base: super::Ground<'h>,
    leases: Arc<dyn Leases>,
    other: Arc<dyn Leases>,
}

impl<'h> Ground<'h> {
    async fn new(harness: &'h dyn Harness) -> Self {
        let base = super::Ground::new(harness).await;
        let leases = base.tier.leases().expect("the tier under test gives leases");
        let other = base.other.leases().expect("the tier under test gives leases");
        Self { base, leases, other }
    }

    fn key(&self, text: &str) -> Key {
        self.base.key(text)
    }

    /// Takes a lease that must be free.
    async fn acquire(&self, key: &Key, period: Duration) -> LeaseToken {
        let lease = self.leases.acquire(key, period).await.expect("the place answers");
        lease.expect("nobody has the lease")
    }

    /// Whether the lease of `key` is held, as the other handle sees it. Takes it when it is not.
    async fn is_held(&self, key: &Key) -> bool {
        self.other.acquire(key, LONG).await.expect("the place answers").is_none()
    }

    /// Lets `span` pass, for those who count by the harness's clock and for those who count by the
    /// real one.
    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
        self.base.advance(span);
    }
}

properties! {
    /// Makes every property of leases a test, over a [`Harness`](crate::testkit::Harness).
    lease_conformance_tests in lease_conformance over Harness;
    holding:
        one_of_many_gets_the_lease,
        a_lease_ends_with_its_period,
        a_renewal_keeps_the_lease,
        a_renewal_may_shorten_the_lease,
        a_release_frees_the_lease,
        a_foreign_token_neither_renews_nor_releases,
        the_token_of_an_ended_lease_does_nothing,
        leases_of_different_keys_are_independent,
        a_lease_changes_nothing_of_its_key;
    waiting:
        a_waiter_is_woken_by_a_release,
        many_waiters_are_woken_by_a_release,
        a_waiter_is_woken_when_the_period_ends,
        a_wait_without_a_lease_returns_at_once,
        a_wait_ends_when_its_time_is_up,
        dropped_waiters_harm_nothing;
}
