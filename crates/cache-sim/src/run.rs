//! One seed, from its plan to its verdict.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use rand::Rng;
use tokio::task::JoinSet;

use crate::{
    client::Client,
    moment::millis,
    nemesis,
    oracle::{Oracle, REPAIR_MS},
    plan::{HOLD_MAX_MS, Plan},
    process::{Node, Order, Process},
    world::{Trace, World, rng_of},
};

/// The longest that a run may take, in virtual milliseconds: far above what any plan needs.
const RUN_MAX_MS: u64 = 600_000;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its settings.
    pub plan: Plan,
    /// Operations of clients.
    pub operations: u64,
    /// Keys that clients copied from a lower tier to the upper one, or warmed, or tried to.
    pub copies: u64,
    /// Those of them that were changed at the same time.
    pub contended: u64,
    /// Faults that were injected, by their kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was wrong, with the history of the key.
    pub wrong: Option<String>,
    /// What happened, where it was kept.
    pub trace: String,
}

/// Carries a plan out. The same one does the same, to the byte of its trace.
///
/// # Panics
///
/// When the runtime cannot be made.
#[must_use]
pub fn run(plan: Plan, trace: Trace) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output needs nothing from the system");
    runtime.block_on(async {
        let world = World::new(plan, trace);
        tokio::select! {
            biased;
            () = world.failure() => {}
            () = all(&world) => {}
            () = tokio::time::sleep(millis(RUN_MAX_MS)) => {
                world.fail("P3: the run does not come to its end".to_owned());
            }
        }
        Report {
            plan: world.plan().clone(),
            operations: world.operations(),
            copies: world.copies(),
            contended: world.contended(),
            faults: world.faults(),
            wrong: world.wrong(),
            trace: world.trace(),
        }
    })
}

/// The nodes work under faults, then without any, and end.
async fn all(world: &Arc<World>) {
    let seed = world.plan().seed;
    tokio::spawn(nemesis::strike(Arc::clone(world), rng_of(seed, 2)));
    let working: Vec<_> = world
        .nodes()
        .iter()
        .map(|node| tokio::spawn(work(Arc::clone(world), Arc::clone(node))))
        .collect();
    let mut processes = Vec::new();
    for node in working {
        processes.push(node.await.expect("a node's task neither panics nor is aborted"));
    }
    world.calm();
    world.oracle(Oracle::set_calm);
    nemesis::heal(world);
    // What is still on its way arrives, and what may be old has had its time.
    let near_ttl = world.plan().near_ttl_ms.unwrap_or(0);
    for wait in [HOLD_MAX_MS, REPAIR_MS, world.plan().flight_ms() + near_ttl + 1] {
        tokio::time::sleep(millis(wait)).await;
        for process in &processes {
            let rng = rng_of(seed, 3);
            Client::new(Arc::clone(process), rng).read_all().await;
        }
    }
    for process in &processes {
        shut_down(world, process).await;
    }
}

/// Runs processes on `node`, one after the other, until their clients have done what they have to.
async fn work(world: Arc<World>, node: Arc<Node>) -> Arc<Process> {
    let plan = world.plan();
    let mut rng = rng_of(plan.seed, 10 + node.number as u64);
    let left = Arc::new(Mutex::new(plan.clients * plan.operations));
    for number in 0.. {
        let crash_in = plan.crash_within.map(|within| rng.random_range(0..within));
        let process = Arc::new(Process::start(&world, &node, number, crash_in));
        let mut clients = JoinSet::new();
        for client in 0..plan.clients {
            let purpose = 1_000 * (node.number as u64 + 1) + 10 * number as u64 + client as u64;
            let client = Client::new(Arc::clone(&process), rng_of(plan.seed, purpose));
            clients.spawn(client.work(Arc::clone(&left)));
        }
        let order = tokio::select! {
            biased;
            () = process.life.death() => Some(Order::Kill),
            order = node.orders.wait_for(|order| order.is_some()) => order,
            () = async { while clients.join_next().await.is_some() {} } => None,
        };
        node.orders.set(None);
        match order {
            None => return process,
            Some(Order::Kill) if !process.life.is_dead() => process.life.die(),
            Some(Order::Kill) => {}
            Some(Order::Replace) => {
                clients.abort_all();
                while clients.join_next().await.is_some() {}
                shut_down(&world, &process).await;
            }
        }
        clients.abort_all();
        while clients.join_next().await.is_some() {}
        tokio::time::sleep(millis(rng.random_range(0..=50))).await;
    }
    unreachable!("the loop above has no end but its return")
}

/// Ends a process in good order, and looks whether it left something behind.
async fn shut_down(world: &World, process: &Process) {
    let (life, call_ms) = (&process.life, world.plan().call_ms());
    life.tell(|| "shuts down".to_owned());
    let result = tokio::select! {
        biased;
        () = life.death() => return,
        result = process.cache.shutdown(millis(call_ms)) => result,
    };
    let id = life.process();
    // A tier that has missed something is told of it for as long as the process is there.
    let may_not_write = life.writes_failed() == 0 && world.plan().log_len.is_none();
    match result {
        Err(error) => world.fail(format!("P11: {id} has not shut down: {error}")),
        Ok(()) if life.writes_open() > 0 && may_not_write => {
            let open = life.writes_open();
            world.fail(format!("P11: {id} has shut down with {open} writes under way"));
        }
        Ok(()) => {
            life.tell(|| "has shut down".to_owned());
            world.oracle(|oracle| oracle.process_ended(id, life.writes_failed()));
        }
    }
}
