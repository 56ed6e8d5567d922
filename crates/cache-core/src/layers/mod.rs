//! Wrappers: a tier in, a tier out.

mod breaker;
mod call;
mod circuit;
#[cfg(feature = "compression")]
pub(crate) mod compress;
mod guard;
mod jitter;
mod limit;
mod observe;
mod patience;
mod pulse;
mod retry;
mod timeout;

use std::sync::Arc;

pub use breaker::{Breaker, BreakerConfig, BreakerState, breaker};
#[cfg(feature = "compression")]
pub use compress::{Compression, CompressionAlgorithm, compress};
pub use guard::{Guard, Guarded, guard};
pub use limit::{CallLimit, limit};
pub use observe::Observed;
pub(crate) use observe::uncounted;
pub use patience::patience;
pub use retry::{RetryConfig, retry};
pub use timeout::timeout;

use crate::tier::Tier;

/// Wraps a tier in another one. A closure is a layer.
///
/// # Order
///
/// A tier that is wrapped later is outside, and its time contains the inner ones'. A timeout
/// around a retry bounds all tries together; a retry around a timeout bounds each.
pub trait Layer: Send + Sync {
    /// The wrapped tier.
    fn wrap(&self, tier: Arc<dyn Tier>) -> Arc<dyn Tier>;
}

impl<F: Fn(Arc<dyn Tier>) -> Arc<dyn Tier> + Send + Sync> Layer for F {
    fn wrap(&self, tier: Arc<dyn Tier>) -> Arc<dyn Tier> {
        self(tier)
    }
}
