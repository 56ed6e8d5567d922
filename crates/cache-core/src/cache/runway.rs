//! Where one flight lands, and many wait for it.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::Mutex;

/// One value for many waiters, or the word that there will be none.
pub(super) struct Runway<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Open(Waiters),
    Landed(T),
    Abandoned,
}

/// Those to wake. A place is given back when its waiter is dropped, so there are never more than
/// waited at the same time.
#[derive(Default)]
struct Waiters {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// Waits for the landing: nothing where the runway was abandoned.
pub(super) struct Wait<T> {
    runway: Runway<T>,
    place: Option<usize>,
}

impl<T> Runway<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::Open(Waiters::default()))))
    }

    /// Hands `value` to all who wait and to all who will, unless it was landed or abandoned before.
    pub(super) fn land(&self, value: T) {
        self.end(State::Landed(value));
    }

    /// Tells all who wait that nothing will come, unless something has.
    pub(super) fn abandon(&self) {
        self.end(State::Abandoned);
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn wait(self) -> Wait<T> {
        Wait { runway: self, place: None }
    }

    fn end(&self, end: State<T>) {
        let mut state = self.0.lock();
        let State::Open(waiters) = &mut *state else { return };
        let wakers = mem::take(&mut waiters.wakers);
        *state = end;
        // Whoever is woken comes for this lock.
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<T: Clone> Future for Wait<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { runway, place } = self.get_mut();
        // Dropping a waker may end its task, and with it another wait: not under the lock.
        let _replaced = match &mut *runway.0.lock() {
            State::Open(waiters) => waiters.keep(place, context.waker()),
            State::Landed(value) => return Poll::Ready(Some(value.clone())),
            State::Abandoned => return Poll::Ready(None),
        };
        Poll::Pending
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        // As in `poll`, the waker outlives the lock.
        let _left = match &mut *self.runway.0.lock() {
            State::Open(waiters) => waiters.leave(place),
            State::Landed(_) | State::Abandoned => None,
        };
    }
}

impl Waiters {
    /// Remembers whom to wake, in the place that `place` names or in one that it will name.
    fn keep(&mut self, place: &mut Option<usize>, waker: &Waker) -> Option<Waker> {
        let index = *place.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.wakers.push(None);
                self.wakers.len() - 1
            })
        });
        let known = &mut self.wakers[index];
        match known {
            Some(known) if known.will_wake(waker) => None,
            _ => known.replace(waker.clone()),
        }
    }

    fn leave(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.wakers[place].take()
    }
}

impl<T> Clone for Runway<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Runway<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runway").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    #[tokio::test]
    async fn one_landing_answers_all_who_wait_and_all_who_come_late() {
        let runway = Runway::new();
        let waiting: Vec<_> = (0..1_000).map(|_| tokio::spawn(runway.clone().wait())).collect();
        tokio::task::yield_now().await;
        runway.land(7);
        assert!(join_all(waiting).await.into_iter().all(|answer| answer.unwrap() == Some(7)));
        assert_eq!(runway.wait().now_or_never(), Some(Some(7)));
    }

    #[test]
    fn the_first_end_counts() {
        let landed = Runway::new();
        landed.land(1);
        landed.land(2);
        landed.abandon();
        assert_eq!(landed.wait().now_or_never(), Some(Some(1)));
        let abandoned = Runway::new();
        abandoned.abandon();
        abandoned.land(1);
        assert_eq!(abandoned.wait().now_or_never(), Some(None));
    }

    #[test]
    fn the_places_of_those_who_left_are_taken_again() {
        let runway: Runway<()> = Runway::new();
        for _ in 0..100 {
            assert_eq!(runway.clone().wait().now_or_never(), None);
        }
        let State::Open(waiters) = &*runway.0.lock() else { panic!("nothing has landed") };
        assert_eq!((waiters.wakers.len(), waiters.free.len()), (1, 1));
        assert!(waiters.wakers[0].is_none());
    }
}
