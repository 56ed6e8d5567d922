//! The budget of a guarded tier.

use std::{sync::Arc, time::Duration};

use cache_core::{
    BreakerState, CallLimit, ErrorKind, Events, Guard, Guarded, Layer, Tier,
    testkit::{Fault, Faults},
};
use futures::{future::join_all, poll};
use tokio::time::{Instant, sleep, timeout};

use super::server::{
    ANSWER_MS, Mood, PATIENCE_MS, Server, fill, insert, key, learn, read, remove,
    was_given_up_after,
};

fn guarded(server: &Arc<Server>, guard: Guard) -> Guarded {
    Guarded::new(server.clone(), guard, Events::new())
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_costs_one_patience_and_then_nothing() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    assert_eq!(read(&tier).await, Ok(()));
    server.turn(Mood::Frozen);
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(read(&tier).await, Err(ErrorKind::Timeout));
        assert!(was_given_up_after(1, began));
    }
    let began = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(read(&tier).await, Err(ErrorKind::Unavailable));
        assert_eq!(remove(&tier).await, Err(ErrorKind::Unavailable));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn many_callers_of_a_frozen_server_wait_for_one_patience_together() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    server.turn(Mood::Frozen);
    let began = Instant::now();
    let endings = join_all((0..500).map(|_| read(&tier))).await;
    assert!(endings.iter().all(Result::is_err));
    assert!(was_given_up_after(1, began));
    assert_eq!(tier.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_thawed_server_is_used_again_within_a_second() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    server.turn(Mood::Frozen);
    learn(&tier).await;
    sleep(Duration::from_secs(30)).await;
    server.turn(Mood::Answers);
    let mut state = tier.subscribe();
    let closed = state.wait_for(|state| *state == BreakerState::Closed);
    assert!(timeout(Duration::from_secs(1), closed).await.is_ok());
    assert_eq!(read(&tier).await, Ok(()));
    assert_eq!(insert(&tier).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_busy_guarded_server_stays_in_use() {
    let server = Server::with_hands(1);
    let tier = guarded(&server, Guard::default());
    let calls = 10 * PATIENCE_MS / ANSWER_MS;
    let endings = join_all((0..calls).map(|_| read(&tier))).await;
    assert!(endings.iter().all(Result::is_ok));
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_turn_is_neither_silence_nor_the_servers_fault() {
    let server = Server::new();
    let limit = CallLimit { calls: 1, waiting: 100, wait: Duration::from_millis(5) };
    let tier = guarded(&server, Guard { limit: Some(limit), ..Guard::default() });
    let endings = join_all((0..50).map(|_| read(&tier))).await;
    assert!(endings.iter().any(Result::is_ok));
    assert!(endings.contains(&Err(ErrorKind::Overloaded)));
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_without_a_wait_for_a_turn() {
    let server = Server::new();
    let limit = CallLimit { calls: 1, waiting: 100, wait: Duration::from_secs(5) };
    let tier = guarded(&server, Guard { limit: Some(limit), ..Guard::default() });
    server.turn(Mood::Frozen);
    learn(&tier).await;
    let began = Instant::now();
    assert_eq!(read(&tier).await, Err(ErrorKind::Unavailable));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_failed_is_tried_again_and_a_read_is_not() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    server.turn(Mood::Fails(ErrorKind::Unavailable));
    assert!(read(&tier).await.is_err());
    assert_eq!(server.asked(), 1);
    assert!(remove(&tier).await.is_err());
    assert_eq!(server.asked(), 3);
    // Each try has counted.
    assert_eq!(tier.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_met_silence_is_not_tried_again() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    server.turn(Mood::Frozen);
    let began = Instant::now();
    assert_eq!(remove(&tier).await, Err(ErrorKind::Timeout));
    assert!(was_given_up_after(5, began));
}

#[tokio::test(start_paused = true)]
async fn a_guarded_server_without_room_is_still_read_from() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    server.turn(Mood::RefusesPuts(ErrorKind::Full));
    for _ in 0..5 {
        assert_eq!(fill(&tier).await, Err(ErrorKind::Full));
    }
    assert_eq!(server.asked(), 3);
    assert_eq!((tier.state(), tier.puts_state()), (BreakerState::Closed, BreakerState::Open));
    assert_eq!(read(&tier).await, Ok(()));
    assert_eq!(remove(&tier).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_of_a_guarded_tier_changes_nothing() {
    let server = Server::new();
    let limit = CallLimit { calls: 2, waiting: 2, wait: Duration::from_millis(5) };
    let tier = guarded(&server, Guard { limit: Some(limit), ..Guard::default() });
    for _ in 0..50 {
        let mut calls: Vec<_> = (0..4).map(|_| Box::pin(read(&tier))).collect();
        for call in &mut calls {
            assert!(poll!(call).is_pending());
        }
    }
    assert_eq!(tier.state(), BreakerState::Closed);
    assert_eq!(read(&tier).await, Ok(()));
    tier.close().await.expect("it closes");
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_a_frozen_server_cost_no_more_than_its_reads() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    let leases = tier.leases().expect("the server gives some");
    let (key, period) = (key(), Duration::from_secs(1));
    assert!(leases.acquire(&key, period).await.is_ok_and(|token| token.is_some()));
    server.turn(Mood::Frozen);
    for _ in 0..3 {
        let began = Instant::now();
        let error = leases.acquire(&key, period).await.expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(was_given_up_after(1, began));
    }
    assert_eq!(tier.state(), BreakerState::Open);
    let began = Instant::now();
    assert!(leases.acquire(&key, period).await.is_err());
    assert!(leases.wait(&key, period).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_lease_is_not_taken_for_silence() {
    let server = Server::new();
    let tier = guarded(&server, Guard::default());
    let leases = tier.leases().expect("the server gives some");
    for _ in 0..5 {
        let wait = 10 * Duration::from_millis(PATIENCE_MS);
        assert!(leases.wait(&key(), wait).await.is_ok());
    }
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_callers_and_faults_leaves_a_guarded_tier_in_order() {
    let faults = Faults::new();
    let limit = CallLimit { calls: 4, waiting: 4, wait: Duration::from_millis(1) };
    let guard = Guard { limit: Some(limit), ..Guard::default() };
    let inner = faults.layer().wrap(Server::new());
    let tier = Arc::new(Guarded::new(inner, guard, Events::new()));
    faults.randomly(1, 0.3, Fault::Fail(ErrorKind::Unavailable));
    let storm = (0..16).map(|caller| {
        let tier = Arc::clone(&tier);
        tokio::spawn(async move {
            for call in 0..100 {
                match (caller + call) % 4 {
                    0 => drop(read(&*tier).await),
                    1 => drop(insert(&*tier).await),
                    2 => drop(remove(&*tier).await),
                    _ => drop(timeout(Duration::from_micros(100), read(&*tier)).await),
                }
            }
        })
    });
    for caller in join_all(storm).await {
        caller.expect("no caller panics");
    }
    faults.heal();
    let mut state = tier.subscribe();
    let closed = state.wait_for(|state| *state == BreakerState::Closed);
    assert!(timeout(Duration::from_secs(10), closed).await.is_ok());
    // All turns are free again.
    for ending in join_all((0..4).map(|_| read(&*tier))).await {
        assert_eq!(ending, Ok(()));
    }
}
