//! Has a cache's tiers compared while it works.

use std::sync::{Arc, Weak};

use super::{Cache, shared::Shared};
use crate::{
    audit::{AuditConfig, Auditing, Auditor},
    entry::Version,
    error::Result,
    key::Key,
    tier::Tier,
};

impl<V: Send + Sync + 'static> Cache<V> {
    /// Begins to compare, once a second, what the near tier and every other tier hold of a few keys
    /// that were read or changed lately. What is found is in [`stats`](Self::stats), and each wrong
    /// copy is an event. Ends when the answer is dropped, or when another audit begins.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn audit(&self, config: AuditConfig) -> Auditing {
        self.begin_audit(self.auditor(config))
    }

    /// As [`audit`](Self::audit), and asks `version` for the source's version of each of the keys
    /// too; nothing where the source does not have or does not know it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn audit_against<F, Fut>(&self, config: AuditConfig, version: F) -> Auditing
    where
        F: Fn(Key) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Version>>> + Send + 'static,
    {
        self.begin_audit(self.auditor(config).with_source(version))
    }

    fn auditor(&self, config: AuditConfig) -> Auditor {
        let shared = &self.0;
        let tiers: Vec<Arc<dyn Tier>> =
            shared.observed.iter().map(|tier| Arc::clone(tier.unobserved())).collect();
        let auditor = Auditor::new(tiers, Arc::clone(&shared.clock), config, shared.events.clone());
        let near: Weak<Shared<V>> = Arc::downgrade(shared);
        auditor.with_near(move |key| near.upgrade()?.near_any(key)?.held())
    }

    fn begin_audit(&self, auditor: Auditor) -> Auditing {
        let auditing = auditor.spawn();
        *self.0.auditor.write() = Some(auditor);
        auditing
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Has a key that was read looked at, if there is an audit. Asked for a sample of the reads.
    pub(super) fn note_sampled_read(&self, text: &str) {
        let Some(auditor) = &*self.auditor.read() else { return };
        if let Ok(key) = self.namespace.key(text) {
            auditor.note_read(&key);
        }
    }

    /// Has a key that was removed looked at, if there is an audit.
    pub(super) fn note_removed(&self, key: &Key) {
        if let Some(auditor) = &*self.auditor.read() {
            auditor.note_invalidated(key);
        }
    }
}
