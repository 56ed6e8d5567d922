//! What is shown beside the scenarios: one load for many callers, and how soon nodes hear of each
//! other.

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    fault::{Ending, Field, Ways},
    figures::{LEARNING_US, Points, beyond_load},
    history::{Act, Place, Record},
    moment::now_us,
    node::{Load, table},
    oracle,
    run::{Pace, Plan},
    scenario::Fault,
    servers::Disk,
};

/// Something that is measured once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Show {
    /// 10,000 callers on one missing key, over four processes.
    Callers,
    /// The same, while Redis is gone.
    CallersWithoutRedis,
    /// How soon a node sees another one's invalidation.
    Lag,
    /// How stale answers are under load.
    Staleness,
    /// The same, while one node does not hear of the others for a third of the time.
    StalenessWithCut,
    /// A change and its invalidation in one SQL transaction: the node is killed directly after its
    /// `COMMIT`, and every node converges; a `ROLLBACK` changes nothing.
    Sql,
    /// What reads cost one caller while Redis is gone, on a machine that has nothing else to do.
    CostWithoutRedis,
    /// The same, while Redis is frozen.
    CostWithRedisFrozen,
    /// Servers that are killed directly after an insert or an invalidation was acknowledged: a node
    /// that starts then finds what was said last.
    Crash,
}

/// What a show found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Shown {
    /// Of callers on one key.
    Callers {
        /// How many were answered.
        answered: usize,
        /// How many loads that took.
        loads: usize,
        /// How many it may take.
        loads_max: usize,
    },
    /// Of invalidations.
    Lag {
        /// From the begin of the call.
        from_begin: Points,
        /// From its return; zero when it was seen before.
        from_return: Points,
    },
    /// Of reads: how many were how stale.
    Staleness {
        /// How many reads there were.
        reads: usize,
        /// The upper end of each class in µs, and how many reads were staler than the class before
        /// and at most this.
        histogram: Vec<(u64, usize)>,
        /// The stalest answer, in µs.
        max_us: u64,
    },
    /// Of changes by SQL.
    Sql {
        /// From the death of the node to the first answer with the new value, of each other node.
        converged: Points,
        /// What was not as promised.
        wrong: Vec<String>,
    },
    /// Of reads by one caller, and what they took beyond their own load.
    Cost(Cost),
    /// Of crashes.
    Crash {
        /// How many writes were the last before a crash.
        writes: usize,
        /// What was not as promised.
        wrong: Vec<String>,
    },
}

/// What reads cost one caller beyond their own load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Of a key in the near tier, while the fault lasted.
    pub hot: Points,
    /// Of a load, before the fault.
    pub cold_before: Points,
    /// Of a load, in the first second of the fault.
    pub cold_learning: Points,
    /// Of a load, after that.
    pub cold_learned: Points,
}

impl Shown {
    /// Whether it is wrong, not only slow.
    #[must_use]
    pub const fn is_wrong(&self) -> bool {
        matches!(self, Self::Sql { wrong, .. } | Self::Crash { wrong, .. } if !wrong.is_empty())
    }
}

/// The ends of the classes of staleness, in µs. The first is that of fresh answers.
const CLASSES_US: [u64; 9] =
    [0, 1_000, 2_000, 5_000, 20_000, 100_000, 500_000, 1_000_000, u64::MAX];

impl Show {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Callers,
        Self::CallersWithoutRedis,
        Self::Lag,
        Self::Staleness,
        Self::StalenessWithCut,
        Self::Sql,
        Self::CostWithoutRedis,
        Self::CostWithRedisFrozen,
        Self::Crash,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Callers => "callers",
            Self::CallersWithoutRedis => "callers-without-redis",
            Self::Lag => "lag",
            Self::Staleness => "staleness",
            Self::StalenessWithCut => "staleness-with-cut",
            Self::Sql => "sql",
            Self::CostWithoutRedis => "cost-without-redis",
            Self::CostWithRedisFrozen => "cost-with-redis-frozen",
            Self::Crash => "crash",
        }
    }
}

pub(super) async fn run(show: Show, plan: &Plan) -> Result<Shown> {
    match show {
        Show::Callers => callers(plan, Fault::None).await,
        Show::CallersWithoutRedis => callers(plan, Fault::RedisKilled).await,
        Show::Lag => lag(plan).await,
        Show::Staleness => staleness(plan, Fault::None).await,
        Show::StalenessWithCut => staleness(plan, Fault::NodeCutOffFromRedis).await,
        Show::Sql => sql(plan).await,
        Show::CostWithoutRedis => cost(plan, Fault::RedisKilled).await,
        Show::CostWithRedisFrozen => cost(plan, Fault::RedisFrozen).await,
        Show::Crash => crash(plan).await,
    }
}

