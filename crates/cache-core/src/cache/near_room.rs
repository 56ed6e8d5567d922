//! The room of a near tier, in the hands of who watches the memory.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;

use super::{Cache, shared::Shared};
use crate::{error::Result, pressure::Shrink};

/// The near tier of one cache, which is not kept alive by it.
pub(super) struct NearRoom<V>(pub(super) Weak<Shared<V>>);

impl<V: Send + Sync + 'static> Cache<V> {
    /// What makes this cache's near tier smaller for a while, for who watches the memory of the
    /// process. Without a near tier, or once the cache is gone, it has nothing to do.
    #[must_use]
    pub fn near_room(&self) -> Arc<dyn Shrink> {
        Arc::new(NearRoom(Arc::downgrade(&self.0)))
    }
}

#[async_trait]
impl<V: Send + Sync + 'static> Shrink for NearRoom<V> {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        let shared = self.0.upgrade();
        let near = shared.as_ref().and_then(|shared| shared.near.as_ref());
        Ok(near.map_or(0, |near| near.shrink_to(fraction)))
    }
}

impl<V> fmt::Debug for NearRoom<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NearRoom").finish()
    }
}
