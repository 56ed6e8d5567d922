//! One load among several nodes.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Cache, ErrorKind, Guard, Layer,
    testkit::{Fault, Faults},
};
use futures::future::join_all;

use crate::support::Ground;

const PERIOD: Duration = Duration::from_secs(1);

/// A hundred callers of each node, of one key that takes 3 s to load.
async fn loads(nodes: &[Cache<String>]) -> usize {
    let loads = Arc::new(AtomicUsize::new(0));
    let callers = nodes.iter().flat_map(|node| (0..100).map(|_| node.clone()));
    let reads = callers.map(|node| {
        let loads = Arc::clone(&loads);
        async move {
            let hit = node.get_or_load("k", move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok::<_, Infallible>("v".to_owned())
            });
            assert_eq!(**hit.await.expect("a load").value(), *"v");
        }
    });
    join_all(reads).await;
    loads.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn nodes_that_take_turns_load_a_key_once() {
    let ground = Ground::new();
    let node = || ground.builder().tier(ground.lower.clone()).lease(PERIOD).build().unwrap();
    assert_eq!(loads(&[node(), node(), node(), node()]).await, 1, "the lease is renewed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn without_leases_to_be_had_each_node_loads_once() {
    let ground = Ground::new();
    let faults = Faults::new();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    let node = || {
        let tier = faults.layer().wrap(ground.lower.clone());
        ground.builder().tier(tier).lease(PERIOD).build().unwrap()
    };
    let nodes = [node(), node()];
    assert_eq!(loads(&nodes).await, 2);
    assert_eq!(nodes[0].stats().await.events["lease_unavailable"], 1);
}

/// One patience of a frozen tier is what its load costs, not one for the look and one for the lease.
#[tokio::test(start_paused = true)]
async fn a_tier_that_did_not_answer_the_look_is_not_asked_for_a_lease() {
    let ground = Ground::new();
    let (faults, silence) = (Faults::new(), Duration::from_millis(20));
    let tier = faults.layer().wrap(ground.lower.clone());
    let guard = Guard { patience: Some(silence), ..Guard::default() };
    let node = ground.builder().tier(tier).lease(PERIOD).guard(guard).build().unwrap();
    let load = || async { Ok::<_, Infallible>("v".to_owned()) };
    // The first call of all also finds the end of the log.
    node.get_or_load("another", load).await.unwrap();
    faults.always(Fault::Hang);
    let begin = tokio::time::Instant::now();
    node.get_or_load("k", load).await.unwrap();
    assert!(begin.elapsed() < 2 * silence, "{:?}", begin.elapsed());
    assert_eq!(node.stats().await.events["lease_unavailable"], 1);
}

/// A connection that is still being made is no reason for each process to load by itself.
#[tokio::test(start_paused = true)]
async fn a_tier_that_has_never_answered_yet_is_asked_for_a_lease() {
    let (ground, silence) = (Ground::new(), Duration::from_millis(20));
    let faults = Faults::new();
    let nodes = [(); 2].map(|()| {
        let guard = Guard { patience: Some(silence), ..Guard::default() };
        let tier = faults.layer().wrap(ground.lower.clone());
        ground.builder().tier(tier).lease(PERIOD).guard(guard).build().unwrap()
    });
    faults.always(Fault::Hang);
    let heal = async {
        // The first call finds the end of the log and then looks: both in vain.
        tokio::time::sleep(silence * 3 / 2).await;
        faults.heal();
    };
    let (loads, ()) = futures::join!(loads(&nodes), heal);
    assert_eq!(loads, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_tier_that_gives_them_is_refused() {
    let error = Cache::<String>::builder("c").lease(PERIOD).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`lease`"), "{error}");
}