async fn callers(plan: &Plan, fault: Fault) -> Result<Shown> {
    const NODES: usize = 4;
    const CALLERS: usize = 10_000;
    const KEY: &str = "slow-storm";
    let mut field =
        Field::start(&plan.programs, NODES, Ways::Direct, Disk::Shared, Load::None).await?;
    field.inflict(fault).await?;
    for node in &mut field.nodes {
        node.tell(&format!("storm {KEY} {}", CALLERS / NODES)).await?;
    }
    let mut answered = 0;
    for node in &mut field.nodes {
        answered += node.answer().await?.parse::<usize>()?;
    }
    let loads = field.end().await?.loads.get(KEY).map_or(0, Vec::len);
    let loads_max = if fault == Fault::None { 1 } else { NODES };
    Ok(Shown::Callers { answered, loads, loads_max })
}

async fn lag(plan: &Plan) -> Result<Shown> {
    let rounds = match plan.pace {
        Pace::Full => 300,
        Pace::Quick => 50,
    };
    let mut field = Field::start(&plan.programs, 2, Ways::Direct, Disk::Shared, Load::None).await?;
    let (mut from_begin, mut from_return) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        field.nodes[1].tell("read key").await?;
        field.nodes[1].tell(&format!("watch key {round}")).await?;
        // It has the value and looks at it then.
        sleep(Duration::from_millis(20)).await;
        field.nodes[0].tell("invalidate key").await?;
        let seen_us: u64 = field.nodes[1].answer().await?.parse()?;
        // The record of the call may come after the answer of the other node.
        let record = loop {
            let mut records = field.chronicle.take().into_iter().map(|seen| seen.record);
            match records.rfind(|record| record.act == Act::Invalidate) {
                Some(record) => break record,
                None => sleep(Duration::from_millis(1)).await,
            }
        };
        from_begin.push(seen_us.saturating_sub(record.begin_us));
        from_return.push(seen_us.saturating_sub(record.end_us));
    }
    field.end().await?;
    Ok(Shown::Lag { from_begin: Points::of(from_begin), from_return: Points::of(from_return) })
}

async fn staleness(plan: &Plan, fault: Fault) -> Result<Shown> {
    let third = plan.pace.minute() / 3;
    let mut field =
        Field::start(&plan.programs, 3, Ways::Proxied, Disk::Shared, Load::Mixed).await?;
    for node in &mut field.nodes {
        node.tell("go").await?;
    }
    sleep(third).await;
    field.inflict(fault).await?;
    sleep(third).await;
    field.lift(fault).await?;
    sleep(third).await;
    let Ending { history, writes, .. } = field.end().await?;
    let ages = oracle::staleness(&history, &writes);
    let max_us = ages.iter().copied().max().context("nobody read anything")?;
    let mut histogram = CLASSES_US.map(|end_us| (end_us, 0)).to_vec();
    for age in &ages {
        let class = CLASSES_US.partition_point(|end_us| end_us < age);
        histogram[class].1 += 1;
    }
    Ok(Shown::Staleness { reads: ages.len(), histogram, max_us })
}

/// How long other nodes may take to see a change by SQL: the node that died may have been the one
/// that tells Redis of such changes, and another takes over after 3 s.
const CONVERGE_WITHIN: Duration = Duration::from_secs(4);

/// How long is waited for something that must not happen.
const NOTHING_WITHIN: Duration = Duration::from_millis(200);

