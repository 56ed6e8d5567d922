//! Watches the memory that a cache takes, where that was asked for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{near_room::NearRoom, shared::Shared};
use crate::{
    event::Events,
    pressure::{MemoryPressure, PressureConfig, PressureGauge, PressureStats, RoomOf, Shrink},
    tier::Tier,
};

/// One watch for the memory of the process, and one for each tier that has a room of its own.
#[derive(Debug)]
pub(super) struct PressureWatches {
    /// Nothing: none was asked for.
    config: Option<PressureConfig>,
    /// What tells the memory of the process.
    memory: Arc<dyn PressureGauge>,
    has_begun: AtomicBool,
    watches: Mutex<Vec<Watch>>,
}

#[derive(Debug)]
struct Watch {
    gauge: Arc<str>,
    pressure: MemoryPressure,
}

impl PressureWatches {
    pub(super) fn new(config: Option<PressureConfig>, memory: Arc<dyn PressureGauge>) -> Self {
        let has_begun = AtomicBool::new(config.is_none());
        Self { config, memory, has_begun, watches: Mutex::default() }
    }

    /// Ends all watches, which give the tiers their room back, and begins none any more.
    pub(super) fn end(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
        self.watches.lock().clear();
    }

    /// What each watch has done, by the name of its gauge.
    pub(super) fn stats(&self) -> BTreeMap<String, PressureStats> {
        let watches = self.watches.lock();
        watches.iter().map(|watch| (watch.gauge.to_string(), watch.pressure.stats())).collect()
    }

    fn watch(
        &self,
        config: PressureConfig,
        gauge: Arc<dyn PressureGauge>,
        targets: Vec<Arc<dyn Shrink>>,
        events: &Events,
    ) {
        let name = Arc::from(gauge.name());
        let pressure = MemoryPressure::watch(gauge, targets, config, events.clone())
            .expect("the builder has validated the settings");
        self.watches.lock().push(Watch { gauge: name, pressure });
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Begins to watch, at the first call that goes beyond the near tier: nothing is held before
    /// that, and there is a runtime from then on.
    pub(super) fn watch_pressure(self: &Arc<Self>) {
        let watches = &self.pressure;
        if watches.has_begun.load(Ordering::Relaxed)
            || watches.has_begun.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let Some(config) = watches.config else { return };
        let mut in_process: Vec<Arc<dyn Shrink>> = vec![Arc::new(NearRoom(Arc::downgrade(self)))];
        for tier in &self.observed {
            let Some(room) = tier.room() else { continue };
            let own = Arc::new(RoomOf(Arc::clone(tier) as Arc<dyn Tier>));
            match (room.shrink(), room.gauge()) {
                (Some(_), None) => in_process.push(own),
                (Some(_), Some(_)) => {
                    watches.watch(config, Arc::clone(&own) as _, vec![own], &self.events);
                }
                (None, _) => {}
            }
        }
        watches.watch(config, Arc::clone(&watches.memory), in_process, &self.events);
    }
}
