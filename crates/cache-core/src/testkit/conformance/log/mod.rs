//! What every log promises, as tests over a harness.

mod notices;
mod reading;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::{Harness, properties, unique_name};
use crate::{
    bus::{Change, Log, Notice, Page, Position},
    key::{Key, Namespace},
    tier::TierExt,
};

/// How long the suite waits for something that must come. Only what fails ever takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the suite gets at the log under test, which is that of the tiers that
/// [`open`](Harness::open) answers.
#[async_trait]
pub trait LogHarness: Harness {
    /// Has the log forget everything up to `position`, as if it had become too long. Answers
    /// whether it can.
    async fn trim(&self, position: &Position) -> bool;

    /// Has the place lose all its data, the log's too. Answers whether it can.
    async fn lose(&self) -> bool;
}

/// What a property works with: what one of the tier suite does, and the logs of both handles.
pub(crate) struct Ground<'h> {
    base: super::Ground<'h>,
    harness: &'h dyn LogHarness,
    log: Arc<dyn Log>,
    other: Arc<dyn Log>,
}

impl<'h> Ground<'h> {
    async fn new(harness: &'h dyn LogHarness) -> Self {
        let base = super::Ground::new(harness).await;
        let log = base.tier.log().expect("the tier under test has a log");
        let other = base.other.log().expect("the tier under test has a log");
        Self { base, harness, log, other }
    }

    fn key(&self, text: &str) -> Key {
        self.base.key(text)
    }

    /// Removes a key, again where the first call is told of a loss of data.
    async fn remove(&self, key: Key) {
        let began = Instant::now();
        while let Err(error) = self.base.tier.remove(key.clone()).await {
            assert!(error.is_retryable() && began.elapsed() < PATIENCE, "{error}");
        }
    }

    /// A reader of `log` that begins at its present end.
    async fn reader<'g>(&'g self, log: &'g Arc<dyn Log>) -> Reader<'g> {
        let at = log.end().await.expect("the log answers");
        self.reader_at(log, at)
    }

    fn reader_at<'g>(&'g self, log: &'g Arc<dyn Log>, at: Position) -> Reader<'g> {
        Reader { ground: self, log, at, gaps: 0 }
    }
}

/// Reads on, and keeps what is of the property's own namespace: others may use the log too.
struct Reader<'g> {
    ground: &'g Ground<'g>,
    log: &'g Arc<dyn Log>,
    at: Position,
    /// How often it was told of a gap.
    gaps: usize,
}

impl Reader<'_> {
    /// Reads on from where it stands, again where a first call is told of a loss of data.
    async fn page(&mut self, wait: Duration) -> Page {
        let began = Instant::now();
        let page = loop {
            let read = timeout(PATIENCE, self.log.read(&self.at, wait)).await;
            match read.expect("a read comes back soon after its wait") {
                Ok(page) => break page,
                Err(error) if error.is_retryable() && began.elapsed() < PATIENCE => {}
                Err(error) => panic!("the log does not answer: {error}"),
            }
        };
        self.at = page.next.clone();
        self.gaps += usize::from(page.gap);
        page
    }

    /// The next notices that are the property's own: at least `len` of them.
    async fn take(&mut self, len: usize) -> Vec<Notice> {
        let began = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < len {
            assert!(began.elapsed() < PATIENCE, "{} of {len} notices came", taken.len());
            let page = self.page(Duration::from_secs(1)).await;
            let own = page.notices.into_iter().filter(|notice| self.is_own(notice));
            taken.extend(own);
        }
        taken
    }

    /// All notices of changes that were acknowledged by now: those before a removal that this makes.
    async fn rest(&mut self) -> Vec<Notice> {
        let sentinel = self.ground.key(&unique_name("sentinel"));
        let told = Change::Key(sentinel.clone());
        self.ground.remove(sentinel).await;
        let mut rest = Vec::new();
        loop {
            rest.extend(self.take(1).await);
            if let Some(at) = rest.iter().position(|notice| notice.change == told) {
                let after = rest.split_off(at);
                assert_eq!(after.len(), 1, "what came after the last change: {after:?}");
                return rest;
            }
        }
    }

    fn is_own(&self, notice: &Notice) -> bool {
        let own = |name: &str| name.starts_with(self.ground.base.namespace.as_str());
        match &notice.change {
            Change::Key(key) => own(key.namespace()),
            Change::Clear(namespace) => own(namespace.as_str()),
            Change::Beat => false,
        }
    }
}

/// A namespace beside the property's own, whose notices are read too.
fn beside(namespace: &Namespace) -> Namespace {
    Namespace::new(&format!("{namespace}-beside")).expect("a longer name is still short enough")
}

properties! {
    /// Makes every property of logs a test, over a [`LogHarness`](crate::testkit::LogHarness).
    log_conformance_tests in log_conformance over LogHarness;
    notices:
        a_removal_is_told_with_its_fence,
        a_removal_of_a_missing_key_is_told,
        an_insert_is_told_with_its_fence_and_its_digest,
        an_oversized_insert_is_told_as_a_removal,
        a_clear_is_told_with_its_floor,
        a_fill_is_not_told,
        a_superseded_insert_is_not_told,
        a_batch_is_told_and_no_key_twice,
        changes_of_several_namespaces_are_told,
        notices_of_one_key_come_in_the_order_of_their_marks,
        concurrent_removals_are_all_told_once;
    reading:
        a_reader_at_the_end_sees_later_changes_only,
        reading_on_loses_and_repeats_nothing,
        two_readers_are_independent,
        a_waiting_reader_is_woken_by_another_handles_change,
        an_empty_wait_answers_an_empty_page,
        a_dropped_read_loses_nothing,
        a_beat_is_told,
        an_unknown_position_is_a_gap_once,
        a_trimmed_log_tells_of_a_gap,
        a_log_that_lost_its_data_tells_of_a_gap;
}
