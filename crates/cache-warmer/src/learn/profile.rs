//! At which times which keys are read.

use std::{collections::HashMap, sync::Arc};

use cache_core::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::minute_of_week;

/// Half hours, so that an opening at 09:30 begins one.
const MINUTES: usize = 30;
const BUCKETS: usize = 1_440 / MINUTES;
const DAYS: usize = 7;

/// What is left of a bucket's reads when the same half hour of the next day begins: three days ago
/// counts half.
const KEPT: f32 = 0.793_7;

/// What is left of a day's reads when the same day of the next week begins.
const KEPT_OF_WEEKS: f32 = 0.84;

/// Below so many reads an hour a key is not worth naming.
const LEAST: f64 = 0.01;

/// How often a key is read at a time, by habit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Season {
    /// The text of the key.
    pub(crate) key: Arc<str>,
    /// Its reads.
    pub(crate) reads_an_hour: f64,
}

/// Reads by half hour of the day and by day of the week.
///
/// The reads to expect are those of the half hour, averaged over the days that were seen, times how
/// much more or less this day of the week brings than the average day. So a day's habits are known
/// after a day, and a quiet Sunday after a week. Of each key 56 numbers are kept: 224 bytes, for
/// `keys_max` keys; of more keys, those that were read lately.
#[derive(Debug)]
pub(crate) struct Profiles {
    keys_max: usize,
    zone: TimeZone,
    keys: HashMap<Arc<str>, Profile>,
    /// How often each half hour and each day was seen, decayed as reads are.
    seen: Box<Profile>,
    /// Half hours since the epoch, of the last one that was seen.
    period: Option<u64>,
    /// The half hour of the week that it was.
    place: usize,
}

#[derive(Clone, Debug)]
struct Profile {
    by_time: [f32; BUCKETS],
    by_day: [f32; DAYS],
    /// The period of its last read.
    read_in: u64,
}

impl Profile {
    const fn new() -> Self {
        Self { by_time: [0.0; BUCKETS], by_day: [0.0; DAYS], read_in: 0 }
    }
}

impl Profiles {
    pub(crate) fn new(keys_max: usize, zone: TimeZone) -> Self {
        Self {
            keys_max,
            zone,
            keys: HashMap::new(),
            seen: Box::new(Profile::new()),
            period: None,
            place: 0,
        }
    }

    /// Notes a read.
    pub(crate) fn note(&mut self, key: &str, now: Timestamp) {
        self.pass(now);
        if !self.keys.contains_key(key) {
            if self.keys.len() >= self.keys_max {
                self.forget_a_quarter();
            }
            self.keys.insert(key.into(), Profile::new());
        }
        let (time, day) = (self.place % BUCKETS, self.place / BUCKETS);
        let profile = self.keys.get_mut(key).expect("it has just been put there");
        profile.by_time[time] += 1.0;
        profile.by_day[day] += 1.0;
        profile.read_in = self.period.unwrap_or(0);
    }

