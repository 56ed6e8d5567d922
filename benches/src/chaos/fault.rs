//! The servers and nodes of a scenario, and how each fault is inflicted on them and lifted.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{
    fleet::{Chronicle, Node},
    history::Seen,
    node::{Load, Settings},
    oracle::Writes,
    proxy::{Network, Proxy},
    scenario::Fault,
    servers::{Disk, Postgres, Programs, Redis, Snapshot},
    source::Source,
};

/// Everything that takes part. It ends with this; [`Field::end`] ends it in order.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) source: Source,
    pub(super) chronicle: Chronicle,
    pub(super) nodes: Vec<Node>,
    redis: Redis,
    pub(super) postgres: Postgres,
    /// Each node's own way to Redis, when the network takes part.
    ways: Vec<Proxy>,
}

/// What is left of a field.
#[derive(Debug)]
pub(super) struct Ending {
    /// What the nodes did, since it was last taken.
    pub(super) history: Vec<Seen>,
    pub(super) writes: Writes,
    /// When each key was loaded.
    pub(super) loads: HashMap<String, Vec<u64>>,
    /// What the nodes counted, in sum.
    pub(super) counts: Vec<(String, u64)>,
}

/// Whether nodes reach Redis through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    Direct,
    Proxied,
}

impl Field {
    pub(super) async fn start(
        programs: &Programs,
        nodes: usize,
        ways: Ways,
        disk: Disk,
        load: Load,
    ) -> Result<Self> {
        let source = Source::start().await?;
        let redis = Redis::start(programs).await?;
        let postgres = Postgres::start(programs, disk).await?;
        let mut field = Self {
            source,
            chronicle: Chronicle::default(),
            nodes: Vec::new(),
            redis,
            postgres,
            ways: Vec::new(),
        };
        for node in 0..nodes {
            let mut port = field.redis.port();
            if ways == Ways::Proxied {
                let proxy = Proxy::start(port).await?;
                port = proxy.port();
                field.ways.push(proxy);
            }
            let settings = Settings {
                node,
                nodes,
                namespace: "chaos".to_owned(),
                redis: format!("redis://127.0.0.1:{port}/0"),
                postgres: Postgres::url(field.postgres.port()),
                source: field.source.address(),
                load,
            };
            // One after the other: the first makes the tables.
            field.nodes.push(Node::start(&settings, &field.chronicle).await?);
        }
        Ok(field)
    }

    /// Does what can be done only before the load, or long before the fault.
    pub(super) async fn prepare(&mut self, fault: Fault) -> Result<()> {
        if fault == Fault::RedisSetBack {
            self.redis.order("SAVE").await?;
        }
        Ok(())
    }

    pub(super) async fn inflict(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::None => {}
            Fault::RedisKilled | Fault::RedisSetBack => self.redis.kill().await?,
            Fault::RedisFrozen => self.redis.freeze()?,
            Fault::RedisResets => self.network(Network::Resets),
            Fault::RedisSlow => self.network(Network::Slow {
                latency: Duration::from_millis(20),
                jitter: Duration::from_millis(10),
                bytes_per_s: 10_000_000,
            }),
            Fault::RedisFull => self.redis.order("CONFIG SET maxmemory 1mb").await?,
            // Of a master that is not there: it keeps its data, and takes no writes.
            Fault::RedisReadOnly => self.redis.order("REPLICAOF 127.0.0.1 1").await?,
            Fault::PostgresKilled => self.postgres.kill().await?,
            Fault::PostgresFrozen => self.postgres.freeze()?,
            Fault::PostgresDiskFull => self.postgres.fill_disk()?,
            Fault::BothKilled => {
                self.redis.kill().await?;
                self.postgres.kill().await?;
            }
            Fault::NodeKilled => {
                // It is loading then, and whoever waits for it waits for a dead process.
                self.node(fault)?.tell("read slow-lease").await?;
                sleep(Duration::from_millis(100)).await;
                self.node(fault)?.kill().await?;
                for node in [0, 2] {
                    self.nodes[node].tell("read slow-lease").await?;
                }
            }
            Fault::NodeFrozen => self.node(fault)?.freeze()?,
            Fault::ClockStepped => self.node(fault)?.tell("step 3600000").await?,
            Fault::NodeCutOffFromRedis => self.ways[1].set(Network::BlackHole),
        }
        Ok(())
    }

    pub(super) async fn lift(&mut self, fault: Fault) -> Result<()> {
        match fault {
            // A clock that was set right stays right.
            Fault::None | Fault::ClockStepped => {}
            Fault::RedisKilled => self.redis.restart(Snapshot::None).await?,
            Fault::RedisSetBack => self.redis.restart(Snapshot::Saved).await?,
            Fault::RedisFrozen => self.redis.thaw()?,
            Fault::RedisResets | Fault::RedisSlow => self.network(Network::Good),
            Fault::RedisFull => self.redis.order("CONFIG SET maxmemory 0").await?,
            Fault::RedisReadOnly => self.redis.order("REPLICAOF NO ONE").await?,
            Fault::PostgresKilled => self.postgres.restart().await?,
            Fault::PostgresFrozen => self.postgres.thaw()?,
            Fault::PostgresDiskFull => self.postgres.empty_disk()?,
            Fault::BothKilled => {
                self.redis.restart(Snapshot::None).await?;
                self.postgres.restart().await?;
            }
            Fault::NodeKilled => {
                self.node(fault)?.restart().await?;
                self.node(fault)?.tell("go").await?;
            }
            Fault::NodeFrozen => self.node(fault)?.thaw()?,
            Fault::NodeCutOffFromRedis => self.ways[1].set(Network::Good),
        }
        Ok(())
    }

    /// Ends nodes and servers in order.
    pub(super) async fn end(self) -> Result<Ending> {
        let mut counts = BTreeMap::<String, u64>::new();
        for node in self.nodes {
            for (name, count) in node.stop().await? {
                *counts.entry(name).or_default() += count;
            }
        }
        self.postgres.stop().await?;
        // Not before the nodes have ended: until then they write.
        Ok(Ending {
            history: self.chronicle.take(),
            writes: self.source.writes(),
            loads: self.source.loads(),
            counts: counts.into_iter().collect(),
        })
    }

    fn node(&mut self, fault: Fault) -> Result<&mut Node> {
        let node = fault.node().context("the fault is not of a node")?;
        self.nodes.get_mut(node).context("there are too few nodes")
    }

    fn network(&self, network: Network) {
        self.ways.iter().for_each(|way| way.set(network));
    }
}
