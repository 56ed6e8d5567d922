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
            // Boxed, as this is a large future that each call which waits would pay for, too.
            Err(ask) => Box::pin(self.0.carry_alone(ask)).await,
        }
    }
}

impl<C: Carry> Shared<C> {
    async fn carry_alone(self: &Arc<Self>, ask: C::Ask) -> Result<C::Answer> {
        // Whoever waits by then is carried on, even when this call fails or is dropped.
        let _turn = Turn(self);
        self.carry.carry(vec![ask]).await?.pop().ok_or_else(unanswered)
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
mod tests;
