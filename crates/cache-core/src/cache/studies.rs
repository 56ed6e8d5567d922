//! Who hears of reads to learn from them: the access log, the live curve and the tap.

use super::{
    hit::{Hit, Origin},
    shared::Shared,
    watch::Watches,
};
use crate::{
    access_log::{AccessLog, AccessOutcome, AccessRead},
    live_curve::{CurveStats, CurveTracker},
    read_tap::ReadTap,
};

/// Those who study a cache's reads. Where there is none, a read pays for looking whether there is.
#[derive(Debug)]
pub(super) struct Studies {
    log: Option<AccessLog>,
    curve: Option<CurveTracker>,
    tap: Option<ReadTap>,
    pub(super) watches: Watches,
}

impl Studies {
    pub(super) fn new(
        log: Option<AccessLog>,
        curve: Option<CurveTracker>,
        tap: Option<ReadTap>,
    ) -> Self {
        Self { log, curve, tap, watches: Watches::default() }
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Notes a read that the near tier has answered, by a value or by the word that there is none.
    #[inline]
    pub(super) fn note_near(&self, text: &str, hit: Option<&Hit<V>>) {
        let Studies { log, curve, tap, watches } = &self.studies;
        watches.note(text, hit.is_some());
        if let Some(log) = log {
            log.note(&self.namespace, text, || self.access(text, hit, AccessOutcome::Near));
        }
        if let Some(tap) = tap {
            tap.note(text, || self.access(text, hit, AccessOutcome::Near));
        }
        if let Some(curve) = curve {
            curve.note(text, || self.weight(text, hit), || self.metrics.reads());
        }
    }

    /// Counts and notes an answer that did not come from the near tier's fast path.
    pub(super) fn answered(&self, text: &str, hit: Option<&Hit<V>>) {
        self.metrics.answered(hit);
        let outcome = match hit.map(Hit::origin) {
            Some(Origin::Near) => AccessOutcome::Near,
            Some(Origin::Tier { .. }) => AccessOutcome::Tier,
            Some(Origin::Load) => AccessOutcome::Load,
            None => AccessOutcome::Nothing,
        };
        let Studies { log, curve, tap, watches } = &self.studies;
        watches.note(text, matches!(outcome, AccessOutcome::Near | AccessOutcome::Tier));
        if let Some(log) = log {
            log.note(&self.namespace, text, || self.access(text, hit, outcome));
        }
        if let Some(tap) = tap {
            tap.note(text, || self.access(text, hit, outcome));
        }
        if let Some(curve) = curve {
            curve.note(text, || self.weight(text, hit), || self.metrics.reads());
        }
    }

    /// What other sizes of the near tier would bring, where that is estimated.
    pub(super) fn curve(&self) -> Option<CurveStats> {
        let bytes_max = self.near.as_ref()?.usage().bytes_max?;
        Some(self.studies.curve.as_ref()?.stats(bytes_max, self.metrics.reads()))
    }

    fn access(&self, text: &str, hit: Option<&Hit<V>>, outcome: AccessOutcome) -> AccessRead {
        let ttl = |hit: &Hit<V>| hit.age_ms.saturating_add_signed(hit.fresh_for_ms);
        AccessRead {
            outcome,
            size: self.weight(text, hit),
            ttl_ms: hit.map_or(0, |hit| u32::try_from(ttl(hit)).unwrap_or(u32::MAX)),
            load_cost_us: hit.map_or(0, |hit| hit.load_cost_us),
        }
    }

    /// What the value that was read takes in a near tier; 0 where there is none. A hit of the near
    /// tier does not know, so that tier is asked, which may have lost the value since.
    fn weight(&self, text: &str, hit: Option<&Hit<V>>) -> u32 {
        match hit {
            Some(hit) if *hit.origin() == Origin::Near => {
                self.near.as_ref().and_then(|near| near.weight_of(text)).unwrap_or(0)
            }
            Some(hit) => hit.weight(),
            None => 0,
        }
    }
}
