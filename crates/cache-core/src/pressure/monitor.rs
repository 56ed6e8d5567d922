//! Makes things smaller while memory is short.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{PressureGauge, Shrink};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Event, Events},
};

/// When memory counts as short, and what is done then.
///
/// Above `threshold` everything is shrunk to `low_water` of its capacity, and while the pressure
/// stays it is shrunk further, by the same factor, down to `floor`. Once less than `relief` is used
/// the capacity comes back in `steps`, one every `interval`; between `relief` and `threshold`
/// nothing changes. So a reading that swings about the threshold moves nothing to and fro.
///
/// While a near tier or a memory tier is smaller than it may be, it keeps a quarter of the copies of
/// keys that it does not have. What callers insert it keeps in any case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PressureConfig {
    /// The share of the limit above which memory is short. 0.9 unless set.
    pub threshold: f64,
    /// The share of the limit below which it is no longer short. 0.8 unless set.
    pub relief: f64,
    /// To which share of its capacity everything is shrunk at once. 0.7 unless set.
    pub low_water: f64,
    /// The least share of its capacity that everything keeps, however long memory is short. 0.1
    /// unless set.
    pub floor: f64,
    /// In how many equal steps the whole capacity comes back. 10 unless set.
    pub steps: u32,
    /// How often the gauge is read. 1 s unless set.
    pub interval: Duration,
}

impl Default for PressureConfig {
    fn default() -> Self {
        Self {
            threshold: 0.9,
            relief: 0.8,
            low_water: 0.7,
            floor: 0.1,
            steps: 10,
            interval: Duration::from_secs(1),
        }
    }
}

impl PressureConfig {
    /// With this `threshold`, a `relief` a ninth below it, and everything else as unless set.
    #[must_use]
    pub fn above(threshold: f64) -> Self {
        Self { threshold, relief: threshold * 8.0 / 9.0, ..Self::default() }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] unless 0 < `relief` < `threshold` <= 1, 0 <= `floor` <= `low_water` <
    /// 1, and there are steps and an interval.
    pub fn validate(self) -> Result<Self> {
        let Self { threshold, relief, low_water, floor, steps, interval } = self;
        let fault = if !(0.0 < relief && relief < threshold && threshold <= 1.0) {
            format!(
                "`relief` {relief} is not between 0 and `threshold` {threshold}, or that above 1"
            )
        } else if !(0.0 <= floor && floor <= low_water && low_water < 1.0) {
            format!(
                "`floor` {floor} is not between 0 and `low_water` {low_water}, or that not below 1"
            )
        } else if steps == 0 || interval.is_zero() {
            "`steps` or `interval` is 0".to_owned()
        } else {
            return Ok(self);
        };
        Err(Error::new(ErrorKind::Config, format!("memory pressure: {fault}")).hint(
            "0.8 and 0.9 are relief and threshold unless set, 0.1 and 0.7 floor and low water",
        ))
    }
}

/// Reads a gauge and makes what it was given smaller while memory is short. When it is dropped it
/// stops, and its task gives what is smaller then its whole capacity back.
#[must_use = "the watch ends when it is dropped"]
pub struct MemoryPressure {
    state: Arc<State>,
    _stop: DropGuard,
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PressureStats {
    /// Which share of its limit was used at the last reading: 1 when it is full, 0 without a limit.
    pub used: f64,
    /// How often memory began to be short.
    pub episodes: u64,
    /// Entries that were evicted for it.
    pub evicted: u64,
    /// Which share of the capacity may be used now.
    pub fraction: f64,
    /// Readings that failed.
    pub unreadable: u64,
}

#[derive(Debug, Default)]
struct State {
    episodes: AtomicU64,
    evicted: AtomicU64,
    unreadable: AtomicU64,
    /// The bits of floats.
    fraction: AtomicU64,
    used: AtomicU64,
}

impl MemoryPressure {
    /// Watches `gauge` from now on, and has `targets` give way.
    ///
    /// # Errors
    ///
    /// Those of [`PressureConfig::validate`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn watch(
        gauge: Arc<dyn PressureGauge>,
        targets: Vec<Arc<dyn Shrink>>,
        config: PressureConfig,
        events: Events,
    ) -> Result<Self> {
        let config = config.validate()?;
        let state = Arc::new(State::default());
        state.set_fraction(1.0);
        let stop = CancellationToken::new();
        let watch = Watch { gauge, targets, config, events, state: Arc::clone(&state) };
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(watch.run()).await;
            if watch.state.fraction() < 1.0 {
                // Others may share what was made smaller.
                watch.shrink(1.0).await;
            }
        });
        Ok(Self { state, _stop: stop.drop_guard() })
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> PressureStats {
        let State { episodes, evicted, unreadable, .. } = &*self.state;
        PressureStats {
            used: f64::from_bits(self.state.used.load(Ordering::Relaxed)),
            episodes: episodes.load(Ordering::Relaxed),
            evicted: evicted.load(Ordering::Relaxed),
            fraction: self.state.fraction(),
            unreadable: unreadable.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Display for PressureStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, episodes, evicted, fraction, unreadable } = *self;
        let (used, kept) = (percent(used), percent(fraction));
        write!(
            f,
            "{used} % used, {kept} % of the capacity kept, short {episodes} times, {evicted} evicted for it"
        )?;
        if unreadable > 0 { write!(f, ", {unreadable} readings failed") } else { Ok(()) }
    }
}

impl State {
    fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }

    fn set_fraction(&self, fraction: f64) {
        self.fraction.store(fraction.to_bits(), Ordering::Relaxed);
    }
}

