//! When a market trades, in its own time zone.

use std::{collections::BTreeSet, fmt};

use cache_core::{Error, ErrorKind, Result, Timestamp};
use jiff::{
    SignedDuration, Zoned,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

/// How far ahead the next opening is looked for.
const DAYS_AHEAD: usize = 400;

/// The hours of a market: from an opening to a close on its days, in the time of its place, summer
/// time included.
///
/// The rules of time zones come with the program, so that they do not depend on the machine.
///
/// # Examples
///
/// ```
/// use cache_core::Timestamp;
/// use cache_warmer::TradingHours;
///
/// let hours = TradingHours::us_shares().holidays(["2024-07-04"])?;
/// // Wednesday, 3 July 2024, 13:29:59 UTC is 09:29:59 in New York.
/// let before = Timestamp::from_millis(1_720_013_399_000);
/// assert!(!hours.is_open(before));
/// assert_eq!(hours.next_change(before).unwrap().as_millis(), 1_720_013_400_000);
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TradingHours {
    zone: TimeZone,
    open: Time,
    close: Time,
    /// From Monday on.
    days: [bool; 7],
    holidays: BTreeSet<Date>,
}

impl TradingHours {
    /// Monday to Friday from `open` to `close` (`09:30`, `16:00`) in the IANA time zone `zone`
    /// (`America/New_York`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for an unknown zone, for what is no time of day, and when `close` is
    /// not after `open`.
    pub fn new(zone: &str, open: &str, close: &str) -> Result<Self> {
        let time = |name: &str, text: &str| {
            text.parse::<Time>().map_err(|error| {
                let message = format!("`{text}` as `{name}` of trading hours: {error}");
                Error::new(ErrorKind::Config, message).hint("write it as `09:30`")
            })
        };
        let (open, close) = (time("open", open)?, time("close", close)?);
        if close <= open {
            let message = format!("trading hours from {open} to {close} have no length");
            return Err(Error::new(ErrorKind::Config, message)
                .hint("name a close that is later on the same day"));
        }
        let days = [true, true, true, true, true, false, false];
        Ok(Self { zone: time_zone(zone)?, open, close, days, holidays: BTreeSet::new() })
    }

    /// The regular hours of shares in the United States: Monday to Friday, 09:30 to 16:00 in New
    /// York. Holidays are not known: name them by [`holidays`](Self::holidays).
    ///
    /// # Panics
    ///
    /// Never: a test makes it.
    #[must_use]
    pub fn us_shares() -> Self {
        Self::new("America/New_York", "09:30", "16:00").expect("a test makes it")
    }

    /// Leaves out whole days, written as `2024-07-04`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for what is no date.
    pub fn holidays<D: AsRef<str>>(mut self, dates: impl IntoIterator<Item = D>) -> Result<Self> {
        for date in dates {
            let text = date.as_ref();
            let date = text.parse().map_err(|error| {
                let message = format!("`{text}` as a holiday: {error}");
                Error::new(ErrorKind::Config, message).hint("write it as `2024-07-04`")
            })?;
            self.holidays.insert(date);
        }
        Ok(self)
    }

    /// Trades on Saturday and Sunday too.
    #[must_use]
    pub fn every_day(self) -> Self {
        Self { days: [true; 7], ..self }
    }

    /// Whether it trades at `at`: from the opening on, up to the close.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let local = local(&self.zone, at);
        self.trades_on(local.date()) && (self.open..self.close).contains(&local.time())
    }

    /// The next opening or close after `at`; nothing where there is none within 400 days.
    #[must_use]
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.next(at, &[self.open, self.close])
    }

    /// The next opening after `at`; nothing where there is none within 400 days.
    #[must_use]
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.next(at, &[self.open])
    }

    fn next(&self, at: Timestamp, times: &[Time]) -> Option<Timestamp> {
        let today = local(&self.zone, at).date();
        let days = today.series(jiff::Span::new().days(1)).take(DAYS_AHEAD);
        let mut moments = days.filter(|day| self.trades_on(*day)).flat_map(|day| {
            let zone = &self.zone;
            times.iter().filter_map(move |time| {
                zone.to_zoned(day.to_datetime(*time)).ok().map(|zoned| timestamp(&zoned))
            })
        });
        moments.find(|moment| *moment > at)
    }

    fn trades_on(&self, day: Date) -> bool {
        self.days[place(day.weekday())] && !self.holidays.contains(&day)
    }
}

