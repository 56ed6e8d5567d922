//! Who is given up, and who is not.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Layer, Tier, TierExt, patience};
use futures::{future::join_all, poll};
use tokio::time::{Instant, advance, sleep};

use super::server::{ANSWER_MS, Mood, PATIENCE_MS, Server, key, read};

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
    assert_eq!(began.elapsed(), Duration::from_millis(PATIENCE_MS));
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
    assert_eq!(began.elapsed(), 5 * Duration::from_millis(PATIENCE_MS));
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
    assert_eq!(resumed.elapsed(), Duration::from_millis(PATIENCE_MS));
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_waited_for_longer() {
    let server = Server::new();
    let tier = patient(&server);
    server.turn(Mood::Frozen);
    for (keys, patiences) in [(249, 1), (250, 2), (1_000, 5)] {
        let began = Instant::now();
        assert!(tier.get_many(&vec![key(); keys]).await.is_err());
        assert_eq!(began.elapsed(), patiences * Duration::from_millis(PATIENCE_MS));
    }
}
