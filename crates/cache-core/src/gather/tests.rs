//! Calls that gather, with a carrier that is held until it is let go.

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

#[tokio::test]
async fn a_batch_that_fails_at_once_fails_nobody_else() {
    let gather = doubling(2);
    let first = gather.occupy();
    let mut rest: Vec<_> = [13, 1, 2, 3].map(|i| Box::pin(gather.ask(i))).into();
    for call in &mut rest {
        assert!(poll!(call).is_pending());
    }
    gather.go(100);
    join_all(first).await;
    let answers: Vec<_> = join_all(rest).await.into_iter().map(Result::ok).collect();
    assert_eq!(answers, [None, None, Some(4), Some(6)]);
}

#[tokio::test]
async fn a_batch_that_is_not_answered_holds_up_only_its_own_calls() {
    let gather = doubling(1);
    let mut first = gather.occupy();
    let mut later: Vec<_> = (1..=5).map(|i| Box::pin(gather.ask(i))).collect();
    for call in &mut later {
        assert!(poll!(call).is_pending());
    }
    // One of the two that travel is answered. The other one never is: nobody polls it, though its
    // turn has come.
    let stuck = first.pop().unwrap();
    gather.go(CARRIERS_MAX + later.len());
    first.pop().unwrap().await.unwrap();
    let answers: Vec<_> = join_all(later).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [2, 4, 6, 8, 10]);
    drop(stuck);
}

#[tokio::test]
async fn a_caller_that_leaves_its_batch_does_not_stop_it() {
    let gather = doubling(100);
    let first = gather.occupy();
    let (mut leaves, mut stays) = (Box::pin(gather.ask(1)), Box::pin(gather.ask(2)));
    assert!(poll!(&mut leaves).is_pending() && poll!(&mut stays).is_pending());
    gather.go(CARRIERS_MAX);
    join_all(first).await;
    while gather.0.carry.batches.lock().len() <= CARRIERS_MAX {
        tokio::task::yield_now().await;
    }
    drop(leaves);
    gather.go(1);
    assert_eq!(stays.await.unwrap(), 4);
    assert_eq!(gather.batches(), [[1, 2]]);
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
