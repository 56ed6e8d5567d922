//! Calls of the same moment travel together.
//!
//! A thousand tasks that each ask for one key would cost a thousand requests, each with its own
//! wake-ups and system calls at both ends, and that is what limits the throughput. Here the first
//! call goes at once, by itself. Those that come while it is on its way wait, and travel together
//! in the next batch. No call waits on a timer, and a lone caller pays nothing.

use std::{
    collections::VecDeque,
    fmt,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot};

use crate::error::{Error, ErrorKind, Result};

/// An error that took this long is told to those who waited meanwhile, too: a server that is away
/// would only keep them waiting as long again.
const SLOW: Duration = Duration::from_millis(20);

/// What asks for a whole batch.
pub trait Carry: Send + Sync + 'static {
    /// A call.
    type Ask: Send + 'static;
    /// Its answer.
    type Answer: Send + 'static;

    /// How many bytes travel for this call, roughly, there or back.
    fn weigh(&self, ask: &Self::Ask) -> usize;

    /// Asks for `asks`, and answers in their order.
    ///
    /// # Errors
    ///
    /// Whatever befell the whole batch: it is told to each of its callers.
    ///
    /// # Cancel safety
    ///
    /// A batch of one is carried by its caller, and dropped with it. An implementation whose
    /// connection must not be left in mid-answer puts its work on a task of its own.
    fn carry(&self, asks: Vec<Self::Ask>)
    -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// How much travels at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Batches that are on their way at the same time: while one is answered, the next is sent.
    pub carriers: usize,
    /// The most calls in one batch.
    pub calls: usize,
    /// After this many bytes a batch takes no further call.
    pub bytes: usize,
}

/// Where calls gather. For tiers whose backend answers many keys as fast as one.
pub struct Gather<C: Carry>(Arc<Shared<C>>);

struct Shared<C: Carry> {
    carry: C,
    limits: Limits,
    state: Mutex<State<C>>,
}

struct State<C: Carry> {
    waiting: VecDeque<Waiting<C>>,
    carriers: usize,
}

struct Waiting<C: Carry> {
    ask: C::Ask,
    answer: oneshot::Sender<Result<C::Answer>>,
}

impl<C: Carry> Gather<C> {
    /// Has `carry` ask for what gathers, within `limits`.
    #[must_use]
    pub fn new(carry: C, limits: Limits) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), carriers: 0 });
        Self(Arc::new(Shared { carry, limits, state }))
    }

    /// Asks, alone or together with others.
    ///
    /// # Errors
    ///
    /// That of a whole batch; or of an earlier one, where that took long.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped before it travels does not; later it makes no difference.
    pub async fn ask(&self, ask: C::Ask) -> Result<C::Answer> {
        let answered = {
            let mut state = self.0.state.lock();
            if state.carriers < self.0.limits.carriers && state.waiting.is_empty() {
                state.carriers += 1;
                Err(ask)
            } else {
                let (answer, answered) = oneshot::channel();
                state.waiting.push_back(Waiting { ask, answer });
                Ok(answered)
            }
        };
        match answered {
            Ok(answered) => answered.await.unwrap_or_else(|_| Err(shut_down())),
            Err(ask) => {
                // Whoever waits by then is carried on, even when this call fails or is dropped.
                let _turn = Turn(&self.0);
                self.0.carry.carry(vec![ask]).await?.pop().ok_or_else(unanswered)
            }
        }
    }
}

/// A carrier's place, while a caller is its own carrier.
struct Turn<'a, C: Carry>(&'a Arc<Shared<C>>);

impl<C: Carry> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        let runtime = Handle::try_current();
        let mut state = self.0.state.lock();
        match runtime {
            // The place is handed on as it is.
            Ok(runtime) if !state.waiting.is_empty() => {
                drop(state);
                let carrier = Carrier { shared: Arc::clone(self.0), is_done: false };
                runtime.spawn(carrier.run());
            }
            // Under the same lock, so that whoever comes after this finds the place free. Without a
            // runtime there is nobody to carry those who wait: they are told.
            _ => {
                state.carriers -= 1;
                state.waiting.clear();
            }
        }
    }
}

/// A carrier's place, while a task carries those who wait.
struct Carrier<C: Carry> {
    shared: Arc<Shared<C>>,
    is_done: bool,
}

