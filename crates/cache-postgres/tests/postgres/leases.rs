//! Leases among the processes of one schema.

use std::{sync::Arc, time::Duration};

use cache_core::{LeaseToken, Leases, Tier};
use futures::future::join_all;

use crate::support::{Place, key};

const PERIOD: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(3_000);

async fn leases(place: &Place) -> Arc<dyn Leases> {
    place.tier().await.leases().unwrap()
}

#[tokio::test]
async fn a_lease_has_one_owner_until_it_is_released() {
    let Some(place) = Place::from_env() else { return };
    let processes = join_all((0..4).map(|_| leases(&place))).await;
    let k = key("k");
    let taken = join_all(processes.iter().map(|leases| leases.acquire(&k, PERIOD))).await;
    let tokens: Vec<LeaseToken> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(tokens.len(), 1, "one of those who asked at once");
    assert!(processes[0].acquire(&key("other"), PERIOD).await.unwrap().is_some());

    let forged = LeaseToken::new(tokens[0].number() ^ 1);
    processes[0].release(&k, forged).await.unwrap();
    assert!(!processes[0].renew(&k, forged, PERIOD).await.unwrap());
    assert_eq!(processes[1].acquire(&k, PERIOD).await.unwrap(), None);
    processes[2].release(&k, tokens[0]).await.unwrap();
    assert!(processes[1].acquire(&k, PERIOD).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_ends_with_its_period_unless_it_is_renewed() {
    let Some(place) = Place::from_env() else { return };
    let leases = leases(&place).await;
    let k = key("k");
    let first = leases.acquire(&k, PERIOD).await.unwrap().unwrap();
    place.clock.advance(PERIOD - Duration::from_millis(1));
    assert!(leases.renew(&k, first, PERIOD).await.unwrap());
    place.clock.advance(PERIOD - Duration::from_millis(1));
    assert_eq!(leases.acquire(&k, PERIOD).await.unwrap(), None);
    place.clock.advance(Duration::from_millis(1));
    assert!(!leases.renew(&k, first, PERIOD).await.unwrap(), "it has ended");
    let second = leases.acquire(&k, PERIOD).await.unwrap().unwrap();
    assert_ne!(first, second);
    leases.release(&k, first).await.unwrap();
    assert!(leases.renew(&k, second, PERIOD).await.unwrap(), "the late owner released nothing");
}

#[tokio::test]
async fn waiters_are_woken_by_a_release() {
    let Some(place) = Place::from_env() else { return };
    let (owner, others) = (leases(&place).await, join_all((0..3).map(|_| leases(&place))).await);
    let k = key("k");
    others[0].wait(&k, WAIT).await.unwrap();
    let token = owner.acquire(&k, PERIOD).await.unwrap().unwrap();
    let mut waiting = Box::pin(join_all(others.iter().map(|leases| leases.wait(&k, WAIT))));
    assert!(futures::poll!(&mut waiting).is_pending());
    tokio::select! {
        _ = &mut waiting => panic!("it is not free"),
        _ = owner.renew(&k, token, PERIOD) => {}
    }
    let (released, waited) = tokio::join!(owner.release(&k, token), waiting);
    released.unwrap();
    assert!(waited.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_waiter_does_not_wait_longer_than_it_wants_to() {
    let Some(place) = Place::from_env() else { return };
    let leases = leases(&place).await;
    leases.acquire(&key("k"), PERIOD).await.unwrap().unwrap();
    leases.wait(&key("k"), Duration::from_millis(20)).await.unwrap();
    assert_eq!(leases.acquire(&key("k"), PERIOD).await.unwrap(), None);
}

#[tokio::test]
async fn a_waiter_sees_that_the_owner_let_its_period_pass() {
    let Some(place) = Place::from_env() else { return };
    let leases = leases(&place).await;
    let k = key("k");
    leases.acquire(&k, PERIOD).await.unwrap().unwrap();
    let passing = async { place.clock.advance(PERIOD) };
    let (waited, ()) = tokio::join!(leases.wait(&k, WAIT), passing);
    waited.unwrap();
    assert!(leases.acquire(&k, PERIOD).await.unwrap().is_some());
}

#[tokio::test]
async fn leases_that_have_ended_are_swept() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let leases = tier.leases().unwrap();
    leases.acquire(&key("old"), Duration::from_secs(1)).await.unwrap();
    leases.acquire(&key("held"), PERIOD).await.unwrap();
    place.clock.advance(Duration::from_secs(2));
    tier.sweep().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM leases").await, 1);
}
