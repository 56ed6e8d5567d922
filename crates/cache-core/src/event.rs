//! What happened to a cache that somebody should know about: faults, and their ends.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::broadcast;

/// Events that a subscriber may be behind before it loses the oldest.
const BEHIND_MAX: usize = 1_024;

/// Declares the events once: the enum, their names, and how each is logged.
macro_rules! events {
    ($($(#[$doc:meta])* $level:ident $name:ident as $label:literal
        { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? };)+) => {
        /// Something that happened, of which there are few: a change of state, not a call.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: $type),* },)+
        }

        /// The names of all events, as they are counted and logged.
        const LABELS: &[&str] = &[$($label),+];

        impl Event {
            /// The name under which it is counted and logged.
            #[must_use]
            pub const fn label(&self) -> &'static str {
                match self { $(Self::$name { .. } => $label,)+ }
            }

            fn log(&self) {
                match self {
                    $(Self::$name { $($field),* } => {
                        tracing::$level!(event = $label, $($field = %$field),*);
                    })+
                }
            }
        }
    };
}

events! {
    /// A tier failed so often that it is not asked for a while.
    warn BreakerOpened as "breaker_opened" {
        /// Which.
        tier: Arc<str>,
        /// Its last error.
        error: Arc<str>,
    };
    /// A tier that was not asked is tried again.
    debug BreakerProbing as "breaker_probing" {
        /// Which.
        tier: Arc<str>,
    };
    /// A tier works again.
    info BreakerClosed as "breaker_closed" {
        /// Which.
        tier: Arc<str>,
    };
    /// A tier's server lost data (a restart, a failover, an old snapshot): its namespace was
    /// cleared.
    warn TierLostData as "tier_lost_data" {
        /// Which.
        tier: Arc<str>,
        /// What was noticed.
        error: Arc<str>,
    };
    /// A tier missed removals. It does not answer for those keys until it has been told.
    warn TierSuspect as "tier_suspect" {
        /// Which.
        tier: Arc<str>,
        /// How many removals wait for it.
        pending: usize,
    };
    /// A tier has caught up with what it had missed.
    info TierRepaired as "tier_repaired" {
        /// Which.
        tier: Arc<str>,
        /// How many removals it was told.
        removals: usize,
    };
    /// Nothing was heard of other processes' changes for a while.
    warn LogCut as "log_cut" {
        /// The tier whose log it is.
        tier: Arc<str>,
        /// Why.
        error: Arc<str>,
    };
    /// The log is read again, from where it was left.
    info LogResumed as "log_resumed" {
        /// The tier whose log it is.
        tier: Arc<str>,
    };
    /// The log does not reach back to where it was left: changes were missed.
    warn LogGap as "log_gap" {
        /// The tier whose log it is.
        tier: Arc<str>,
    };
    /// A near tier was emptied, because changes may have been missed.
    warn NearDropped as "near_dropped" {
        /// Of which namespace.
        namespace: Arc<str>,
    };
    /// A load was not started, because too many are under way.
    debug LoadShed as "load_shed" {
        /// Of which namespace.
        namespace: Arc<str>,
    };
    /// A loaded value was not kept, because its key had moved on.
    debug FillRefused as "fill_refused" {
        /// Which.
        key: Arc<str>,
    };
    /// A lease could not be asked for: this process loads without one.
    warn LeaseUnavailable as "lease_unavailable" {
        /// Of which namespace.
        namespace: Arc<str>,
        /// Why.
        error: Arc<str>,
    };
    /// A server makes room otherwise than its tier was set to.
    warn EvictionMisfit as "eviction_misfit" {
        /// Which tier.
        tier: Arc<str>,
        /// What is so.
        found: Arc<str>,
        /// What to do about it.
        change: Arc<str>,
    };
    /// An entry with a priority came into a near tier whose engine knows none, for the first time.
    warn PriorityIgnored as "priority_ignored" {
        /// Which.
        key: Arc<str>,
        /// What to do about it.
        change: Arc<str>,
    };
    /// Memory is short: tiers were made smaller.
    warn MemoryPressure as "memory_pressure" {
        /// What was read.
        gauge: Arc<str>,
        /// How much of its limit is used.
        used_percent: u64,
        /// How much of their capacity the tiers may use from now on.
        kept_percent: u64,
        /// How many entries were evicted for it.
        evicted: u64,
    };
    /// Memory is no longer short, and the tiers have their whole capacity again.
    info PressureRelieved as "pressure_relieved" {
        /// What was read.
        gauge: Arc<str>,
    };
    /// A warming run has begun, or goes on where another process left it.
    info WarmingBegan as "warming_began" {
        /// Which: the name of its plan.
        plan: Arc<str>,
        /// How many keys it has.
        keys: usize,
        /// How many of them were done before.
        done: usize,
    };
    /// A warming run has ended.
    info WarmingEnded as "warming_ended" {
        /// Which: the name of its plan.
        plan: Arc<str>,
        /// How many keys were loaded or copied.
        warmed: u64,
        /// How many failed.
        failed: u64,
    };
    /// Another process leads the warming run now: this one stops.
    warn WarmingLost as "warming_lost" {
        /// Which: the name of its plan.
        plan: Arc<str>,
    };
    /// Warming was slowed down, because the source or live reads suffer.
    info WarmingSlowed as "warming_slowed" {
        /// Calls at the same time from now on, in hundredths: of the source where that suffers, of
        /// the tiers where live reads do. Below 100 there are pauses.
        percent_of_a_call: u64,
        /// What was noticed.
        reason: Arc<str>,
    };
    /// Two tiers, or a tier and the source, disagreed about a key.
    warn Inconsistent as "inconsistent" {
        /// Which.
        key: Arc<str>,
        /// How.
        finding: Arc<str>,
    };
}

/// Where events go: each is counted, logged, and sent to whoever subscribed.
///
/// Cheap to clone; clones are the same. One may serve several caches.
#[derive(Clone)]
pub struct Events(Arc<Hub>);

struct Hub {
    counts: Vec<AtomicU64>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// Counts from zero.
    #[must_use]
    pub fn new() -> Self {
        let counts = LABELS.iter().map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Hub { counts, sender: broadcast::Sender::new(BEHIND_MAX) }))
    }

    /// Counts, logs and sends `event`. Never waits.
    pub fn emit(&self, event: Event) {
        event.log();
        let place = LABELS.iter().position(|label| *label == event.label());
        self.0.counts[place.expect("every event has its label")].fetch_add(1, Ordering::Relaxed);
        // It fails when nobody listens.
        let _ = self.0.sender.send(event);
    }

    /// What happens from now on. Whoever is more than 1,024 events behind loses the oldest, and is
    /// told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.sender.subscribe()
    }

    /// How often each event has happened, by its name; all of them, in a fixed order.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LABELS.iter().copied().zip(self.0.counts.iter().map(count)).collect()
    }

    /// How often the event of this name has happened.
    #[must_use]
    pub fn count(&self, label: &str) -> u64 {
        self.counts().into_iter().find(|(name, _)| *name == label).map_or(0, |(_, count)| count)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts().into_iter().filter(|(_, count)| *count > 0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_counted_and_reaches_who_subscribed() {
        let events = Events::new();
        events.emit(Event::LogGap { tier: "redis".into() });
        let mut heard = events.subscribe();
        let closed = Event::BreakerClosed { tier: "redis".into() };
        events.clone().emit(closed.clone());
        assert_eq!(heard.try_recv(), Ok(closed));
        assert_eq!((events.count("log_gap"), events.count("breaker_closed")), (1, 1));
        assert_eq!(events.count("breaker_opened"), 0);
    }
}
