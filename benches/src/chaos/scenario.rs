//! What is done to the servers and nodes, one thing at a time.

use std::time::Duration;

use super::oracle::Bounds;

/// One fault, inflicted under load and lifted again.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// The fault.
    pub fault: Fault,
    /// How long it lasts, in ms.
    pub lasts_ms: u64,
    /// What is measured against a budget.
    pub budgets: Budgets,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Redis is killed, and comes back with nothing.
    RedisKilled,
    /// Redis is killed, and comes back with a snapshot from before.
    RedisSetBack,
    /// Redis is stopped: connections stay open, and nothing answers.
    RedisFrozen,
    /// Every connection to Redis is reset a moment after it was made.
    RedisResets,
    /// Every message to Redis and from it takes 20 ± 10 ms.
    RedisSlow,
    /// Redis is at `maxmemory` and evicts nothing.
    RedisFull,
    /// Redis is a replica, and takes no writes.
    RedisReadOnly,
    /// PostgreSQL is killed, and comes back.
    PostgresKilled,
    /// PostgreSQL and all of its sessions are stopped.
    PostgresFrozen,
    /// PostgreSQL's disk is full.
    PostgresDiskFull,
    /// Redis and PostgreSQL are killed, and come back.
    BothKilled,
    /// A node is killed while it loads, and another is started in its place.
    NodeKilled,
    /// A node is stopped for longer than its leases last.
    NodeFrozen,
    /// A node's clock goes an hour ahead.
    ClockStepped,
    /// One node alone does not reach Redis.
    NodeCutOffFromRedis,
}

/// Which budgets a scenario is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budgets {
    /// It must recover.
    Recovery,
    /// Redis does not answer at all: hot keys and cold loads must not suffer either.
    WithoutRedis,
    /// No tier answers: hot keys do not suffer until the near tier counts as cut off.
    WithoutTiers,
}

impl Scenario {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 16] = [
        Self::new("baseline", Fault::None, 3_000, Budgets::Recovery),
        Self::new("redis-killed", Fault::RedisKilled, 3_000, Budgets::WithoutRedis),
        Self::new("redis-frozen", Fault::RedisFrozen, 5_000, Budgets::WithoutRedis),
        Self::new("redis-set-back", Fault::RedisSetBack, 500, Budgets::Recovery),
        Self::new("redis-resets", Fault::RedisResets, 3_000, Budgets::Recovery),
        Self::new("redis-slow", Fault::RedisSlow, 3_000, Budgets::Recovery),
        Self::new("redis-full", Fault::RedisFull, 3_000, Budgets::Recovery),
        Self::new("redis-read-only", Fault::RedisReadOnly, 3_000, Budgets::Recovery),
        Self::new("postgres-killed", Fault::PostgresKilled, 3_000, Budgets::Recovery),
        Self::new("postgres-frozen", Fault::PostgresFrozen, 4_000, Budgets::Recovery),
        Self::new("postgres-disk-full", Fault::PostgresDiskFull, 3_000, Budgets::Recovery),
        Self::new("both-killed", Fault::BothKilled, 3_000, Budgets::WithoutTiers),
        Self::new("node-killed", Fault::NodeKilled, 1_500, Budgets::Recovery),
        Self::new("node-frozen", Fault::NodeFrozen, 3_000, Budgets::Recovery),
        Self::new("node-clock-ahead", Fault::ClockStepped, 3_000, Budgets::Recovery),
        Self::new("node-cut-off", Fault::NodeCutOffFromRedis, 4_000, Budgets::Recovery),
    ];

    const fn new(name: &'static str, fault: Fault, lasts_ms: u64, budgets: Budgets) -> Self {
        Self { name, fault, lasts_ms, budgets }
    }

    /// How old an answer may be.
    ///
    /// Another node hears of a change within milliseconds while it hears anything at all. When it
    /// does not, it passes its near tier by after [`CUT_AFTER`](super::node::CUT_AFTER), 1 s; half
    /// a second more is for a machine with more processes than cores. A node that is killed may be
    /// the one that tells Redis what it has missed: another takes over after 3 s.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        let others_us = match self.fault {
            Fault::NodeKilled => 4_500_000,
            _ => 1_500_000,
        };
        Bounds { others_us, stale_us: 0 }
    }

    pub(super) const fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms)
    }
}

impl Fault {
    /// Whether the way to the servers is through proxies.
    pub(super) const fn is_of_the_network(self) -> bool {
        matches!(self, Self::RedisResets | Self::RedisSlow | Self::NodeCutOffFromRedis)
    }

    /// Whether it stops the node's own process: its callers wait then, whatever the cache does.
    pub(super) const fn stops_a_node(self) -> bool {
        matches!(self, Self::NodeKilled | Self::NodeFrozen)
    }

    /// The node that it is done to, if it is done to one alone.
    pub(super) const fn node(self) -> Option<usize> {
        match self {
            Self::NodeKilled
            | Self::NodeFrozen
            | Self::ClockStepped
            | Self::NodeCutOffFromRedis => Some(1),
            _ => None,
        }
    }
}
