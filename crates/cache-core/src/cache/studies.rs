//! Who hears of reads to learn from them: the access log and the live curve.

use super::{
    hit::{Hit, Origin},
    shared::Shared,
};
use crate::{
    access_log::{AccessLog, AccessOutcome, AccessRead},
    key::Namespace,
};

/// Those who study a cache's reads. Where there is none, a read pays for looking whether there is.
#[derive(Debug)]
pub(super) struct Studies {
    log: Option<AccessLog>,
}

impl Studies {
    pub(super) const fn new(log: Option<AccessLog>) -> Self {
        Self { log }
    }

    /// Notes a read that the near tier has answered, by a value or by the word that there is none.
    #[inline]
    pub(super) fn note_near<V>(&self, namespace: &Namespace, text: &str, hit: Option<&Hit<V>>) {
        if let Some(log) = &self.log {
            log.note(namespace, text, || access(hit, AccessOutcome::Near));
        }
    }

    /// Notes a read that went further.
    fn note<V>(&self, namespace: &Namespace, text: &str, hit: Option<&Hit<V>>) {
        let outcome = match hit.map(Hit::origin) {
            Some(Origin::Near) => AccessOutcome::Near,
            Some(Origin::Tier { .. }) => AccessOutcome::Tier,
            Some(Origin::Load) => AccessOutcome::Load,
            None => AccessOutcome::Nothing,
        };
        if let Some(log) = &self.log {
            log.note(namespace, text, || access(hit, outcome));
        }
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Counts and notes an answer that did not come from the near tier's fast path.
    pub(super) fn answered(&self, text: &str, hit: Option<&Hit<V>>) {
        self.metrics.answered(hit);
        self.studies.note(&self.namespace, text, hit);
    }
}

fn access<V>(hit: Option<&Hit<V>>, outcome: AccessOutcome) -> AccessRead {
    let ttl = |hit: &Hit<V>| hit.age_ms.saturating_add_signed(hit.fresh_for_ms);
    AccessRead {
        outcome,
        size: hit.map_or(0, |hit| hit.weight),
        ttl_ms: hit.map_or(0, |hit| u32::try_from(ttl(hit)).unwrap_or(u32::MAX)),
        load_cost_us: hit.map_or(0, |hit| hit.load_cost_us),
    }
}
