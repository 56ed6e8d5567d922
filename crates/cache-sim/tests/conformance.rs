//! The ways to simulated servers are tiers, and behave as such while nothing is wrong with them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{Clock, Key, ManualClock, Tier, testkit::Harness};
use cache_sim::{
    Defect, Plan, Trace,
    broken::Broken,
    link::{Link, Wire},
    plan::Network,
    process::Life,
    store::Store,
    world::{World, rng_of},
};

/// What is put around a way.
type Wrap = fn(Arc<dyn Tier>, Arc<dyn Clock>) -> Arc<dyn Tier>;

/// One server, to which every handle is a way of its own.
struct Shared {
    clock: ManualClock,
    world: Arc<World>,
    store: Arc<Store>,
    wrap: Wrap,
}

impl Shared {
    fn new(wrap: Wrap) -> Self {
        let clock = ManualClock::new();
        let plan = Plan { nodes: 1, ..Plan::of(0, None).without_faults() };
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let store = Store::new("L1", year, Arc::new(clock.clone()), None, Some(1_000));
        Self { world: World::new(plan, Trace::Off), store: Arc::new(store), clock, wrap }
    }
}

#[async_trait]
impl Harness for Shared {
    async fn open(&self) -> Arc<dyn Tier> {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let node = &self.world.nodes()[0];
        let life = Arc::new(Life::new(&self.world, node, 0, Arc::clone(&clock), None));
        let wire = Arc::new(Wire::new(Network::default(), 0, rng_of(0, 0)));
        (self.wrap)(Arc::new(Link::new(Arc::clone(&self.store), life, wire)), clock)
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, _key: &Key, _bytes: &[u8]) -> bool {
        false
    }
}

mod link {
    use super::*;

    cache_core::conformance_tests!(Link, Some(Shared::new(|tier, _| tier)));
}

/// One whose defect is the server's.
mod broken {
    use super::*;

    cache_core::conformance_tests!(
        Broken,
        Some(Shared::new(|tier, clock| {
            Arc::new(Broken::new(Defect::UnnoticedLoss, clock, tier))
        }))
    );
}
