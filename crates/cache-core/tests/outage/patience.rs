//! Who is given up, and who is not.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Layer, Tier, TierExt, patience};
use futures::{future::join_all, poll};
use tokio::time::{Instant, advance, sleep};

use super::server::{ANSWER_MS, Mood, PATIENCE_MS, Server, key, read, was_given_up_after};

fn patient(server: &Arc<Server>) -> Arc<dyn Tier> {
    patience(Duration::from_millis(PATIENCE_MS)).wrap(server.clone())
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_given_up_after_the_patience() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    let began = Instant::now();
    let error = tier.get(&key()).await.expect_err("nobody answers");
    assert!(was_given_up_after(1, began));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!error.may_have_happened());
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_waited_for_longer_and_may_have_happened() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    let began = Instant::now();
    let error = tier.remove(key()).await.expect_err("nobody answers");
    assert!(was_given_up_after(5, began));
    assert!(error.may_have_happened());
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_not_taken_for_a_hung_one() {
    // It works on one at a time: the last of them waits for ten patiences.
    let server = Server::with_hands(1);
    let tier = patient(&server);
    let calls = 10 * PATIENCE_MS / ANSWER_MS;
    let began = Instant::now();
    let endings = join_all((0..calls).map(|_| read(&*tier))).await;
    assert!(endings.iter().all(Result::is_ok));
    assert!(began.elapsed() >= 10 * Duration::from_millis(PATIENCE_MS));
}

#[tokio::test(start_paused = true)]
async fn silence_is_counted_from_the_last_answer_to_anybody() {
    let server = Server::with_hands(1);
    let tier = patient(&server);
    let began = Instant::now();
    let freeze = async {
        sleep(Duration::from_millis(15)).await;
        server.turn(Mood::Frozen);
    };
    let (endings, ()) = tokio::join!(join_all((0..30).map(|_| read(&*tier))), freeze);
    assert!(endings[0].is_ok());
    assert_eq!(endings[29], Err(ErrorKind::Timeout));
    let silent = began.elapsed() - Duration::from_millis(15);
    assert!(silent <= Duration::from_millis(PATIENCE_MS), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn our_own_stall_is_not_taken_for_the_servers_silence() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    let mut call = Box::pin(read(&*tier));
    assert!(poll!(&mut call).is_pending());
    // This process stands still for a second; what the server answered meanwhile is not read yet.
    advance(Duration::from_secs(1)).await;
    let resumed = Instant::now();
    assert!(poll!(&mut call).is_pending());
    server.turn(Mood::Answers);
    assert_eq!(call.await, Ok(()));
    assert!(resumed.elapsed() < Duration::from_millis(PATIENCE_MS));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_after_our_stall_too_is_given_up() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    let mut call = Box::pin(read(&*tier));
    assert!(poll!(&mut call).is_pending());
    advance(Duration::from_secs(1)).await;
    let resumed = Instant::now();
    assert_eq!(call.await, Err(ErrorKind::Timeout));
    assert!(was_given_up_after(1, resumed));
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_waited_for_longer() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    for (keys, patiences) in [(249, 1), (250, 2), (1_000, 5)] {
        let began = Instant::now();
        assert!(tier.get_many(&vec![key(); keys]).await.is_err());
        assert!(was_given_up_after(patiences, began), "{keys} keys");
    }
}

#[test]
fn a_runtime_that_stands_still_does_not_keep_callers_of_another_one_waiting() {
    let runtime = |is_paused| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(is_paused).build().expect("a runtime can be built")
    };
    let server = Server::new();
    let tier = patient(&server);
    let idle = runtime(false);
    assert_eq!(idle.block_on(read(&*tier)), Ok(()));
    // From here on nobody runs what `idle` has to do, and it has not ended.
    server.turn(Mood::Frozen);
    runtime(true).block_on(async {
        // This one alone would not notice it.
        let first = read(&*tier);
        let second = async {
            sleep(3 * Duration::from_millis(PATIENCE_MS)).await;
            read(&*tier).await
        };
        let began = Instant::now();
        assert_eq!(tokio::join!(first, second), (Err(ErrorKind::Timeout), Err(ErrorKind::Timeout)));
        assert!(began.elapsed() < 5 * Duration::from_millis(PATIENCE_MS));
    });
    drop(idle);
}

#[test]
fn a_runtime_that_ends_does_not_keep_callers_of_another_one_waiting() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime can be built")
    };
    let server = Server::new();
    let tier = patient(&server);
    let first = runtime();
    assert_eq!(first.block_on(read(&*tier)), Ok(()));
    server.turn(Mood::Frozen);
    runtime().block_on(async {
        let mut call = Box::pin(read(&*tier));
        assert!(poll!(&mut call).is_pending());
        first.shutdown_background();
        let began = Instant::now();
        assert_eq!(call.await, Err(ErrorKind::Timeout));
        assert!(was_given_up_after(1, began));
    });
}