async fn sql(plan: &Plan) -> Result<Shown> {
    const NODES: usize = 3;
    let mut field =
        Field::start(&plan.programs, NODES, Ways::Direct, Disk::Shared, Load::None).await?;
    field.postgres.execute(table::CREATE).await?;
    let (mut converged, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let key = format!("sql-rollback-{round}");
        for node in 0..NODES {
            read(&mut field, node, &key).await?;
        }
        field.nodes[1].tell(&format!("rollback {key}")).await?;
        field.nodes[1].answer().await?;
        sleep(NOTHING_WITHIN).await;
        for node in 0..NODES {
            let record = read(&mut field, node, &key).await?;
            if record.version != Some(0) || record.place == Some(Place::Load) {
                wrong.push(format!("after ROLLBACK node {node} reads {record:?}"));
            }
        }
        let key = format!("sql-commit-{round}");
        for node in 0..NODES {
            read(&mut field, node, &key).await?;
        }
        field.nodes[1].tell(&format!("commit {key}")).await?;
        field.nodes[1].died().await?;
        let died_us = now_us();
        for node in [0, 2] {
            let patience = u64::try_from(CONVERGE_WITHIN.as_micros())?;
            loop {
                let record = read(&mut field, node, &key).await?;
                if record.version == Some(1) {
                    converged.push(record.end_us.saturating_sub(died_us));
                    break;
                }
                if record.begin_us > died_us + patience {
                    wrong.push(format!("after COMMIT node {node} reads {record:?}"));
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
        }
        field.nodes[1].restart().await?;
        let record = read(&mut field, 1, &key).await?;
        if record.version != Some(1) {
            wrong.push(format!("the node that was started again reads {record:?}"));
        }
    }
    field.end().await?;
    Ok(Shown::Sql { converged: Points::of(converged), wrong })
}

async fn cost(plan: &Plan, fault: Fault) -> Result<Shown> {
    let mut field = Field::start(&plan.programs, 1, Ways::Direct, Disk::Shared, Load::None).await?;
    let mut cold = Vec::new();
    let mut hot = Vec::new();
    let settling = now_us() + LEARNING_US;
    let before = now_us() + 2 * LEARNING_US;
    let mut number = 0;
    let mut read_both = async |field: &mut Field, until_us: u64| {
        while now_us() < until_us {
            hot.push(read(field, 0, "hot").await?);
            cold.push(read(field, 0, &format!("cold-{number}")).await?);
            number += 1;
        }
        anyhow::Ok(())
    };
    // The first ones make connections.
    read_both(&mut field, before).await?;
    field.inflict(fault).await?;
    let begin = now_us();
    read_both(&mut field, begin + 3 * LEARNING_US).await?;
    field.lift(fault).await?;
    field.end().await?;
    let points = |records: &[Record], span: Range<u64>| {
        let within = records.iter().filter(|record| span.contains(&record.begin_us));
        Points::of(within.map(beyond_load).collect())
    };
    let learned = begin + LEARNING_US;
    Ok(Shown::Cost(Cost {
        hot: points(&hot, begin..u64::MAX),
        cold_before: points(&cold, settling..before),
        cold_learning: points(&cold, begin..learned),
        cold_learned: points(&cold, learned..u64::MAX),
    }))
}

async fn crash(plan: &Plan) -> Result<Shown> {
    /// Longer than the server keeps a commit from the disk that does not wait for it: three times
    /// its `wal_writer_delay` of 200 ms.
    const ON_DISK: Duration = Duration::from_millis(800);
    let rounds = match plan.pace {
        Pace::Full => 10,
        Pace::Quick => 2,
    };
    let mut field = Field::start(&plan.programs, 1, Ways::Direct, Disk::Shared, Load::None).await?;
    let mut wrong = Vec::new();
    for round in 0..rounds {
        for (last, place) in [("insert", Place::Postgres), ("invalidate", Place::Load)] {
            let key = format!("crash-{last}-{round}");
            write(&mut field, "insert", &key).await?;
            sleep(ON_DISK).await;
            write(&mut field, last, &key).await?;
            field.inflict(Fault::BothKilled).await?;
            // What it remembers, and what its breakers have learned, goes with it.
            field.nodes[0].kill().await?;
            field.lift(Fault::BothKilled).await?;
            field.nodes[0].restart().await?;
            let record = read(&mut field, 0, &key).await?;
            if record.version != Some(2) || record.place != Some(place) {
                wrong.push(format!("after `{last}` and a crash the node reads {record:?}"));
            }
        }
    }
    field.end().await?;
    Ok(Shown::Crash { writes: 2 * rounds, wrong })
}

/// Has a node write `key`, and waits until it has.
async fn write(field: &mut Field, how: &str, key: &str) -> Result<()> {
    field.nodes[0].tell(&format!("{how} {key}")).await?;
    let record = next(field).await;
    ensure!(record.error.is_none(), "{how}: {record:?}");
    Ok(())
}

/// Has a node read `key`, and waits for what it says.
async fn read(field: &mut Field, node: usize, key: &str) -> Result<Record> {
    field.nodes[node].tell(&format!("read {key}")).await?;
    Ok(next(field).await)
}

/// The next thing that a node does, while nobody else does anything.
async fn next(field: &Field) -> Record {
    loop {
        if let Some(seen) = field.chronicle.take().pop() {
            return seen.record;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
