//! The tiers that failed during one operation of a stack, as one error.

use std::sync::Arc;

use crate::{
    error::{Error, Result},
    tier::Tier,
};

#[derive(Default)]
pub(super) struct Faults(Vec<(Arc<str>, Error)>);

impl Faults {
    pub(super) fn note(&mut self, tier: &Arc<dyn Tier>, error: Error) {
        tracing::debug!(tier = %tier.info().name, %error, "tier failed");
        self.0.push((Arc::clone(&tier.info().name), error));
    }

    pub(super) fn note_result(&mut self, tier: &Arc<dyn Tier>, result: Result<()>) {
        if let Err(error) = result {
            self.note(tier, error);
        }
    }

    /// Fails when all `tiers` did.
    pub(super) fn fail_if_all(&mut self, tiers: usize, operation: &str) -> Result<()> {
        if self.0.len() < tiers {
            return Ok(());
        }
        std::mem::take(self).into_result(operation)
    }

    /// Fails when any tier did. The kind is that of the first, the others are named with it.
    pub(super) fn into_result(self, operation: &str) -> Result<()> {
        let Some((_, first)) = self.0.first() else { return Ok(()) };
        let each: Vec<String> =
            self.0.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        let message = format!("{operation} failed in {}", each.join(", and in "));
        Err(Error::new(first.kind(), message).caused_by(first.clone()))
    }
}