struct Watch {
    gauge: Arc<dyn PressureGauge>,
    targets: Vec<Arc<dyn Shrink>>,
    config: PressureConfig,
    events: Events,
    state: Arc<State>,
}

impl Watch {
    async fn run(&self) {
        let mut ticks = interval(self.config.interval);
        // After a pause of the process one reading is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.gauge.read().await {
                Ok(pressure) => {
                    let share = pressure.share();
                    self.state.used.store(share.to_bits(), Ordering::Relaxed);
                    self.act(share).await;
                }
                Err(error) => {
                    // Once in a row is enough to be told of it.
                    if self.state.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
                        let gauge = self.gauge.name();
                        tracing::warn!(gauge, %error, "memory pressure cannot be read");
                    }
                }
            }
        }
    }

    async fn act(&self, share: f64) {
        let PressureConfig { threshold, relief, low_water, floor, steps, .. } = self.config;
        let now = self.state.fraction();
        let next = if share > threshold {
            (now * low_water).max(floor)
        } else if share < relief {
            let more = now + (1.0 - low_water) / f64::from(steps);
            // What is left of rounding is no step of its own.
            if more > 1.0 - 1e-6 { 1.0 } else { more }
        } else {
            now
        };
        if next >= now {
            if next > now {
                self.shrink(next).await;
            }
            if next >= 1.0 && now < 1.0 {
                self.events.emit(Event::PressureRelieved { gauge: self.gauge.name().into() });
            }
            return;
        }
        let evicted = self.shrink(next).await;
        if now >= 1.0 {
            self.state.episodes.fetch_add(1, Ordering::Relaxed);
        }
        self.events.emit(Event::MemoryPressure {
            gauge: self.gauge.name().into(),
            used_percent: percent(share),
            kept_percent: percent(next),
            evicted,
        });
    }

    /// Makes all targets as small, or as large again, and says how many entries went.
    async fn shrink(&self, fraction: f64) -> u64 {
        self.state.set_fraction(fraction);
        let mut evicted = 0;
        for target in &self.targets {
            match target.shrink_to(fraction).await {
                Ok(count) => evicted += count,
                Err(error) => tracing::warn!(?target, %error, "a tier could not be made smaller"),
            }
        }
        self.state.evicted.fetch_add(evicted, Ordering::Relaxed);
        evicted
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floats saturate")]
fn percent(share: f64) -> u64 {
    (share * 100.0).round() as u64
}

impl fmt::Debug for MemoryPressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPressure").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::{super::Pressure, *};

    /// Tells what it was told to, in percent, and the last again and again.
    #[derive(Debug)]
    struct Script(Mutex<Vec<u64>>);

    #[async_trait]
    impl PressureGauge for Script {
        fn name(&self) -> &str {
            "script"
        }

        async fn read(&self) -> Result<Pressure> {
            let mut script = self.0.lock();
            let used = if script.len() > 1 { script.remove(0) } else { script[0] };
            if used == 0 {
                return Err(Error::new(ErrorKind::Unavailable, "no reading"));
            }
            Ok(Pressure { used, limit: 100 })
        }
    }

    /// Notes what was asked of it.
    #[derive(Debug, Default)]
    struct Target(Mutex<Vec<u64>>);

    #[async_trait]
    impl Shrink for Target {
        async fn shrink_to(&self, fraction: f64) -> Result<u64> {
            self.0.lock().push(percent(fraction));
            Ok(5)
        }
    }

    /// What a target is asked for under these readings, and what was counted.
    async fn under(readings: &[u64]) -> (Vec<u64>, PressureStats, Events) {
        let target = Arc::new(Target::default());
        let (gauge, events) = (Arc::new(Script(Mutex::new(readings.to_vec()))), Events::new());
        let targets: Vec<Arc<dyn Shrink>> = vec![target.clone()];
        let config = PressureConfig { steps: 3, ..PressureConfig::default() };
        let watch = MemoryPressure::watch(gauge, targets, config, events.clone()).unwrap();
        tokio::time::sleep(Duration::from_millis(1_000 * readings.len() as u64 - 500)).await;
        let asked = target.0.lock().clone();
        (asked, watch.stats(), events)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_short_is_shrunk_at_once_and_comes_back_in_steps() {
        let (asked, stats, events) = under(&[50, 95, 85, 70, 70, 70, 70]).await;
        assert_eq!(asked, [70, 80, 90, 100]);
        assert_eq!((stats.episodes, stats.evicted, stats.fraction), (1, 20, 1.0));
        assert_eq!((events.count("memory_pressure"), events.count("pressure_relieved")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_swings_about_the_threshold_moves_nothing_to_and_fro() {
        let (asked, stats, _) = under(&[91, 89, 88, 89, 85, 81, 89]).await;
        assert_eq!(asked, [70]);
        assert_eq!(stats.episodes, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn pressure_that_stays_shrinks_further_down_to_the_floor() {
        let (asked, stats, events) = under(&[99; 9]).await;
        assert_eq!(asked, [70, 49, 34, 24, 17, 12, 10]);
        assert_eq!((stats.episodes, events.count("memory_pressure")), (1, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_fails_changes_nothing() {
        let (asked, stats, _) = under(&[95, 0, 0, 70]).await;
        assert_eq!(asked, [70, 80]);
        assert_eq!(stats.unreadable, 2);
    }

    #[test]
    fn thresholds_out_of_order_are_refused() {
        let config = PressureConfig { relief: 0.95, ..PressureConfig::default() };
        assert_eq!(config.validate().unwrap_err().kind(), ErrorKind::Config);
        let config = PressureConfig { low_water: 1.0, ..PressureConfig::default() };
        assert_eq!(config.validate().unwrap_err().kind(), ErrorKind::Config);
    }
}
