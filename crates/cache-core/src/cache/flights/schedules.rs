//! What flights promise, under thousands of orders of a few threads.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use futures::FutureExt;
use shuttle::{check_pct, check_random, future, thread};

use super::{Boarding, Flights, Landing, Passenger};
use crate::{
    cache::hit::{Hit, Origin, Times},
    clock::Timestamp,
    key::{Key, Namespace},
    sync::AtomicU64,
};

const SCHEDULES: usize = 10_000;

fn try_schedules(test: fn()) {
    check_random(test, SCHEDULES);
    check_pct(test, SCHEDULES, 3);
}

fn key() -> Key {
    Namespace::new("n").expect("`n` is a namespace").key("k").expect("`k` is a key")
}

fn landing(value: u64) -> Landing<u64> {
    let (now, end) = (Timestamp::default(), Timestamp::MAX);
    let times = Times { created_at: now, fresh_until: end, expires_at: end };
    Ok(Some(Hit::new(Arc::new(value), Origin::Load, times, None, 0, now)))
}

/// The value with which a flight ended, or nothing when its pilot was dropped. A waiter that is
/// never woken is a deadlock, which ends the schedule with a panic.
fn arrive(passenger: Passenger<u64>) -> Option<u64> {
    let landing = future::block_on(passenger.arrive());
    landing.ok().map(|hit| **hit.expect("only values land here").value())
}

/// What each of `count` threads comes back with.
fn on_threads<R: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> R + Clone + Send + 'static,
) -> Vec<R> {
    let start = |index| {
        let work = work.clone();
        thread::spawn(move || work(index))
    };
    let threads: Vec<_> = (0..count).map(start).collect();
    threads.into_iter().map(|thread| thread.join().expect("no thread panicked")).collect()
}

fn is_empty(flights: &Flights<u64>) -> bool {
    !flights.is_any()
}

#[test]
fn a_key_has_one_load_at_a_time_and_its_value_answers_all_who_wait() {
    try_schedules(|| {
        let flights = Flights::new();
        let (listed, loading) = (flights.clone(), Arc::new(AtomicUsize::new(0)));
        let answers = on_threads(4, move |index| match flights.board(&key()).unwrap() {
            Boarding::Lead(pilot) => {
                assert_eq!(loading.fetch_add(1, SeqCst), 0, "a second load of the key began");
                thread::yield_now();
                loading.fetch_sub(1, SeqCst);
                pilot.land(landing(7));
                Some(7)
            }
            // One of them asks once and goes away: the place it had must not confuse the others.
            Boarding::Join(passenger) if index == 3 => {
                passenger.arrive().now_or_never();
                None
            }
            Boarding::Join(passenger) => arrive(passenger),
        });
        assert!(answers[..3].iter().all(|answer| *answer == Some(7)), "{answers:?}");
        assert!(is_empty(&listed));
    });
}

#[test]
fn a_dropped_pilot_strands_nobody() {
    try_schedules(|| {
        let flights = Flights::new();
        let listed = flights.clone();
        on_threads(3, move |_| match flights.board(&key()).unwrap() {
            Boarding::Lead(pilot) => drop(pilot),
            Boarding::Join(passenger) => assert_eq!(arrive(passenger), None),
        });
        assert!(is_empty(&listed));
    });
}

#[test]
fn a_flight_that_was_detached_does_not_take_its_follower_off_the_list() {
    try_schedules(|| {
        let flights = Flights::new();
        let Boarding::Lead(old) = flights.board(&key()).unwrap() else {
            panic!("there was no flight")
        };
        flights.detach(&key());
        let ends = thread::spawn(move || old.land(landing(0)));
        let boarded = flights.clone();
        let boardings = on_threads(2, move |_| boarded.board(&key()).unwrap());
        ends.join().unwrap();
        let (mut pilots, mut passengers) = (Vec::new(), Vec::new());
        for boarding in boardings {
            match boarding {
                Boarding::Lead(pilot) => pilots.push(pilot),
                Boarding::Join(passenger) => passengers.push(passenger),
            }
        }
        assert_eq!((pilots.len(), passengers.len()), (1, 1));
        pilots.into_iter().for_each(|pilot| pilot.land(landing(1)));
        assert_eq!(passengers.into_iter().map(arrive).collect::<Vec<_>>(), [Some(1)]);
        assert!(is_empty(&flights));
    });
}

#[test]
fn landing_dropping_refreshing_and_detaching_at_once_strands_nobody() {
    try_schedules(|| {
        let flights = Flights::new();
        let Boarding::Lead(first) = flights.board(&key()).unwrap() else {
            panic!("there was no flight")
        };
        let aboard = first.passenger();
        let shared = (flights.clone(), Arc::new(parking_lot::Mutex::new(Some(first))));
        on_threads(4, move |index| {
            let (flights, first) = &shared;
            match index {
                0 => {
                    let first = first.lock().take().expect("one thread takes it");
                    first.land(landing(1));
                }
                1 => flights.lead(&key()).unwrap().land(landing(2)),
                2 => flights.detach_all(),
                _ => match flights.board(&key()).unwrap() {
                    Boarding::Lead(pilot) => drop(pilot),
                    Boarding::Join(passenger) => {
                        assert!(matches!(arrive(passenger), Some(1 | 2)));
                    }
                },
            }
        });
        assert_eq!(arrive(aboard), Some(1));
        assert!(is_empty(&flights));
    });
}

/// Whether a writer takes the key off the list after it has changed the source.
#[derive(Clone, Copy, PartialEq)]
enum Writer {
    Detaches,
    Forgets,
}

/// Two readers load the key while a writer changes its source and then asks.
fn change_during_loads(writer: Writer) {
    let flights = Flights::new();
    let source = Arc::new(AtomicU64::new(0));
    on_threads(3, move |index| {
        if index == 2 {
            source.store(1, SeqCst);
            if writer == Writer::Detaches {
                flights.detach(&key());
            }
        }
        let answer = match flights.board(&key()).unwrap() {
            Boarding::Lead(pilot) => {
                let passenger = pilot.passenger();
                pilot.land(landing(source.load(SeqCst)));
                arrive(passenger)
            }
            Boarding::Join(passenger) => arrive(passenger),
        };
        assert!(index != 2 || answer == Some(1), "{answer:?} after the source had 1");
    });
}

#[test]
fn nobody_boards_after_a_detach_and_gets_what_was_loaded_before() {
    try_schedules(|| change_during_loads(Writer::Detaches));
}

/// The test above would mean nothing if it passed without the detach.
#[test]
fn a_change_that_detaches_nothing_is_caught() {
    let schedules = || try_schedules(|| change_during_loads(Writer::Forgets));
    assert!(panic::catch_unwind(schedules).is_err());
}
