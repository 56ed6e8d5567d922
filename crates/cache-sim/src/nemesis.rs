//! What befalls nodes and servers while they work.

use std::sync::Arc;

use rand::{Rng, rngs::SmallRng};

use crate::{
    link::Cut,
    moment::millis,
    oracle::STEP_MAX_MS,
    plan::{HOLD_MAX_MS, Stroke},
    process::{Node, Order},
    store::{Health, Restart, Store},
    world::World,
};

/// Strikes until the run becomes calm.
pub async fn strike(world: Arc<World>, mut rng: SmallRng) {
    let nemesis = &world.plan().nemesis;
    let Some(every_ms) = nemesis.every_ms.filter(|_| !nemesis.strokes.is_empty()) else { return };
    loop {
        tokio::time::sleep(millis(rng.random_range(1..=every_ms))).await;
        if world.is_calm() {
            return;
        }
        let stroke = nemesis.strokes[rng.random_range(0..nemesis.strokes.len())];
        for store in world.stores() {
            if rng.random_bool(0.3) {
                store.take_snapshot();
            }
        }
        one(&world, stroke, &mut rng);
    }
}

/// Ends everything that the nemesis has begun.
pub fn heal(world: &World) {
    for store in world.stores() {
        store.set_health(Health::Serving);
    }
    for node in world.nodes() {
        node.wires.iter().for_each(|wire| wire.cut(Cut::Open));
        node.paused.set(false);
    }
    world.source().set_down(false);
    world.tell(|| "all faults are over".to_owned());
}

fn one(world: &Arc<World>, stroke: Stroke, rng: &mut SmallRng) {
    let level = rng.random_range(0..world.stores().len());
    let store = Arc::clone(&world.stores()[level]);
    let node = Arc::clone(&world.nodes()[rng.random_range(0..world.nodes().len())]);
    let hold = rng.random_range(1..=HOLD_MAX_MS);
    let (number, name) = (node.number, Arc::clone(store.name()));
    match stroke {
        Stroke::Partition => cut(world, node, level, Cut::Silent, hold),
        Stroke::Refusal => cut(world, node, level, Cut::Refusing, hold),
        Stroke::Down => ail(world, store, Health::Down, hold),
        Stroke::Freeze => ail(world, store, Health::Frozen, hold),
        Stroke::ReadOnly => ail(world, store, Health::ReadOnly, hold),
        Stroke::Full => ail(world, store, Health::Full, hold),
        Stroke::RestartEmpty => {
            store.restart(Restart::Empty);
            world.count_fault("servers that restart empty");
            world.tell(|| format!("{name} restarts with nothing"));
        }
        Stroke::RestartOld => {
            store.restart(Restart::Snapshot);
            world.count_fault("servers that restart with old data");
            world.tell(|| format!("{name} restarts with what it had some time ago"));
        }
        Stroke::Pause => {
            world.count_fault("nodes that stand still");
            world.tell(|| format!("n{number} stands still for {hold} ms"));
            node.paused.set(true);
            later(world, hold, move |world| {
                node.paused.set(false);
                world.tell(|| format!("n{number} goes on"));
            });
        }
        Stroke::Kill => {
            world.count_fault("processes killed");
            node.orders.set(Some(Order::Kill));
        }
        Stroke::Replace => {
            world.count_fault("processes replaced");
            node.orders.set(Some(Order::Replace));
        }
        Stroke::ClockStep => {
            let offset = rng.random_range(-STEP_MAX_MS..=STEP_MAX_MS);
            *node.wall_offset_ms.lock() = offset;
            world.count_fault("clock steps");
            world.tell(|| format!("the wall clock of n{number} steps to {offset} ms off"));
        }
        Stroke::SourceDown => {
            world.count_fault("times that the source is down");
            world.tell(|| format!("the source is down for {hold} ms"));
            world.source().set_down(true);
            later(world, hold, |world| world.source().set_down(false));
        }
    }
}

fn cut(world: &Arc<World>, node: Arc<Node>, level: usize, cut: Cut, hold: u64) {
    let (number, name) = (node.number, Arc::clone(world.stores()[level].name()));
    world.count_fault("ways cut");
    world.tell(|| format!("the way from n{number} to {name} is {cut:?} for {hold} ms"));
    node.wires[level].cut(cut);
    later(world, hold, move |world| {
        node.wires[level].cut(Cut::Open);
        world.tell(|| format!("the way from n{number} to {name} is open"));
    });
}

fn ail(world: &Arc<World>, store: Arc<Store>, health: Health, hold: u64) {
    world.count_fault("servers that ail");
    world.tell(|| format!("{} is {health:?} for {hold} ms", store.name()));
    store.set_health(health);
    later(world, hold, move |world| {
        store.set_health(Health::Serving);
        world.tell(|| format!("{} is well", store.name()));
    });
}

fn later(world: &Arc<World>, ms: u64, act: impl FnOnce(&World) + Send + 'static) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(millis(ms)).await;
        act(&world);
    });
}
