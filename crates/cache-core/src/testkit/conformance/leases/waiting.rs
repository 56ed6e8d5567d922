//! Those who wait for a lease.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{Ground, LONG, PATIENCE};
use crate::{key::Key, lease::Leases};

/// Begins to wait, and lets it get there: an earlier release would be no test.
async fn wait(leases: &Arc<dyn Leases>, key: &Key) -> JoinHandle<()> {
    let (leases, key) = (Arc::clone(leases), key.clone());
    let waiter = tokio::spawn(async move { leases.wait(&key, LONG).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    waiter
}

async fn is_woken(waiter: JoinHandle<()>) {
    timeout(PATIENCE, waiter).await.expect("the waiter is woken").unwrap();
}

pub(super) async fn a_waiter_is_woken_by_a_release(ground: &Ground<'_>) {
    let key = ground.key("k");
    for waiting in [&ground.leases, &ground.other] {
        let token = ground.acquire(&key, LONG).await;
        let waiter = wait(waiting, &key).await;
        assert!(!waiter.is_finished(), "the lease is held");
        ground.leases.release(&key, token).await.unwrap();
        is_woken(waiter).await;
    }
}

pub(super) async fn many_waiters_are_woken_by_a_release(ground: &Ground<'_>) {
    let key = ground.key("k");
    let token = ground.acquire(&key, LONG).await;
    let mut waiters = Vec::new();
    for i in 0..20 {
        let waiting = if i % 2 == 0 { &ground.leases } else { &ground.other };
        waiters.push(wait(waiting, &key).await);
    }
    ground.leases.release(&key, token).await.unwrap();
    for waiter in waiters {
        is_woken(waiter).await;
    }
}

pub(super) async fn a_waiter_is_woken_when_the_period_ends(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.acquire(&key, Duration::from_millis(100)).await;
    let waiter = wait(&ground.other, &key).await;
    let began = Instant::now();
    while !waiter.is_finished() {
        assert!(began.elapsed() < PATIENCE, "the waiter is not woken");
        ground.pass(Duration::from_millis(10)).await;
    }
    is_woken(waiter).await;
}

pub(super) async fn a_wait_without_a_lease_returns_at_once(ground: &Ground<'_>) {
    let key = ground.key("k");
    timeout(PATIENCE, ground.leases.wait(&key, LONG)).await.expect("nobody has it").unwrap();
    let token = ground.acquire(&key, LONG).await;
    ground.leases.release(&key, token).await.unwrap();
    timeout(PATIENCE, ground.other.wait(&key, LONG)).await.expect("it was released").unwrap();
}

pub(super) async fn a_wait_ends_when_its_time_is_up(ground: &Ground<'_>) {
    let key = ground.key("k");
    ground.acquire(&key, LONG).await;
    for span in [Duration::ZERO, Duration::from_millis(60)] {
        let wait = timeout(PATIENCE, ground.other.wait(&key, span)).await;
        wait.expect("its time is up").unwrap();
    }
    assert!(ground.is_held(&key).await, "who has waited has nothing yet");
}

pub(super) async fn dropped_waiters_harm_nothing(ground: &Ground<'_>) {
    let key = ground.key("k");
    let token = ground.acquire(&key, LONG).await;
    for waiting in [&ground.leases, &ground.other, &ground.leases, &ground.other] {
        for span in [0, 1, 3] {
            let wait = waiting.wait(&key, LONG);
            let _ = timeout(Duration::from_millis(span), wait).await;
        }
        wait(waiting, &key).await.abort();
    }
    let waiter = wait(&ground.other, &key).await;
    assert!(ground.leases.renew(&key, token, LONG).await.unwrap());
    ground.leases.release(&key, token).await.unwrap();
    is_woken(waiter).await;
    ground.acquire(&key, LONG).await;
}
