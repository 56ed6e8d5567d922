//! Slows warming down when live reads or the source suffer, and lets it go again.
//!
//! Two things are bounded: [how many calls](calls) of the source are under way, by what they say of
//! the source, and [which part of the time](share) warming works on the tiers, by
//! [what live reads](live) take. The part begins small.

mod calls;
mod live;
mod share;

use std::{sync::Arc, time::Duration};

use cache_core::{Event, Events, LatencyHistogram};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    calls::Calls,
    live::{Finding, LiveReads},
    share::Share,
};
pub(crate) use self::{
    calls::{Pass, Verdict},
    share::Turn,
};

/// What the runs of one warmer share.
#[derive(Debug)]
pub(crate) struct Brake {
    calls: Calls,
    share: Share,
    live: Mutex<LiveReads>,
    /// Since when warming has nothing to do with the tiers: the end of the pause after its last work.
    idle_since: Mutex<Option<Instant>>,
    events: Events,
}

impl Brake {
    pub(crate) fn new(concurrency: usize, slowdown_max: f64, events: Events) -> Self {
        Self {
            calls: Calls::new(concurrency),
            share: Share::new(),
            live: Mutex::new(LiveReads::new(slowdown_max)),
            idle_since: Mutex::new(None),
            events,
        }
    }

    /// Waits for the right to call the source, until the work that earlier calls made for the tiers
    /// is paid for. `reads` tells what live reads of each tier took so far.
    pub(crate) async fn pass(self: &Arc<Self>, reads: impl Fn() -> Vec<LatencyHistogram>) -> Pass {
        self.look(&reads);
        self.share.rested().await;
        self.calls.pass(self).await
    }

    /// Waits for the right to one piece of work on the tiers.
    pub(crate) async fn turn(self: &Arc<Self>, reads: impl Fn() -> Vec<LatencyHistogram>) -> Turn {
        self.look(&reads);
        self.share.turn(self).await
    }

    /// Has a pause follow on so much work on the tiers.
    pub(crate) fn worked(&self, work: Duration) {
        let rested_at = self.share.worked(work);
        *self.idle_since.lock() = Some(rested_at);
    }

    /// Begins no call for `pause`: the source has asked for it.
    pub(crate) fn close_for(&self, pause: Duration) {
        self.calls.close_for(pause);
    }

    /// Calls of the source that may be under way now.
    pub(crate) fn calls_now(&self) -> f64 {
        self.calls.limit()
    }

    /// The part of the time in which warming may work on the tiers now.
    pub(crate) fn share_now(&self) -> f64 {
        self.share.part()
    }

    fn look(&self, reads: &impl Fn() -> Vec<LatencyHistogram>) {
        // Whoever holds it looks already.
        let Some(mut live) = self.live.try_lock() else { return };
        let now = Instant::now();
        if !live.is_due(now) {
            return;
        }
        let idle_since = *self.idle_since.lock();
        let idle = idle_since.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let finding = live.look(now, idle, reads());
        drop(live);
        match finding {
            Finding::Unknown => {}
            Finding::Nobody(quiet) => self.share.grow_by_time(quiet),
            Finding::Well(windows) => self.share.grow_by_reads(windows),
            Finding::Harmed(reason) => self.tell(self.share.shrink(), reason),
        }
    }

    fn tell(&self, calls: f64, reason: String) {
        let percent_of_a_call = (calls * 100.0) as u64;
        self.events.emit(Event::WarmingSlowed { percent_of_a_call, reason: reason.into() });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A brake, and a tier that callers read once a millisecond.
    struct Told {
        brake: Arc<Brake>,
        all: RefCell<(LatencyHistogram, Instant)>,
    }

    impl Told {
        async fn begin() -> Self {
            let brake = Arc::new(Brake::new(8, 1.5, Events::new()));
            let mut reads = LatencyHistogram::new();
            reads.record(Duration::from_millis(1), 1_000);
            let told = Self { brake, all: RefCell::new((reads, Instant::now())) };
            told.work(1, 1_000).await;
            told
        }

        /// What reads took so far, and `us` since the last time.
        fn reads(&self, us: u64) -> Vec<LatencyHistogram> {
            let (all, at) = &mut *self.all.borrow_mut();
            let since = u64::try_from(at.elapsed().as_millis()).unwrap();
            all.record(Duration::from_micros(us), since);
            *at = Instant::now();
            vec![all.clone()]
        }

        /// One piece of work of a millisecond after another until `ms` have passed, while a read
        /// takes `us`; says how many.
        async fn work(&self, ms: u64, us: u64) -> usize {
            let end = Instant::now() + Duration::from_millis(ms);
            let mut pieces = 0;
            while Instant::now() < end {
                let turn = self.brake.turn(|| self.reads(us)).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(turn);
                pieces += 1;
            }
            pieces
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_on_the_tiers_begins_as_a_small_part_of_the_time() {
        let told = Told::begin().await;
        let pieces = told.work(320, 1_000).await;
        assert!((40..=80).contains(&pieces), "{pieces} pieces of work");
    }

    #[tokio::test(start_paused = true)]
    async fn the_part_grows_while_live_reads_are_well_and_shrinks_when_they_suffer() {
        let told = Told::begin().await;
        told.work(5_000, 1_000).await;
        assert!(told.brake.share_now() > 0.9, "{}", told.brake.share_now());
        assert!(told.work(300, 1_000).await > 250);
        told.work(1_500, 3_000).await;
        let braked = told.work(320, 3_000).await;
        assert!(braked < 50, "{braked} pieces of work");
        assert!(told.brake.events.count("warming_slowed") >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_reads_nobody_is_spared() {
        let brake = Arc::new(Brake::new(8, 1.5, Events::new()));
        let start = Instant::now();
        while brake.share_now() < 1.0 {
            let turn = brake.turn(|| vec![LatencyHistogram::new()]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(turn);
        }
        assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_calls_made_for_the_tiers_is_paid_for_before_the_next_call() {
        let brake = Arc::new(Brake::new(8, 1.5, Events::new()));
        drop(brake.pass(Vec::new).await);
        brake.worked(Duration::from_millis(2));
        let start = Instant::now();
        drop(brake.pass(Vec::new).await);
        let least = 1.0 / share::SHARE_MIN - 1.0;
        assert_eq!(start.elapsed(), Duration::from_millis(2).mul_f64(least));
    }
}
