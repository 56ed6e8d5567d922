//! What all parts of one run share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::sync::Notify;

use crate::{
    gate::Gate,
    link::Wire,
    moment::{Moment, NodeClock, Timeline},
    oracle::Oracle,
    plan::Plan,
    process::Node,
    source::Source,
    store::Store,
};

/// One run's time, servers, source, oracle and trace.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    timeline: Timeline,
    stores: Vec<Arc<Store>>,
    nodes: Vec<Arc<Node>>,
    source: Source,
    oracle: Mutex<Oracle>,
    calm: AtomicBool,
    calls: AtomicU64,
    operations: AtomicU64,
    copies: AtomicU64,
    contended: AtomicU64,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    trace: Option<Mutex<String>>,
    wrong: Mutex<Option<String>>,
    failed: Notify,
}

/// Whether a run writes down what happens. It costs far more than the run itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It does.
    Kept,
    /// It does not.
    Off,
}

impl World {
    /// The world of `plan`, at its beginning. To be made within the runtime whose time is virtual.
    #[must_use]
    pub fn new(plan: Plan, trace: Trace) -> Arc<Self> {
        let timeline = Timeline::begin();
        let rng = |purpose: u64| rng_of(plan.seed, purpose);
        let stores = (0..plan.tiers).map(|level| {
            let name = format!("L{}", level + 1);
            let clock = Arc::new(timeline.clock(0));
            Arc::new(Store::new(&name, plan.retention(), clock, plan.defect, plan.log_len))
        });
        let nodes = (0..plan.nodes).map(|number| {
            let wire = |level| {
                let rng = rng(100 + 10 * number as u64 + level as u64);
                Arc::new(Wire::new(plan.network, plan.way_ms, rng))
            };
            Arc::new(Node {
                number,
                wires: (0..plan.tiers).map(wire).collect(),
                paused: Gate::new(false),
                wall_offset_ms: Mutex::new(plan.first_offset_ms(number)),
                orders: Gate::new(None),
            })
        });
        let oracle = Oracle::new(plan.clone(), timeline.now());
        Arc::new(Self {
            stores: stores.collect(),
            nodes: nodes.collect(),
            source: Source::new(rng(1)),
            oracle: Mutex::new(oracle),
            calm: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            contended: AtomicU64::new(0),
            faults: Mutex::new(BTreeMap::new()),
            trace: (trace == Trace::Kept).then(Mutex::default),
            wrong: Mutex::new(None),
            failed: Notify::new(),
            timeline,
            plan,
        })
    }

    /// Its settings.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.timeline.now()
    }

    /// A process's clock.
    #[must_use]
    pub fn clock(&self, offset_ms: i64) -> NodeClock {
        self.timeline.clock(offset_ms)
    }

    /// The servers, the upper tier's first.
    #[must_use]
    pub fn stores(&self) -> &[Arc<Store>] {
        &self.stores
    }

    /// The machines.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The source of truth.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Asks or tells the oracle something, at the present moment.
    pub fn oracle<T>(&self, ask: impl FnOnce(&mut Oracle) -> T) -> T {
        let mut oracle = self.oracle.lock();
        oracle.set_now(self.timeline.now());
        ask(&mut oracle)
    }

    /// Whether all faults are over.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Ends all faults.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// The number of a call to a tier.
    #[must_use]
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that so many keys were to be copied or warmed, and how many of them were changed
    /// meanwhile.
    pub fn count_copies(&self, keys: u64, contended: u64) {
        self.copies.fetch_add(keys, Ordering::Relaxed);
        self.contended.fetch_add(contended, Ordering::Relaxed);
    }

    /// How many keys were to be copied or warmed.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    /// How many of them were changed meanwhile.
    #[must_use]
    pub fn contended(&self) -> u64 {
        self.contended.load(Ordering::Relaxed)
    }

    /// Counts an operation.
    pub fn count_operation(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Counts a fault.
    pub fn count_fault(&self, kind: &'static str) {
        *self.faults.lock().entry(kind).or_default() += 1;
    }

    /// The faults so far, by their kind.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.faults.lock().clone()
    }

    /// Whether there is a trace.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.trace.is_some()
    }

    /// Puts a line into the trace.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let line = format!("{:>6}  {}\n", self.timeline.ms(), line());
            trace.lock().push_str(&line);
        }
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.as_ref().map(|trace| trace.lock().clone()).unwrap_or_default()
    }

    /// Something was wrong: the run ends. The first finding counts.
    pub fn fail(&self, wrong: String) {
        self.tell(|| format!("WRONG: {wrong}"));
        self.wrong.lock().get_or_insert(wrong);
        self.failed.notify_one();
    }

    /// What was wrong.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        self.wrong.lock().clone()
    }

    /// Waits until something is wrong.
    pub async fn failure(&self) {
        self.failed.notified().await;
    }
}

/// A source of chance of its own for each `purpose`, so that one part's draws do not move another's.
#[must_use]
pub fn rng_of(seed: u64, purpose: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
