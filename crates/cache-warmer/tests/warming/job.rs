//! Jobs: chunks with a place that outlives a process, and one leader.

use std::{sync::Arc, time::Duration};

use cache_core::{ByteSize, Cache, Leases, MemoryTier, Namespace, Tier};
use cache_warmer::{Job, JobEnd, Mode, Plan, Report, Source, Stage, Start, Warmer, WarmerConfig};
use tokio::time::Instant;

use crate::support::{Fake, TokioClock};

/// Some nodes that share a tier.
struct Cluster {
    clock: Arc<TokioClock>,
    store: Arc<MemoryTier>,
    source: Arc<Fake>,
}

impl Cluster {
    fn new() -> Self {
        let clock = Arc::new(TokioClock::begin());
        let store = Arc::new(MemoryTier::new(ByteSize::mib(16), clock.clone()).as_server());
        Self { clock, store, source: Arc::new(Fake::new().batches_of(1)) }
    }

    fn node(&self) -> Warmer<String> {
        let cache: Cache<String> = Cache::builder("price")
            .ttl(Duration::from_secs(3_600))
            .clock(self.clock.clone())
            .tier(self.store.clone())
            .build()
            .expect("the settings are fine");
        let source = Arc::clone(&self.source) as Arc<dyn Source<String>>;
        let config = WarmerConfig { concurrency: 2, ..WarmerConfig::default() };
        Warmer::new(cache, source, config).expect("the settings are fine")
    }

    fn job(&self, plan: &Plan) -> Job {
        let namespace = Namespace::new("price").expect("the settings are fine");
        let store = Arc::clone(&self.store) as Arc<dyn Tier>;
        Job::new(&namespace, "all", plan.clone(), store, self.clock.clone())
            .expect("the settings are fine")
            .chunk_len(10)
    }

    fn loads(&self, plan: &Plan) -> Vec<usize> {
        plan.keys().iter().map(|key| self.source.loads_of(key)).collect()
    }
}

fn hundred() -> Plan {
    Plan::new((0..100).map(|i| format!("k{i}"))).expect("the settings are fine")
}

fn quiet(_: &Report) {}

#[tokio::test(start_paused = true)]
async fn a_stopped_job_is_resumed_and_loads_nothing_twice() {
    let (cluster, plan) = (Cluster::new(), hundred());
    let job = cluster.job(&plan);
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = parking_lot::Mutex::new(Some(tell));
    let progress = |so_far: &Report| {
        assert_eq!(so_far.planned, 100);
        if so_far.done() >= 35 {
            tell.lock().take().map(|tell| tell.send(()));
        }
    };
    let stop = async { drop(told.await) };
    let end = cluster.node().run_job(&job, Start::Anew, stop, &progress).await.unwrap();
    let JobEnd::Stopped(report) = end else { panic!("{end:?}") };
    assert!((35..100).contains(&report.loaded), "{report}");
    let state = job.state().await.unwrap().unwrap();
    assert_eq!((state.stage, state.settled), (Stage::Stopped, 30));

    let never = std::future::pending();
    let end = cluster.node().run_job(&job, Start::Resume, never, &quiet).await.unwrap();
    assert!(matches!(end, JobEnd::Done(_)), "{end:?}");
    assert_eq!(cluster.loads(&plan), [1; 100]);
    assert_eq!(end.report().done(), 100);
    let state = job.state().await.unwrap().unwrap();
    assert_eq!((state.stage, state.settled, state.leaders), (Stage::Done, 100, 2));

    let never = std::future::pending();
    let end = cluster.node().run_job(&job, Start::Resume, never, &quiet).await.unwrap();
    assert!(matches!(end, JobEnd::Done(_)), "what is done is done: {end:?}");
    assert_eq!(cluster.loads(&plan), [1; 100]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_replaced_within_its_lease_and_the_plan_is_completed() {
    let (cluster, plan) = (Cluster::new(), hundred());
    let job = cluster.job(&plan).mode(Mode::Forced).lease_period(Duration::from_secs(2));
    let (first, second) = (cluster.node(), cluster.node());
    let half = parking_lot::Mutex::new(None);
    let progress = |so_far: &Report| {
        if so_far.done() >= 45 {
            half.lock().get_or_insert_with(Instant::now);
        }
    };
    let died_at = {
        let run = first.run_job(&job, Start::Join, std::future::pending(), &progress);
        let watch = async {
            while half.lock().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            end = run => panic!("it was to die: {end:?}"),
            () = watch => Instant::now(),
        }
    };
    let end = second.run_job(&job, Start::Join, std::future::pending(), &quiet).await.unwrap();
    assert!(died_at.elapsed() <= Duration::from_secs(2), "{:?}", died_at.elapsed());
    assert!(matches!(end, JobEnd::Done(_)), "{end:?}");
    let loads = cluster.loads(&plan);
    assert!(loads.iter().all(|loads| (1..=2).contains(loads)), "{loads:?}");
    assert!(
        loads.iter().filter(|loads| **loads == 2).count() <= 10,
        "one chunk at most: {loads:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn of_many_nodes_one_works_and_all_hear_of_its_end() {
    let (cluster, plan) = (Cluster::new(), hundred());
    let job = cluster.job(&plan).mode(Mode::Forced);
    let nodes: Vec<_> = (0..4).map(|_| cluster.node()).collect();
    let runs =
        nodes.iter().map(|node| node.run_job(&job, Start::Join, std::future::pending(), &quiet));
    for end in futures::future::join_all(runs).await {
        assert!(matches!(end, Ok(JobEnd::Done(_))), "{end:?}");
    }
    assert_eq!(cluster.loads(&plan), [1; 100]);
    assert_eq!(nodes.iter().filter(|node| node.stats().plans.contains_key("all")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_has_lost_its_lease_stops() {
    let (cluster, plan) = (Cluster::new(), Plan::new(["hangs-1", "a", "b"]).unwrap());
    let job = cluster.job(&plan).chunk_len(1).lease_period(Duration::from_secs(2));
    let node = cluster.node();
    let run = node.run_job(&job, Start::Join, std::future::pending(), &quiet);
    let steal = async {
        cluster.source.under_way(1).await;
        // A server that lost its leases gives this one out again.
        cluster.store.memory_leases().lose();
        let key = Namespace::new("price").unwrap().reserved("warming").key("all").unwrap();
        let leases: Arc<dyn Leases> = cluster.store.memory_leases().clone();
        let token = leases.acquire(&key, Duration::from_secs(600)).await.unwrap();
        assert!(token.is_some());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(cluster.loads(&plan), [1, 0, 0]);
    };
    tokio::select! {
        end = run => panic!("it does not lead: {end:?}"),
        () = steal => {}
    }
}

#[tokio::test(start_paused = true)]
async fn another_plan_does_not_go_on_where_this_one_was_left() {
    let cluster = Cluster::new();
    let job = cluster.job(&hundred());
    cluster.node().run_job(&job, Start::Anew, std::future::pending(), &quiet).await.unwrap();
    let other = cluster.job(&Plan::new(["x", "y"]).unwrap());
    assert_ne!(job.id(), other.id());
    assert_ne!(job.id(), cluster.job(&hundred()).occasion("tuesday").id());
    let node = cluster.node();
    let error = node.run_job(&other, Start::Resume, std::future::pending(), &quiet).await;
    assert!(error.unwrap_err().to_string().contains("cannot be resumed"));
    let end = node.run_job(&other, Start::Join, std::future::pending(), &quiet).await.unwrap();
    assert_eq!(end.report().loaded, 2);
}