impl<C: Carry> Carrier<C> {
    async fn run(mut self) {
        while let Some(batch) = self.take() {
            let (asks, answers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|call| (call.ask, call.answer)).unzip();
            let started = Instant::now();
            // A panic must strand neither the calls of this batch nor those that wait.
            match AssertUnwindSafe(self.shared.carry.carry(asks)).catch_unwind().await {
                Ok(Ok(found)) => {
                    for (answer, found) in answers.into_iter().zip(found) {
                        // Whoever asked may have left.
                        let _ = answer.send(Ok(found));
                    }
                }
                Ok(Err(error)) => {
                    tell(answers, &error);
                    if started.elapsed() >= SLOW {
                        self.shared.give_up_waiting(&error);
                    }
                }
                Err(_) => tell(answers, &Error::new(ErrorKind::Internal, "a batch panicked")),
            }
        }
    }

    /// The calls of the next batch; nothing, and one carrier less, when none wait.
    fn take(&mut self) -> Option<Vec<Waiting<C>>> {
        let Shared { carry, limits, state } = &*self.shared;
        let mut state = state.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < limits.calls && bytes < limits.bytes {
            let Some(call) = state.waiting.pop_front() else { break };
            if !call.answer.is_closed() {
                bytes += carry.weigh(&call.ask);
                batch.push(call);
            }
        }
        if batch.is_empty() {
            // Under the lock, so that whoever comes after this finds the place free.
            state.carriers -= 1;
            self.is_done = true;
            return None;
        }
        Some(batch)
    }
}

impl<C: Carry> Drop for Carrier<C> {
    /// Leaves no place taken when the runtime shuts down, and nobody waiting.
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.shared.state.lock();
            state.carriers -= 1;
            state.waiting.clear();
        }
    }
}

impl<C: Carry> Shared<C> {
    /// Fails the calls that have not travelled, because of the `cause` of an earlier batch.
    fn give_up_waiting(&self, cause: &Error) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        // Another error, since these calls have certainly not happened.
        let error = Error::new(cause.kind(), format!("not sent, after a call before it: {cause}"));
        tell(waiting.into_iter().map(|waiting| waiting.answer), &error);
    }
}

fn tell<A>(answers: impl IntoIterator<Item = oneshot::Sender<Result<A>>>, error: &Error) {
    for answer in answers {
        // Whoever asked may have left.
        let _ = answer.send(Err(error.clone()));
    }
}

fn shut_down() -> Error {
    let message = "the runtime that carried the call shut down before the answer came";
    Error::new(ErrorKind::Unavailable, message).indeterminate()
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Internal, "a batch had fewer answers than calls")
}

