//! What every tier promises, as tests over a harness.
#![expect(clippy::unwrap_used, reason = "a property is a test: what fails there is to panic")]

mod basics;
mod fences;
mod histories;
mod hostile;
pub mod leases;
pub mod log;
mod versions;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{suite::properties, unique_name};
use crate::{
    clock::{Clock, ManualClock},
    entry::{CodecId, Entry, Ttl, Version},
    key::{Key, Namespace},
    tier::{Lookup, Tier},
};

/// How the suite gets at the tier under test.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// A handle on the place under test: another one each time, as another process would have it,
    /// or the same where the tier is one process's own.
    async fn open(&self) -> Arc<dyn Tier>;

    /// The clock of the tier.
    fn clock(&self) -> &ManualClock;

    /// Puts `bytes` where the record of `key` is stored, behind the tier's back. Answers whether
    /// the tier stores bytes at all.
    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool;
}

/// What a property works with: two handles and a namespace of its own.
pub(crate) struct Ground<'h> {
    harness: &'h dyn Harness,
    tier: Arc<dyn Tier>,
    /// Another handle on the same place.
    other: Arc<dyn Tier>,
    namespace: Namespace,
}

impl<'h> Ground<'h> {
    async fn new(harness: &'h dyn Harness) -> Self {
        Self {
            harness,
            tier: harness.open().await,
            other: harness.open().await,
            namespace: fresh_namespace(),
        }
    }

    fn key(&self, text: &str) -> Key {
        self.namespace.key(text).expect("a test's key is valid")
    }

    fn advance(&self, span: Duration) {
        self.harness.clock().advance(span);
    }

    /// An entry that is fresh for a minute.
    fn entry(&self, payload: &str) -> Entry {
        self.entry_for(payload, Ttl::fresh(Duration::from_secs(60)))
    }

    fn entry_for(&self, payload: &str, ttl: Ttl) -> Entry {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Entry::new(payload, CodecId(3), self.harness.clock().now(), ttl)
    }

    fn versioned(&self, payload: &str, version: u64) -> Entry {
        self.entry(payload).with_version(Some(Version(version)))
    }

    async fn lookup(&self, key: &Key) -> Lookup {
        self.tier.get(key).await.expect("the tier answers")
    }

    /// The payload that a lookup finds.
    async fn read(&self, key: &Key) -> Option<String> {
        let entry = self.lookup(key).await.entry?;
        Some(String::from_utf8(entry.payload.to_vec()).expect("a test's payload is text"))
    }
}

fn fresh_namespace() -> Namespace {
    Namespace::new(&unique_name("conformance")).expect("a unique name is a valid namespace")
}

properties! {
    /// Makes every property of the conformance suite a test, over a
    /// [`Harness`](crate::testkit::Harness).
    conformance_tests in conformance over Harness;
    basics:
        a_missing_key_is_absent,
        what_is_put_is_got,
        payloads_of_every_size_come_back_exactly,
        a_put_replaces,
        a_removal_removes_that_key_only,
        an_entry_lives_until_its_deadline_and_not_longer,
        a_batch_answers_in_its_order,
        a_batch_acts_in_its_order,
        an_empty_batch_succeeds,
        a_batch_above_the_limit_is_refused,
        a_clear_empties_its_namespace_only,
        awkward_keys_are_kept_apart,
        another_handle_sees_the_same;
    fences:
        a_fill_is_stored_while_nothing_moves,
        a_fill_moves_nothing,
        a_fill_after_a_removal_is_refused,
        a_fill_after_an_insert_is_refused,
        a_fill_after_a_clear_is_refused,
        a_fill_after_an_insert_that_has_expired_is_refused,
        expiry_does_not_move_a_fence,
        a_fill_with_an_unread_fence_is_skipped,
        p1_no_stale_fill;
    versions:
        p2_newer_wins,
        a_removal_keeps_the_version,
        a_clear_forgets_versions,
        an_unversioned_put_replaces_any_version;
    hostile:
        p10_bytes_from_outside_are_not_trusted,
        a_payload_above_the_limit_is_refused_and_removes_the_old_one;
    histories:
        random_histories_agree_with_the_model;
}
