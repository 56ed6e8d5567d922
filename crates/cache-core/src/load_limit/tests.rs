use std::pin::Pin;

use futures::{FutureExt, poll};
use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);
const FAST: Duration = Duration::from_millis(10);

fn fixed(limit: usize) -> LoadLimit {
    LoadLimit::new(LoadLimitConfig { min: limit, max: limit, start: limit, waiting_max: 8 })
}

fn adaptive() -> LoadLimit {
    LoadLimit::new(LoadLimitConfig { min: 2, max: 64, start: 16, waiting_max: 8 })
}

/// As many loads as may run, which all end so.
fn round(limit: &LoadLimit, took: Option<Duration>) {
    let permits: Vec<_> = std::iter::from_fn(|| limit.try_acquire(Priority::Miss)).collect();
    for permit in permits {
        match took {
            Some(took) => permit.succeeded(took),
            None => permit.failed(),
        }
    }
}

#[test]
fn it_grows_while_the_source_is_fast_and_never_above_its_maximum() {
    let limit = adaptive();
    round(&limit, Some(FAST));
    assert_eq!(limit.stats().limit, 20);
    for _ in 0..50 {
        round(&limit, Some(FAST));
    }
    assert_eq!(limit.stats().limit, 64);
}

#[test]
fn it_does_not_grow_while_nobody_needs_it() {
    let limit = adaptive();
    for _ in 0..1_000 {
        limit.try_acquire(Priority::Miss).expect("it is free").succeeded(FAST);
    }
    assert_eq!(limit.stats().limit, 16);
}

#[test]
fn it_shrinks_when_the_source_is_slow_and_once_a_round() {
    let limit = adaptive();
    round(&limit, Some(FAST));
    assert_eq!(limit.stats().limit, 20);
    round(&limit, Some(3 * FAST));
    assert_eq!(limit.stats().limit, 14);
}

#[test]
fn twenty_failures_of_one_round_shrink_it_once() {
    let limit = adaptive();
    round(&limit, None);
    assert_eq!(limit.stats().limit, 11);
}

#[test]
fn a_single_failure_among_many_loads_does_not_shrink_it() {
    let limit = adaptive();
    for _ in 0..100 {
        limit.try_acquire(Priority::Miss).expect("it is free").failed();
        for _ in 0..20 {
            limit.try_acquire(Priority::Miss).expect("it is free").succeeded(FAST);
        }
    }
    assert_eq!(limit.stats().limit, 16);
}

#[test]
fn an_outage_of_the_source_leaves_the_minimum_and_its_end_is_followed() {
    let limit = adaptive();
    for _ in 0..100 {
        round(&limit, None);
    }
    assert_eq!(limit.stats().limit, 2);
    for _ in 0..20 {
        round(&limit, Some(FAST));
    }
    assert_eq!(limit.stats().limit, 64);
}

#[test]
fn a_source_that_has_become_slower_for_good_is_the_new_normal() {
    let limit = adaptive();
    round(&limit, Some(FAST));
    for _ in 0..60 {
        round(&limit, Some(5 * FAST));
    }
    assert_eq!(limit.stats().limit, 64);
}

