//! What opens a breaker, what closes it, and what does neither.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{
    Breaker, BreakerConfig, BreakerState, ErrorKind, Events, Fence, Key, Leases, Log, Lookup,
    Namespace, Put, PutOutcome, Removal, Result, Tier, TierInfo, TierRoom, Usage,
};
use futures::{future::join_all, poll};
use tokio::time::{Instant, sleep, timeout};

use super::server::{Mood, PATIENCE_MS, Server, fill, insert, key, learn, read, remove};

fn broken(mood: Mood) -> (Arc<Server>, Events, Breaker) {
    let server = Server::new();
    let events = Events::new();
    let breaker = Breaker::new(server.clone(), BreakerConfig::default(), events.clone());
    server.turn(mood);
    (server, events, breaker)
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_then_nothing_is_asked() {
    let (server, events, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
    learn(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    let (asked, began) = (server.asked(), Instant::now());
    let error = breaker.get(&key()).await.expect_err("it is open");
    assert_eq!((server.asked(), began.elapsed()), (asked, Duration::ZERO));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.starts_with("redis is not asked: it was given up 0 ms ago (3 calls in a row"));
    assert!(text.contains("an answer of the test") && text.contains("tried again in"), "{text}");
    assert_eq!(events.count("breaker_opened"), 1);
    for ending in [insert(&breaker).await, remove(&breaker).await] {
        assert_eq!(ending, Err(ErrorKind::Unavailable));
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_in_between_keeps_it_closed() {
    let (server, _, breaker) = broken(Mood::Answers);
    for _ in 0..5 {
        server.turn(Mood::Fails(ErrorKind::Unavailable));
        for _ in 0..2 {
            assert!(read(&breaker).await.is_err());
        }
        server.turn(Mood::Answers);
        for _ in 0..3 {
            assert_eq!(read(&breaker).await, Ok(()));
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_large_share_of_failures_opens_it_as_well() {
    let (server, _, breaker) = broken(Mood::Answers);
    for _ in 0..10 {
        assert_eq!(breaker.state(), BreakerState::Closed);
        server.turn(Mood::Answers);
        assert_eq!(read(&breaker).await, Ok(()));
        server.turn(Mood::Fails(ErrorKind::Timeout));
        assert_eq!(read(&breaker).await, Err(ErrorKind::Timeout));
    }
    // Twenty-one calls since the first failure, and half of them failed.
    assert_eq!(read(&breaker).await, Err(ErrorKind::Timeout));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_long_past_do_not_count() {
    let (server, _, breaker) = broken(Mood::Answers);
    for _ in 0..30 {
        server.turn(Mood::Answers);
        assert_eq!(read(&breaker).await, Ok(()));
        server.turn(Mood::Fails(ErrorKind::Timeout));
        assert_eq!(read(&breaker).await, Err(ErrorKind::Timeout));
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_pool_connection_is_not_the_servers_fault() {
    let (_, events, breaker) = broken(Mood::Fails(ErrorKind::Overloaded));
    for _ in 0..50 {
        assert_eq!(read(&breaker).await, Err(ErrorKind::Overloaded));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(events.count("breaker_opened"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_callers_fault_does_not_open_it() {
    let (server, _, breaker) = broken(Mood::Answers);
    for kind in [
        ErrorKind::Closed,
        ErrorKind::Codec,
        ErrorKind::Internal,
        ErrorKind::InvalidKey,
        ErrorKind::InvalidTtl,
        ErrorKind::TooLarge,
    ] {
        server.turn(Mood::Fails(kind));
        for _ in 0..50 {
            assert_eq!(read(&breaker).await, Err(kind));
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_to_everybody_opens_it() {
    for kind in [ErrorKind::Config, ErrorKind::Denied, ErrorKind::Incompatible] {
        let (_, _, breaker) = broken(Mood::Fails(kind));
        learn(&breaker).await;
        assert_eq!(breaker.state(), BreakerState::Open, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_server_is_still_read_from() {
    for kind in [ErrorKind::Full, ErrorKind::ReadOnly, ErrorKind::Denied] {
        let (server, events, breaker) = broken(Mood::RefusesPuts(kind));
        for _ in 0..3 {
            assert_eq!(fill(&breaker).await, Err(kind));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.puts_state(), BreakerState::Open);
        assert_eq!(events.count("breaker_opened"), 1);
        let asked = server.asked();
        assert_eq!(insert(&breaker).await, Err(kind), "the kind of the refusal stays");
        assert_eq!(server.asked(), asked);
        assert_eq!(read(&breaker).await, Ok(()));
        assert_eq!(remove(&breaker).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_put_finds_out_whether_puts_are_taken_again() {
    let (server, events, breaker) = broken(Mood::RefusesPuts(ErrorKind::Full));
    for _ in 0..3 {
        assert!(fill(&breaker).await.is_err());
    }
    sleep(Duration::from_millis(200)).await;
    let asked = server.asked();
    let endings = join_all((0..10).map(|_| fill(&breaker))).await;
    assert!(endings.iter().all(|ending| *ending == Err(ErrorKind::Full)));
    assert_eq!(server.asked(), asked + 1);
    server.turn(Mood::Answers);
    sleep(Duration::from_millis(400)).await;
    assert_eq!(insert(&breaker).await, Ok(()));
    assert_eq!(breaker.puts_state(), BreakerState::Closed);
    assert_eq!((events.count("breaker_opened"), events.count("breaker_closed")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_finds_out_and_is_dropped_leaves_it_to_the_next() {
    let (server, _, breaker) = broken(Mood::RefusesPuts(ErrorKind::Full));
    for _ in 0..3 {
        assert!(fill(&breaker).await.is_err());
    }
    sleep(Duration::from_millis(200)).await;
    server.turn(Mood::Answers);
    let mut dropped = Box::pin(fill(&breaker));
    assert!(poll!(&mut dropped).is_pending());
    assert_eq!(breaker.puts_state(), BreakerState::HalfOpen);
    drop(dropped);
    assert_eq!(breaker.puts_state(), BreakerState::Open);
    assert_eq!(fill(&breaker).await, Ok(()));
    assert_eq!(breaker.puts_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn lost_data_is_told_and_does_not_open_it() {
    let (_, events, breaker) = broken(Mood::Fails(ErrorKind::LostData));
    for _ in 0..5 {
        assert_eq!(read(&breaker).await, Err(ErrorKind::LostData));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(events.count("tier_lost_data"), 5);
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time() {
    let (server, events, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
    learn(&breaker).await;
    server.turn(Mood::Frozen);
    for _ in 0..100 {
        join_all((0..10).map(|_| read(&breaker))).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.pinged_at_once.load(Ordering::Relaxed), 1);
    // Five seconds of pauses of 400 to 800 ms, and of pings of 100 ms.
    assert!((5..=13).contains(&server.pinged()), "{}", server.pinged());
    assert!(events.count("breaker_probing") >= 5);
    assert_eq!(events.count("breaker_closed"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_servers_return_is_noticed_within_a_second_whatever_the_time_of_it() {
    for outage_ms in (100..4_000).step_by(130) {
        for mood in [Mood::Frozen, Mood::Fails(ErrorKind::Unavailable)] {
            let (server, _, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
            learn(&breaker).await;
            server.turn(mood);
            let mut state = breaker.subscribe();
            sleep(Duration::from_millis(outage_ms)).await;
            server.turn(Mood::Answers);
            let closed = state.wait_for(|state| *state == BreakerState::Closed);
            let noticed = timeout(Duration::from_secs(1), closed).await;
            assert!(noticed.is_ok(), "after {outage_ms} ms of {mood:?}");
            assert_eq!(read(&breaker).await, Ok(()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_answers_pings_only_is_asked_ever_less() {
    let (server, _, breaker) = broken(Mood::AnswersPings);
    for _ in 0..100 {
        // Reads freeze: their caller gives up.
        let _ = timeout(Duration::from_millis(PATIENCE_MS + 5), read(&breaker)).await;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(server.asked() < 60, "{}", server.asked());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_changes_nothing() {
    let (_, _, breaker) = broken(Mood::Answers);
    for _ in 0..50 {
        let mut call = Box::pin(read(&breaker));
        assert!(poll!(&mut call).is_pending());
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_a_silent_server_do_not_keep_the_breaker_from_learning() {
    let (_, _, breaker) = broken(Mood::Frozen);
    for _ in 0..3 {
        let patience = Duration::from_millis(PATIENCE_MS);
        assert!(timeout(patience, read(&breaker)).await.is_err());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_it_opened_does_not_count_after() {
    let (server, events, breaker) = broken(Mood::Frozen);
    let mut early: Vec<_> = (0..10).map(|_| Box::pin(read(&breaker))).collect();
    for call in &mut early {
        assert!(poll!(call).is_pending());
    }
    server.turn(Mood::Fails(ErrorKind::Unavailable));
    join_all(early).await;
    assert_eq!(events.count("breaker_opened"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_probing_ends_with_the_breaker() {
    let (server, _, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
    learn(&breaker).await;
    drop(breaker);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(server.pinged(), 0);
    assert_eq!(Arc::strong_count(&server), 1);
}

#[test]
fn a_breaker_whose_runtime_is_gone_is_probed_in_the_next_one() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime can be built")
    };
    for last_seen in [BreakerState::Open, BreakerState::HalfOpen] {
        let (server, _, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
        runtime().block_on(async {
            learn(&breaker).await;
            server.turn(Mood::Frozen);
            let mut state = breaker.subscribe();
            let seen = state.wait_for(|state| *state == last_seen).await;
            assert!(seen.is_ok());
        });
        server.turn(Mood::Answers);
        runtime().block_on(async {
            for _ in 0..100 {
                assert!(server.pinged() < 3);
                if read(&breaker).await.is_ok() {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
            panic!("it stays open, after it was {last_seen:?}");
        });
    }
}

/// A layer that makes every failed read a miss.
#[derive(Debug)]
struct Swallow<T>(T);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for Swallow<T> {
    fn info(&self) -> &TierInfo {
        self.0.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let unread = || Lookup { fence: Fence::unread(), ..Lookup::absent(0) };
        Ok(self.0.get(key).await.unwrap_or_else(|_| unread()))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.0.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.0.put_many(puts).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.0.remove_many(removals).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.0.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.0.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.0.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.0.room()
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_a_layer_swallows_still_counts() {
    let (server, events, breaker) = broken(Mood::Fails(ErrorKind::Unavailable));
    let tier = Swallow(breaker);
    for _ in 0..10 {
        assert_eq!(read(&tier).await, Ok(()));
    }
    assert_eq!(tier.0.state(), BreakerState::Open);
    assert_eq!((server.asked(), events.count("breaker_opened")), (3, 1));
}