impl fmt::Debug for TradingHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(
            f,
            "TradingHours({}-{} {zone}, {} holidays)",
            self.open,
            self.close,
            self.holidays.len()
        )
    }
}

/// The zone of an IANA name.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|error| {
        Error::new(ErrorKind::Config, format!("`{name}` is no time zone: {error}"))
            .hint("write an IANA name such as `America/New_York` or `UTC`")
    })
}

/// Minutes since the beginning of Monday, in the time of `zone`.
pub(crate) fn minute_of_week(zone: &TimeZone, at: Timestamp) -> usize {
    let local = local(zone, at);
    let minute =
        usize::from(local.hour().unsigned_abs()) * 60 + usize::from(local.minute().unsigned_abs());
    place(local.weekday()) * 1_440 + minute
}

fn place(day: Weekday) -> usize {
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

fn local(zone: &TimeZone, at: Timestamp) -> Zoned {
    // Moments beyond the year 9999 are all the same here.
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let since = jiff::Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_millis(millis));
    since.unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone())
}

fn timestamp(zoned: &Zoned) -> Timestamp {
    Timestamp::from_millis(u64::try_from(zoned.timestamp().as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        timestamp(&text.parse::<jiff::Timestamp>().unwrap().to_zoned(TimeZone::UTC))
    }

    #[test]
    fn a_market_opens_at_the_same_local_time_in_summer_and_in_winter() {
        let hours = TradingHours::us_shares();
        for (open, close) in [
            ("2024-07-03T13:30:00Z", "2024-07-03T20:00:00Z"),
            ("2024-01-03T14:30:00Z", "2024-01-03T21:00:00Z"),
        ] {
            let (open, close) = (at(open), at(close));
            assert!(hours.is_open(open) && !hours.is_open(close));
            assert!(!hours.is_open(Timestamp::from_millis(open.as_millis() - 1)));
            assert_eq!(hours.next_change(open), Some(close));
        }
    }

    #[test]
    fn weekends_and_holidays_are_left_out() {
        let hours = TradingHours::us_shares().holidays(["2024-07-04"]).unwrap();
        let wednesday_close = at("2024-07-03T20:00:00Z");
        assert_eq!(hours.next_open(wednesday_close), Some(at("2024-07-05T13:30:00Z")));
        let friday_close = at("2024-07-05T20:00:00Z");
        assert_eq!(hours.next_change(friday_close), Some(at("2024-07-08T13:30:00Z")));
        assert!(!hours.is_open(at("2024-07-06T15:00:00Z")));
        assert!(hours.every_day().is_open(at("2024-07-06T15:00:00Z")));
    }

    #[test]
    fn what_is_no_zone_no_time_and_no_length_is_named() {
        let error =
            |zone, open, close| TradingHours::new(zone, open, close).unwrap_err().to_string();
        assert!(error("Mars/Olympus", "09:30", "16:00").contains("Mars/Olympus"));
        assert!(error("UTC", "half past nine", "16:00").contains("`open`"));
        assert!(error("UTC", "16:00", "09:30").contains("no length"));
        assert!(TradingHours::us_shares().holidays(["soon"]).is_err());
        assert_eq!(TradingHours::us_shares().next_open(Timestamp::MAX), None);
    }

    #[test]
    fn the_minute_of_the_week_is_that_of_the_place() {
        let zone = time_zone("America/New_York").unwrap();
        assert_eq!(minute_of_week(&zone, at("2024-07-01T04:00:00Z")), 0);
        assert_eq!(minute_of_week(&zone, at("2024-07-01T03:59:00Z")), 7 * 1_440 - 1);
    }
}
