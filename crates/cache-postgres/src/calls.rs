//! Who may call, and what becomes of a call whose caller leaves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cache_core::{Carry, Error, ErrorKind, Gather, Result};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::timeout,
};

use crate::{connection::closed, ending::to_its_end, listener::Listener, store::Store};

/// Calls that may wait at the same time. More is a sign that nothing comes back.
const CALLS_MAX: u32 = 1 << 16;

/// How long [`Calls::close`] waits for calls that were accepted.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The way to the store, for the tier, its log and its leases.
pub(crate) struct Calls {
    pub(crate) store: Arc<Store>,
    pub(crate) listener: Arc<Listener>,
    /// The tier's name, for errors.
    pub(crate) name: Arc<str>,
    /// One permit for each call that is not answered yet.
    permits: Arc<Semaphore>,
    is_closing: AtomicBool,
}

impl Calls {
    pub(crate) fn new(store: Arc<Store>, name: &str) -> Self {
        Self {
            listener: Listener::new(store.connections.setup()),
            store,
            name: name.into(),
            permits: Arc::new(Semaphore::new(CALLS_MAX as usize)),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Carries a call out [to its end](to_its_end), whether or not its caller waits for it.
    pub(crate) async fn detached<T, F>(
        &self,
        operation: &str,
        call: impl FnOnce(Arc<Store>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self.admit()?;
        let call = call(Arc::clone(&self.store));
        let done = to_its_end(async move {
            let done = call.await;
            drop(permit);
            done
        });
        self.named(operation, done.await)
    }

    /// Runs a call of one key together with those of the same moment.
    pub(crate) async fn gathered<C: Carry>(
        &self,
        operation: &str,
        gather: &Gather<C>,
        ask: C::Ask,
    ) -> Result<C::Answer> {
        let _permit = self.admit()?;
        self.named(operation, gather.ask(ask).await)
    }

    /// Lets nobody in any more, and waits for those who are.
    pub(crate) async fn close(&self) -> Result<()> {
        self.is_closing.store(true, Ordering::Release);
        self.listener.close();
        let finished = timeout(CLOSE_WITHIN, self.permits.acquire_many(CALLS_MAX)).await;
        let unanswered = CALLS_MAX as usize - self.permits.available_permits();
        self.permits.close();
        self.store.connections.close();
        match finished {
            // An error: it was closed before.
            Ok(Ok(_) | Err(AcquireError { .. })) => Ok(()),
            Err(_) => {
                let message =
                    format!("{unanswered} calls were not answered within {CLOSE_WITHIN:?}");
                self.named("close", Err(Error::new(ErrorKind::Timeout, message)))
            }
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(closed());
        }
        Arc::clone(&self.permits).try_acquire_owned().map_err(|e| match e {
            // A close that waits takes the permits too.
            TryAcquireError::NoPermits if !self.is_closing.load(Ordering::Acquire) => {
                let message = format!("{CALLS_MAX} calls wait for PostgreSQL already");
                Error::new(ErrorKind::Unavailable, message)
                    .hint("limit the concurrency above, or raise `pool_size`")
            }
            TryAcquireError::NoPermits | TryAcquireError::Closed => closed(),
        })
    }

    fn named<T>(&self, operation: &str, done: Result<T>) -> Result<T> {
        done.map_err(|e| e.context(format!("{operation} in {}", self.name)))
    }
}