impl<C: Carry> fmt::Debug for Gather<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::{future::join_all, poll};
    use tokio::sync::Semaphore;

    use super::*;

    const CARRIERS_MAX: usize = 2;

    /// Doubles numbers, one batch for each permit. Fails 13 and panics at 14.
    struct Double {
        go: Semaphore,
        batches: Mutex<Vec<Vec<usize>>>,
    }

    impl Carry for Double {
        type Ask = usize;
        type Answer = usize;

        fn weigh(&self, ask: &usize) -> usize {
            *ask
        }

        async fn carry(&self, asks: Vec<usize>) -> Result<Vec<usize>> {
            self.batches.lock().push(asks.clone());
            self.go.acquire().await.unwrap().forget();
            assert!(!asks.contains(&14), "an unlucky number");
            if asks.contains(&13) {
                return Err(Error::new(ErrorKind::Timeout, "no answer").indeterminate());
            }
            Ok(asks.into_iter().map(|ask| 2 * ask).collect())
        }
    }

    fn doubling(calls: usize) -> Gather<Double> {
        let double = Double { go: Semaphore::new(0), batches: Mutex::default() };
        Gather::new(double, Limits { carriers: CARRIERS_MAX, calls, bytes: 1_000 })
    }

    impl Gather<Double> {
        /// Sends as many calls as travel by themselves.
        fn occupy(&self) -> Vec<std::pin::Pin<Box<dyn Future<Output = Result<usize>> + '_>>> {
            let mut calls: Vec<_> = (0..CARRIERS_MAX).map(|_| self.ask(0).boxed_local()).collect();
            for call in &mut calls {
                assert!(call.as_mut().now_or_never().is_none());
            }
            calls
        }

        fn batches(&self) -> Vec<Vec<usize>> {
            self.0.carry.batches.lock().split_off(CARRIERS_MAX)
        }

        fn go(&self, batches: usize) {
            self.0.carry.go.add_permits(batches);
        }
    }

    #[tokio::test]
    async fn a_lone_call_goes_at_once() {
        let gather = doubling(10);
        gather.go(1);
        assert_eq!(gather.ask(2).now_or_never().unwrap().unwrap(), 4);
    }

    #[tokio::test]
    async fn what_comes_while_batches_are_on_their_way_travels_in_the_next() {
        let gather = doubling(3);
        let first = gather.occupy();
        let mut rest: Vec<_> = (1..=7).map(|i| Box::pin(gather.ask(i))).collect();
        for call in &mut rest {
            assert!(poll!(call).is_pending());
        }
        gather.go(100);
        join_all(first).await;
        let answers: Vec<_> = join_all(rest).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(gather.batches(), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    }

    #[tokio::test]
    async fn a_batch_ends_where_it_gets_heavy() {
        let gather = doubling(100);
        let first = gather.occupy();
        let mut rest: Vec<_> = [600, 601, 1].map(|i| Box::pin(gather.ask(i))).into();
        for call in &mut rest {
            assert!(poll!(call).is_pending());
        }
        gather.go(100);
        join_all(first).await;
        join_all(rest).await;
        assert_eq!(gather.batches(), [vec![600, 601], vec![1]]);
    }

    #[tokio::test]
    async fn a_dropped_call_strands_nobody_and_does_not_travel() {
        let gather = doubling(100);
        let first = gather.occupy();
        let mut dropped = Box::pin(gather.ask(1));
        let mut kept = Box::pin(gather.ask(2));
        assert!(poll!(&mut dropped).is_pending() && poll!(&mut kept).is_pending());
        drop(dropped);
        drop(first);
        gather.go(1);
        assert_eq!(kept.await.unwrap(), 4);
        assert_eq!(gather.batches(), [[2]]);
        gather.go(1);
        assert_eq!(gather.ask(3).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_batch_only() {
        let gather = doubling(1);
        let first = gather.occupy();
        let mut rest: Vec<_> = [14, 4].map(|i| Box::pin(gather.ask(i))).into();
        for call in &mut rest {
            assert!(poll!(call).is_pending());
        }
        gather.go(100);
        join_all(first).await;
        let answers = join_all(rest).await;
        assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(*answers[1].as_ref().unwrap(), 8);
    }

    /// Carries at once, so that carriers come and go all the time.
    struct Echo;

    impl Carry for Echo {
        type Ask = usize;
        type Answer = usize;

        fn weigh(&self, _ask: &usize) -> usize {
            1
        }

        async fn carry(&self, asks: Vec<usize>) -> Result<Vec<usize>> {
            Ok(asks)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_call_is_lost_where_a_carrier_leaves() {
        let limits = Limits { carriers: 1, calls: 10, bytes: 1_000 };
        let gather = Arc::new(Gather::new(Echo, limits));
        let callers = (0..4).map(|_| {
            let gather = Arc::clone(&gather);
            tokio::spawn(async move {
                for i in 0..200_000 {
                    assert_eq!(gather.ask(i).await.unwrap(), i);
                }
            })
        });
        for caller in join_all(callers).await {
            caller.unwrap();
        }
    }

    #[test]
    fn a_runtime_that_shuts_down_takes_no_place_with_it() {
        let gather = doubling(1);
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime();
        let mut waiting: Vec<_> = (1..=3).map(|i| gather.ask(i).boxed()).collect();
        first.block_on(async {
            let leaders = gather.occupy();
            for call in &mut waiting {
                assert!(poll!(call).is_pending());
            }
            gather.go(CARRIERS_MAX);
            join_all(leaders).await;
            while gather.0.carry.batches.lock().len() < 2 * CARRIERS_MAX {
                tokio::task::yield_now().await;
            }
        });
        drop(first);
        gather.go(10);
        runtime().block_on(async {
            for call in waiting {
                assert_eq!(call.await.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            let more = join_all((0..10).map(|i| gather.ask(i))).await;
            assert!(more.iter().all(Result::is_ok));
        });
    }

    #[tokio::test]
    async fn an_error_that_took_long_spares_the_others_the_same_wait() {
        let gather = doubling(1);
        let first = gather.occupy();
        let mut slow = Box::pin(gather.ask(13));
        assert!(poll!(&mut slow).is_pending());
        gather.go(CARRIERS_MAX);
        join_all(first).await;
        // The batch of 13 is on its way once a carrier has taken it, and so is that of 1.
        let mut next = Box::pin(gather.ask(1));
        let mut waiting = Box::pin(gather.ask(2));
        assert!(poll!(&mut next).is_pending());
        while gather.0.carry.batches.lock().len() < CARRIERS_MAX + 2 {
            tokio::task::yield_now().await;
        }
        assert!(poll!(&mut waiting).is_pending());
        tokio::time::sleep(SLOW).await;
        gather.go(1);
        assert!(slow.await.unwrap_err().may_have_happened());
        let error = waiting.await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_happened()), (ErrorKind::Timeout, false));
        gather.go(1);
        assert_eq!(next.await.unwrap(), 2);
    }
}