#[test]
fn refreshes_and_warming_leave_room_for_misses() {
    for (priority, expected) in [(Priority::Warm, 5), (Priority::Refresh, 8), (Priority::Miss, 10)]
    {
        let limit = fixed(10);
        let held: Vec<_> = std::iter::from_fn(|| limit.try_acquire(priority)).collect();
        assert_eq!(held.len(), expected, "{priority:?}");
        assert_eq!(limit.stats().shed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn misses_go_first_and_first_come_first_served_among_them() {
    let limit = fixed(1);
    let held = limit.try_acquire(Priority::Miss).expect("it is free");
    let mut waiting: Vec<_> = [Priority::Warm, Priority::Refresh, Priority::Miss, Priority::Miss]
        .map(|priority| Box::pin(limit.acquire(priority, PATIENCE)))
        .into();
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    drop(held);
    for expected in [2, 3, 1, 0] {
        let permit = waiting[expected].as_mut().now_or_never().expect("its turn has come");
        drop(permit.expect("and it goes"));
        assert_eq!(limit.stats().in_use, usize::from(expected != 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_patience_and_is_counted_as_shed() {
    let limit = fixed(1);
    let _held = limit.try_acquire(Priority::Miss).expect("it is free");
    let began = tokio::time::Instant::now();
    let error = limit.acquire(Priority::Miss, PATIENCE).await.expect_err("nobody goes");
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Overloaded, PATIENCE));
    let expected = LoadLimitStats { limit: 1, in_use: 1, waiting: 0, shed: 1 };
    assert_eq!(limit.stats(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_takes_nothing() {
    let limit = fixed(1);
    let held = limit.try_acquire(Priority::Miss).expect("it is free");
    // One leaves while it waits, one when the permit is on its way to it already.
    let mut early = Box::pin(limit.acquire(Priority::Miss, PATIENCE));
    let mut late = Box::pin(limit.acquire(Priority::Miss, PATIENCE));
    let mut third = Box::pin(limit.acquire(Priority::Miss, PATIENCE));
    assert!(poll!(&mut early).is_pending());
    assert!(poll!(&mut late).is_pending());
    assert!(poll!(&mut third).is_pending());
    drop(early);
    drop(held);
    drop(late);
    let permit = third.now_or_never().expect("it is its turn").expect("and it goes");
    drop(permit);
    assert_eq!(limit.stats(), LoadLimitStats { limit: 1, in_use: 0, waiting: 0, shed: 0 });
}

#[tokio::test(start_paused = true)]
async fn those_who_have_left_take_no_room_among_the_waiting() {
    let limit = fixed(1);
    let _held = limit.try_acquire(Priority::Miss).expect("it is free");
    for _ in 0..20 {
        let mut leaver = Box::pin(limit.acquire(Priority::Miss, PATIENCE));
        assert!(poll!(&mut leaver).is_pending());
    }
    let mut waiting: Vec<_> =
        (0..9).map(|_| Box::pin(limit.acquire(Priority::Miss, PATIENCE))).collect();
    let last = waiting.pop().expect("there are nine");
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    let ninth = last.now_or_never().expect("it does not wait");
    assert_eq!(ninth.map_err(|error| error.kind()).err(), Some(ErrorKind::Overloaded));
}

#[derive(Clone, Debug)]
enum Step {
    Try(Priority),
    Wait(Priority),
    Leave(usize),
    Succeed(usize, u64),
    Fail(usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let priority = || prop::sample::select(Priority::ALL.to_vec());
    let place = 0_usize..8;
    let step = prop_oneof![
        4 => priority().prop_map(Step::Try),
        4 => priority().prop_map(Step::Wait),
        1 => place.clone().prop_map(Step::Leave),
        4 => (place.clone(), 1_u64..100).prop_map(|(place, ms)| Step::Succeed(place, ms)),
        1 => place.clone().prop_map(Step::Fail),
        1 => place.prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..200)
}

type Wait<'l> = Pin<Box<dyn Future<Output = Result<LoadPermit>> + 'l>>;

/// Whoever has got a permit while it waited moves over to those who hold one.
async fn collect(waits: &mut Vec<Wait<'_>>, held: &mut Vec<LoadPermit>) {
    let mut place = 0;
    while place < waits.len() {
        match poll!(&mut waits[place]) {
            std::task::Poll::Pending => place += 1,
            std::task::Poll::Ready(result) => {
                held.extend(result.ok());
                drop(waits.remove(place));
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_never_above_its_maximum_never_stuck_and_loses_no_permit(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().expect("a runtime can be built");
        runtime.block_on(async {
            let config = LoadLimitConfig { min: 1, max: 6, start: 3, waiting_max: 4 };
            let limit = LoadLimit::new(config);
            let (mut held, mut waits) = (Vec::new(), Vec::<Wait<'_>>::new());
            for step in steps {
                let take = |held: &mut Vec<LoadPermit>, place: usize| {
                    (place < held.len()).then(|| held.remove(place))
                };
                match step {
                    Step::Try(priority) => held.extend(limit.try_acquire(priority)),
                    Step::Wait(priority) => waits.push(Box::pin(limit.acquire(priority, PATIENCE))),
                    Step::Leave(place) if place < waits.len() => drop(waits.remove(place)),
                    Step::Leave(_) => {}
                    Step::Succeed(place, ms) => if let Some(permit) = take(&mut held, place) {
                        permit.succeeded(Duration::from_millis(ms));
                    },
                    Step::Fail(place) => if let Some(permit) = take(&mut held, place) {
                        permit.failed();
                    },
                    Step::Drop(place) => drop(take(&mut held, place)),
                }
                collect(&mut waits, &mut held).await;
                let stats = limit.stats();
                prop_assert!((1..=6).contains(&stats.limit), "{stats:?}");
                prop_assert_eq!(stats.in_use, held.len());
                prop_assert!(stats.in_use <= 6 && stats.waiting <= 4, "{stats:?}");
                // Nobody waits for a miss's permit that is there.
                prop_assert!(stats.in_use > 0 || stats.waiting == 0, "{stats:?}");
            }
            held.clear();
            waits.clear();
            let stats = limit.stats();
            prop_assert_eq!((stats.in_use, stats.waiting), (0, 0));
            prop_assert!(limit.try_acquire(Priority::Warm).is_some());
            Ok(())
        })?;
    }
}
