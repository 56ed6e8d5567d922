//! Calls that come to their end whether or not their callers wait for it.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use cache_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use tokio::runtime::Handle;

type Ended<T> = Result<Result<T>, Box<dyn Any + Send>>;

/// Carries a call out to its end, so that its connection goes back without an answer pending on it:
/// when whoever waits for it is dropped after its beginning, a task goes on with it.
///
/// Not a task from the beginning on: that would be woken for the answer, and then wake its caller.
pub(crate) fn to_its_end<T: Send + 'static>(
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> ToItsEnd<T> {
    ToItsEnd { call: Some(AssertUnwindSafe(call).catch_unwind().boxed()), has_begun: false }
}

pub(crate) struct ToItsEnd<T: Send + 'static> {
    /// Nothing once it has ended.
    call: Option<Pin<Box<dyn Future<Output = Ended<T>> + Send>>>,
    has_begun: bool,
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.has_begun = true;
        let call = self.call.as_mut().expect("a future is not polled after its end");
        let ended = ready!(call.as_mut().poll(context));
        self.call = None;
        Poll::Ready(ended.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "a call to PostgreSQL panicked"))
        }))
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        let Some(call) = self.call.take().filter(|_| self.has_begun) else { return };
        // Without a runtime there is no connection that could be used again.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::poll;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_call_whose_caller_leaves_comes_to_its_end() {
        let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut call = to_its_end({
            let (go, gone) = (Arc::clone(&go), Arc::clone(&gone));
            async move {
                go.notified().await;
                gone.notify_one();
                Ok(())
            }
        });
        assert!(poll!(&mut call).is_pending());
        drop(call);
        go.notify_one();
        gone.notified().await;
    }

    #[tokio::test]
    async fn a_call_that_never_began_does_not_begin() {
        let begun = Arc::new(());
        let call = to_its_end({
            let begun = Arc::clone(&begun);
            async move {
                drop(begun);
                Ok(())
            }
        });
        drop(call);
        assert_eq!(Arc::strong_count(&begun), 1, "it was dropped, not handed on");
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_caller() {
        let error = to_its_end::<()>(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
