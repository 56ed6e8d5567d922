//! A process on a node: a cache of its own, and what can befall it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cache_core::{ByteSize, Cache, Clock, Guard, Tier, Timestamp, WhenCut};
use tokio::sync::Notify;

use crate::{
    broken,
    gate::Gate,
    link::{Link, Wire},
    moment::{Moment, millis},
    plan::{CALL_TIMEOUT_MS, LOAD_TIMEOUT_MS},
    world::World,
};

/// A machine. What is here outlives the processes that run on it.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 0.
    pub number: usize,
    /// Its ways to the servers, the upper tier's first.
    pub wires: Vec<Arc<Wire>>,
    /// Whether it stands still.
    pub paused: Gate<bool>,
    /// What its wall clock is wrong by. A process takes it over when it starts, and keeps it.
    pub wall_offset_ms: parking_lot::Mutex<i64>,
    /// Tells its process to end: by being killed, or in good order.
    pub orders: Gate<Option<Order>>,
}

/// How a process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// At once.
    Kill,
    /// After it has finished what it has begun.
    Replace,
}

/// Which process: the node's number and how many ran there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// Of the node.
    pub node: usize,
    /// Counted from 0 on its node.
    pub run: usize,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node, self.run)
    }
}

/// A process's cache.
#[derive(Debug)]
pub struct Process {
    /// What can befall it.
    pub life: Arc<Life>,
    /// What it is there for.
    pub cache: Cache<u64>,
    /// The tiers of the cache, the upper one first.
    pub tiers: Vec<Arc<dyn Tier>>,
}

impl Process {
    /// Starts the process `run` of `node`, to be killed at its `crash_in`-th crash point.
    #[must_use]
    pub fn start(world: &Arc<World>, node: &Arc<Node>, run: usize, crash_in: Option<u64>) -> Self {
        let offset = *node.wall_offset_ms.lock();
        let clock: Arc<dyn Clock> = Arc::new(world.clock(offset));
        let life = Arc::new(Life::new(world, node, run, clock, crash_in));
        life.tell(|| format!("starts, its clock off by {offset} ms"));
        let plan = world.plan();
        let mut builder = Cache::builder("sim")
            .ttl(millis(plan.fresh_ms))
            .max_stale(millis(plan.stale_ms))
            .load_timeout(millis(LOAD_TIMEOUT_MS))
            .seed(plan.seed + 1_000 * node.number as u64 + run as u64)
            .clock(Arc::clone(&life.clock));
        builder = match plan.near_ttl_ms {
            Some(near_ttl) => builder.near(ByteSize::mib(16)).near_ttl(millis(near_ttl)),
            None => builder.without_near(),
        };
        builder = if plan.guards {
            let jitter_seed = Some(plan.seed + run as u64);
            let mut guard = Guard::default();
            guard.breaker.jitter_seed = jitter_seed;
            if let Some(retry) = &mut guard.retry {
                retry.jitter_seed = jitter_seed;
            }
            builder.guard(guard)
        } else {
            builder.without_guards()
        };
        if let Some(after) = plan.bypass_after_ms {
            builder = builder.when_cut(WhenCut::Bypass, millis(after));
        }
        if let Some(period) = plan.lease_ms {
            builder = builder.lease(millis(period));
        }
        let mut tiers = Vec::new();
        let stores = world.stores().iter().zip(&node.wires).enumerate();
        for (level, (store, wire)) in stores {
            let link = Link::new(Arc::clone(store), Arc::clone(&life), Arc::clone(wire));
            let limited = cache_core::Layer::wrap(
                &cache_core::timeout(millis(CALL_TIMEOUT_MS)),
                Arc::new(link) as Arc<dyn Tier>,
            );
            let clock = Arc::clone(&life.clock);
            let tier = broken::build_in(plan, level, limited, clock);
            tiers.push(Arc::clone(&tier));
            builder = builder.tier(tier);
        }
        let cache = builder.build().expect("the plan's settings are valid");
        Self { life, cache, tiers }
    }
}

/// Whether a process lives, and how.
#[derive(Debug)]
pub struct Life {
    world: Arc<World>,
    node: Arc<Node>,
    id: ProcessId,
    began: Moment,
    clock: Arc<dyn Clock>,
    dead: AtomicBool,
    died: Notify,
    crash_in: AtomicU64,
    writes_open: AtomicU64,
    writes_failed: AtomicU64,
}

impl Life {
    /// The life of the process `run` of `node`, to be killed at its `crash_in`-th crash point.
    #[must_use]
    pub fn new(
        world: &Arc<World>,
        node: &Arc<Node>,
        run: usize,
        clock: Arc<dyn Clock>,
        crash_in: Option<u64>,
    ) -> Self {
        Self {
            world: Arc::clone(world),
            node: Arc::clone(node),
            id: ProcessId { node: node.number, run },
            began: world.now(),
            clock,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            crash_in: AtomicU64::new(crash_in.unwrap_or(u64::MAX)),
            writes_open: AtomicU64::new(0),
            writes_failed: AtomicU64::new(0),
        }
    }

    /// The simulation.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Whose life this is.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.id
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Moment {
        self.began
    }

    /// The process's own time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Goes on while the process lives. A dead process's futures never do.
    pub async fn alive(&self) {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits while the node stands still: nothing leaves it or reaches it.
    pub async fn sends(&self) {
        self.node.paused.wait_for(|paused| !paused).await;
    }

    /// A moment between two writes, at which the process may be killed.
    pub async fn crash_point(&self) {
        if !self.world.is_calm() {
            let left = self.crash_in.load(Ordering::Relaxed);
            self.crash_in.store(left.saturating_sub(1), Ordering::Relaxed);
            if left == 0 && !self.is_dead() {
                self.world.count_fault("processes killed between two writes");
                self.die();
            }
        }
        self.alive().await;
    }

    /// Ends the process where it stands.
    pub fn die(&self) {
        self.tell(|| "is killed".to_owned());
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits until the process has been killed.
    pub async fn death(&self) {
        self.died.notified().await;
    }

    /// Counts a write to a tier, until the answer is dropped.
    #[must_use]
    pub fn open_write(&self) -> OpenWrite<'_> {
        self.writes_open.fetch_add(1, Ordering::Relaxed);
        OpenWrite { life: self, failed: true }
    }

    /// Writes to tiers that wait for their answer.
    #[must_use]
    pub fn writes_open(&self) -> u64 {
        self.writes_open.load(Ordering::Relaxed)
    }

    /// Writes to tiers that failed so far.
    #[must_use]
    pub fn writes_failed(&self) -> u64 {
        self.writes_failed.load(Ordering::Relaxed)
    }

    /// Puts a line of this process into the trace.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if !self.is_dead() {
            self.world.tell(|| format!("{} {}", self.id, line()));
        }
    }
}

/// A write to a tier that is under way.
#[derive(Debug)]
pub struct OpenWrite<'a> {
    life: &'a Life,
    failed: bool,
}

impl OpenWrite<'_> {
    /// It ended, well or not. Dropped without this, it has failed.
    pub fn end(mut self, failed: bool) {
        self.failed = failed;
    }
}

impl Drop for OpenWrite<'_> {
    fn drop(&mut self) {
        self.life.writes_open.fetch_sub(1, Ordering::Relaxed);
        self.life.writes_failed.fetch_add(u64::from(self.failed), Ordering::Relaxed);
    }
}
