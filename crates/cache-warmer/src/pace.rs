//! How many keys a second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// How much may be taken at once after a pause, as time.
const BURST: Duration = Duration::from_millis(100);

/// A token bucket: so many keys a second, and a tenth of them at once.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What one key takes; nothing: there is no limit.
    each: Option<Duration>,
    /// Until when what was taken lasts.
    spent_until: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(keys_per_s_max: Option<f64>) -> Self {
        let each = keys_per_s_max.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self { each, spent_until: Mutex::new(None) }
    }

    /// Waits until `keys` may be asked for. Whoever gives up waiting has taken them all the same.
    pub(crate) async fn take(&self, keys: usize) {
        let Some(each) = self.each else { return };
        let may_go_at = {
            let now = Instant::now();
            let mut spent_until = self.spent_until.lock();
            let from = spent_until.unwrap_or(now).max(now);
            let keys = u32::try_from(keys).unwrap_or(u32::MAX);
            let until = from + each.saturating_mul(keys);
            *spent_until = Some(until);
            until.checked_sub(BURST).unwrap_or(now).max(from.checked_sub(BURST).unwrap_or(from))
        };
        sleep_until(may_go_at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_over_any_time() {
        let pace = Pace::new(Some(100.0));
        let start = Instant::now();
        for _ in 0..50 {
            pace.take(10).await;
        }
        let took = start.elapsed();
        assert!((4_800..=5_000).contains(&took.as_millis()), "500 keys took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let pace = Pace::new(Some(100.0));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        pace.take(10).await;
        pace.take(100).await;
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let start = Instant::now();
        Pace::new(None).take(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