    /// Notes that time has passed, whether or not anything was read.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        let period = now.as_millis() / (MINUTES as u64 * 60_000);
        if self.period.is_some_and(|last| period <= last) {
            return;
        }
        // Of a long sleep the last week is enough: what was not seen is not a quiet time.
        self.period = Some(period);
        let place = minute_of_week(&self.zone, now) / MINUTES;
        let new_day = self.seen.by_day.iter().all(|seen| *seen == 0.0)
            || place / BUCKETS != self.place / BUCKETS;
        self.place = place;
        let (time, day) = (place % BUCKETS, place / BUCKETS);
        let all = self.keys.values_mut().chain([&mut *self.seen]);
        for profile in all {
            profile.by_time[time] *= KEPT;
            if new_day {
                profile.by_day[day] *= KEPT_OF_WEEKS;
            }
        }
        self.seen.by_time[time] += 1.0;
        if new_day {
            self.seen.by_day[day] += 1.0;
        }
    }

    /// The keys that are usually read at `at`, at most `max`, those first that are read most.
    pub(crate) fn expected(&self, max: usize, at: Timestamp) -> Vec<Season> {
        let place = minute_of_week(&self.zone, at) / MINUTES;
        let (time, day) = (place % BUCKETS, place / BUCKETS);
        let seen = f64::from(self.seen.by_time[time]);
        if seen == 0.0 {
            return Vec::new();
        }
        let season = |(key, profile): (&Arc<str>, &Profile)| {
            let a_bucket = f64::from(profile.by_time[time]) / seen;
            let reads_an_hour = a_bucket * self.weight_of_day(profile, day) * 60.0 / MINUTES as f64;
            Season { key: Arc::clone(key), reads_an_hour }
        };
        let mut all: Vec<Season> = self.keys.iter().map(season).collect();
        all.retain(|season| season.reads_an_hour >= LEAST);
        all.sort_unstable_by(|a, b| {
            b.reads_an_hour.total_cmp(&a.reads_an_hour).then_with(|| a.key.cmp(&b.key))
        });
        all.truncate(max);
        all
    }

    /// How much more a key is read on `day` than on the average of the days that were seen: 1 where
    /// that day was not.
    fn weight_of_day(&self, profile: &Profile, day: usize) -> f64 {
        let rates = (0..DAYS).filter(|day| self.seen.by_day[*day] > 0.0);
        let rate = |day: usize| f64::from(profile.by_day[day] / self.seen.by_day[day]);
        let (days, sum) = rates.fold((0_u32, 0.0), |(days, sum), day| (days + 1, sum + rate(day)));
        if self.seen.by_day[day] == 0.0 || sum == 0.0 {
            return 1.0;
        }
        rate(day) * f64::from(days) / sum
    }

    /// Makes room: the quarter of the keys goes whose last read is the longest ago. Equals by their
    /// texts, so that the same reads leave the same keys.
    fn forget_a_quarter(&mut self) {
        let mut by_age: Vec<(u64, Arc<str>)> =
            self.keys.iter().map(|(key, profile)| (profile.read_in, Arc::clone(key))).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.into_iter().take(self.keys_max.div_ceil(4)) {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Monday, 1 January 2024, 09:30 UTC.
    fn monday() -> Timestamp {
        Timestamp::from_millis(1_704_101_400_000)
    }

    #[test]
    fn a_quiet_sunday_is_learnt_in_a_week_and_a_days_habits_in_a_day() {
        let mut profiles = Profiles::new(16, TimeZone::UTC);
        let mut after_a_day = 0.0;
        for day in 0..14 {
            let at = monday().after(DAY * day);
            profiles.pass(at);
            if day % 7 < 5 {
                (0..100).for_each(|_| profiles.note("share", at));
            }
            (0..100).for_each(|_| profiles.note("coin", at));
            if day == 0 {
                after_a_day = profiles.expected(9, at.after(DAY))[0].reads_an_hour;
            }
        }
        assert!((after_a_day - 200.0).abs() < 1.0, "100 in a half hour: {after_a_day}");
        let rate = |day: u32, key: &str| {
            let expected = profiles.expected(9, monday().after(DAY * day));
            expected.iter().find(|season| &*season.key == key).map_or(0.0, |s| s.reads_an_hour)
        };
        assert!(rate(16, "share") > 150.0, "on Wednesday: {}", rate(16, "share"));
        assert!(rate(19, "share") < 1.0, "on Saturday: {}", rate(19, "share"));
        assert!(rate(19, "coin") > 150.0, "on Saturday: {}", rate(19, "coin"));
    }

    #[test]
    fn an_old_habit_is_forgotten() {
        let mut profiles = Profiles::new(16, TimeZone::UTC);
        (0..100).for_each(|_| profiles.note("once", monday()));
        for day in 1..40 {
            profiles.pass(monday().after(DAY * day));
        }
        let expected = profiles.expected(9, monday().after(DAY * 40));
        assert!(expected.iter().all(|season| season.reads_an_hour < 0.05), "{expected:?}");
    }

    #[test]
    fn the_keys_that_were_read_lately_stay() {
        let mut profiles = Profiles::new(8, TimeZone::UTC);
        for i in 0..100 {
            profiles.note(&format!("{i:03}"), monday().after(DAY * i));
        }
        assert!(profiles.keys.len() <= 8);
        assert!(profiles.keys.contains_key("099"));
    }
}
