//! When a job is carried out: at times of a calendar.

use std::{fmt, sync::Arc, time::Duration};

use cache_core::{Clock, Error, ErrorKind, Result, Timestamp};
use cronexpr::{Crontab, MakeTimestamp};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    calendar::TradingHours,
    job::{Job, Start},
    report::Report,
    warmer::Warmer,
};

/// The longest sleep before the calendar is asked again.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Moments at which a job is begun.
///
/// # Examples
///
/// ```
/// use cache_core::Timestamp;
/// use cache_warmer::{TradingHours, When};
/// use std::time::Duration;
///
/// // Every five minutes while shares are traded in New York.
/// let when = When::cron("*/5 * * * *", "America/New_York")?.while_open(TradingHours::us_shares());
/// // Friday, 5 July 2024, 15:57:00 in New York: the next one is at 15:55 plus five, on Monday.
/// let friday = Timestamp::from_millis(1_720_209_420_000);
/// let next = when.next_after(friday).expect("the market opens again");
/// assert_eq!(next.since(friday), Duration::from_secs(2 * 86_400 + 17 * 3_600 + 33 * 60));
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct When {
    moments: Moments,
    open: Option<TradingHours>,
}

#[derive(Clone)]
enum Moments {
    Cron(Box<Crontab>, Arc<str>),
    BeforeOpen(TradingHours, Duration),
}

impl fmt::Debug for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(_, text) => f.debug_tuple("Cron").field(text).finish(),
            Self::BeforeOpen(hours, lead) => {
                f.debug_tuple("BeforeOpen").field(hours).field(lead).finish()
            }
        }
    }
}

impl When {
    /// At the minutes of a crontab line (`30 9 * * 1-5`: minute, hour, day of the month, month, day
    /// of the week), in the IANA time zone `zone`, summer time included.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for what is no such line or no zone.
    pub fn cron(line: &str, zone: &str) -> Result<Self> {
        let text = format!("{line} {zone}");
        let crontab = cronexpr::parse_crontab(&text).map_err(|error| {
            Error::new(ErrorKind::Config, format!("`{text}` as a schedule: {error}"))
                .hint("write five fields and a zone, as in `30 9 * * 1-5` and `America/New_York`")
        })?;
        Ok(Self { moments: Moments::Cron(Box::new(crontab), text.into()), open: None })
    }

    /// `lead` before each opening of a market, so that it is warm when that opens.
    #[must_use]
    pub const fn before_open(hours: TradingHours, lead: Duration) -> Self {
        Self { moments: Moments::BeforeOpen(hours, lead), open: None }
    }

    /// Of these moments only those at which a market trades.
    #[must_use]
    pub fn while_open(self, hours: TradingHours) -> Self {
        Self { open: Some(hours), ..self }
    }

    /// The first of the moments after `at`; nothing where there is none within some years.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        loop {
            let next = match &self.moments {
                Moments::Cron(crontab, _) => {
                    let millis = i64::try_from(at.as_millis()).ok()?;
                    let from = MakeTimestamp::from_millisecond(millis).ok()?;
                    let next = crontab.find_next(from).ok()?.timestamp().as_millisecond();
                    Timestamp::from_millis(u64::try_from(next).ok()?)
                }
                Moments::BeforeOpen(hours, lead) => {
                    let open = hours.next_open(at.after(*lead))?;
                    Timestamp::from_millis(open.as_millis().saturating_sub(millis(*lead)))
                }
            };
            match &self.open {
                Some(hours) if !hours.is_open(next) => {
                    // On to the next opening, or one millisecond before it, which may be a moment.
                    let open = hours.next_open(next)?;
                    at = Timestamp::from_millis(open.as_millis().saturating_sub(1)).max(next);
                }
                _ => return Some(next),
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl<V: Send + Sync + 'static> Warmer<V> {
    /// Carries `job` out at each moment of `when`, as one of the nodes that do: a moment is the
    /// job's occasion, so that one node works and the others know that it is done. Ends when the
    /// answer is dropped, or when there is no further moment.
    ///
    /// A moment that passes while the job is still under way is left out.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "a dropped timetable ends"]
    pub fn spawn_at(&self, when: When, job: Job) -> Timetable {
        let warmer = self.clone();
        let task = tokio::spawn(async move {
            let clock = Arc::clone(job.clock());
            let mut last = clock.now();
            while let Some(next) = when.next_after(last) {
                sleep_until(&*clock, next).await;
                last = clock.now().max(next);
                let job = job.clone().occasion(next.as_millis().to_string());
                let stop = std::future::pending();
                if let Err(error) = warmer.run_job(&job, Start::Join, stop, &|_: &Report| ()).await
                {
                    tracing::warn!(job = job.name(), %error, "a warming job was not carried out");
                }
                last = last.max(clock.now());
            }
        });
        Timetable { _task: AbortOnDropHandle::new(task) }
    }
}

/// In naps: a wall clock may be set meanwhile.
async fn sleep_until(clock: &dyn Clock, moment: Timestamp) {
    loop {
        let left = moment.since(clock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP_MAX)).await;
    }
}

/// A task that carries a job out again and again, see [`Warmer::spawn_at`]. Dropped, it ends: loads
/// that are under way still fill the cache.
#[derive(Debug)]
#[must_use = "a dropped timetable ends"]
pub struct Timetable {
    _task: AbortOnDropHandle<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes_between(when: &When, from: u64, count: usize) -> Vec<u64> {
        let mut at = Timestamp::from_millis(from);
        let mut minutes = Vec::new();
        for _ in 0..count {
            at = when.next_after(at).unwrap();
            minutes.push((at.as_millis() - from) / 60_000);
        }
        minutes
    }

    /// Friday, 8 March 2024, 21:00:00 UTC: 16:00 in New York, whose clocks go forward on Sunday.
    const FRIDAY: u64 = 1_709_931_600_000;

    #[test]
    fn a_schedule_follows_the_zones_clock_over_the_change_to_summer_time() {
        let when = When::cron("30 9 * * 1-5", "America/New_York").unwrap();
        // 13:30 UTC on Monday, not 14:30.
        assert_eq!(minutes_between(&when, FRIDAY, 2), [64 * 60 + 30, 88 * 60 + 30]);
    }

    #[test]
    fn a_market_is_warm_before_it_opens_and_not_on_holidays() {
        let hours = TradingHours::us_shares().holidays(["2024-03-11"]).unwrap();
        let when = When::before_open(hours, Duration::from_secs(300));
        assert_eq!(minutes_between(&when, FRIDAY, 1), [88 * 60 + 25], "on Tuesday at 09:25");
    }

    #[test]
    fn while_a_market_is_closed_nothing_is_begun() {
        let every = When::cron("0,30 * * * *", "America/New_York").unwrap();
        let when = every.while_open(TradingHours::us_shares());
        let first = 64 * 60 + 30;
        assert_eq!(minutes_between(&when, FRIDAY, 3), [first, first + 30, first + 60]);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (line, zone) in [("every day", "UTC"), ("61 * * * *", "UTC"), ("0 0 * * *", "Nowhere")]
        {
            assert_eq!(When::cron(line, zone).unwrap_err().kind(), ErrorKind::Config, "{line}");
        }
    }
}
