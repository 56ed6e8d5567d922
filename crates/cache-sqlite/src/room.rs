//! Keeps the file within its bounds.

use std::collections::{BTreeMap, HashMap};

use cache_core::{Eviction, Ranking, ReadNote, Timestamp};
use diesel::{QueryResult, RunQueryDsl, sqlite::SqliteConnection};

use crate::{
    millis,
    sql::{CountEvicted, Delete, NearestForgettable, Note, Pages, RaiseFloor, Totals},
    sweep::{self, STEP_LEN, give_up},
    victims::{Goal, ROW_BYTES, Victims},
};

/// The bounds: on the pages that hold something, and on the values.
///
/// It moves on after every transaction, so that no one write waits for much: what is there above
/// seven eighths of the bytes goes: less than the 90 % from which on a tier counts as being under
/// pressure, which therefore means that eviction falls behind. Of the entries what is above the bound
/// goes, and 5 % more.
///
/// What goes leaves a hole in its page, which counts until SQLite finds it two thirds empty and
/// merges it with its neighbours. In the order of arrival, which is that of the file, whole pages
/// go. By deadline the holes lie all over the file, and small values fill less of it: about 60 %
/// where they are of 200 bytes.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: u64,
    entries_max: Option<u64>,
    /// Which part of the bounds may be used: less than 1 under pressure from elsewhere.
    share: f64,
    victims: Victims,
}

/// Where the file stands.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// What is above the marks down to which values go.
    above_low: Goal,
    /// Whether there are more entries than there may be, and so some go.
    is_above_bound: bool,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Values that gave way although they had not expired.
    pub(crate) evicted: u64,
    /// About how many bytes have gone.
    pub(crate) bytes: u64,
    /// Values that have gone, for whatever reason.
    pub(crate) entries: u64,
}

impl Step {
    /// Whether there was nothing that could go.
    pub(crate) fn is_in_vain(self) -> bool {
        self.bytes == 0
    }
}

impl Room {
    pub(crate) fn new(bytes_max: u64, entries_max: Option<u64>, eviction: Eviction) -> Self {
        Self { bytes_max, entries_max, share: 1.0, victims: Victims::new(eviction) }
    }

    /// Has no more than a share of the bounds used from the next look on.
    pub(crate) fn set_share(&mut self, share: f64) {
        self.share = share.clamp(0.0, 1.0);
    }

    /// How many bytes of values may be pinned: half of the room.
    pub(crate) fn pinned_max(&self) -> u64 {
        self.bytes_max / 2
    }

    pub(crate) fn ranking(&self) -> Ranking {
        self.victims.ranking()
    }

    /// Notes that there is room now.
    pub(crate) fn settle(&mut self, connection: &mut SqliteConnection) -> QueryResult<()> {
        self.victims.settle(connection)
    }

    /// How much should go now: nothing while there are no more entries than there may be.
    pub(crate) fn owed(&self, connection: &mut SqliteConnection) -> QueryResult<Goal> {
        let Level { above_low, is_above_bound } = self.level(connection)?;
        Ok(if is_above_bound { above_low } else { Goal { entries: 0, ..above_low } })
    }

    fn level(&self, connection: &mut SqliteConnection) -> QueryResult<Level> {
        let (used, _): (i64, i64) = Pages {}.get_result(connection)?;
        let bytes_low = self.part_of(self.bytes_max).min(self.bytes_max / 8 * 7);
        let bytes = used.unsigned_abs().saturating_sub(bytes_low);
        let (mut entries, mut is_above_bound) = (0, false);
        if let Some(entries_max) = self.entries_max {
            let (there, ..): (i64, i64, i64, i64) = Totals {}.get_result(connection)?;
            let (there, most) = (there.unsigned_abs(), self.part_of(entries_max));
            // At once down to 95 %, so that not each insert evicts.
            entries = there.saturating_sub(most - most / 20);
            is_above_bound = there > most;
        }
        Ok(Level { above_low: Goal { bytes, entries }, is_above_bound })
    }

    fn part_of(&self, most: u64) -> u64 {
        (most as f64 * self.share) as u64
    }

    /// Lets about `owed` go, or as much as fits into one step. What nobody can see goes first; then
    /// values, whose rows stay while their fences must be remembered; and when there are only fences
    /// left, those which could be forgotten first become one floor for their namespace.
    ///
    /// The last of these keeps the promise of fences in full, but forgets the versions of keys
    /// that were removed.
    pub(crate) fn step(
        &mut self,
        connection: &mut SqliteConnection,
        owed: Goal,
        now: Timestamp,
        retain_until: Timestamp,
    ) -> QueryResult<Step> {
        let now = millis(now);
        for part in [sweep::dead, sweep::expired] {
            let swept = part(connection, now)?;
            if swept.entries > 0 || swept.more {
                let bytes = (swept.entries * ROW_BYTES).max(1);
                return Ok(Step { evicted: 0, bytes, entries: swept.entries });
            }
        }
        // Another process may have made the same room since `owed` was looked up.
        let owed = owed.at_most(self.level(connection)?.above_low);
        if owed.is_reached() {
            return Ok(Step::default());
        }
        let step = self.evict(connection, owed, now)?;
        // Fences take bytes and are no values.
        if step.evicted > 0 || owed.bytes == 0 {
            return Ok(step);
        }
        let mut fences = sweep::forgettable(connection, now)?.entries;
        if fences == 0 {
            fences = merge_fences(connection, millis(retain_until))?;
        }
        Ok(Step { evicted: 0, bytes: fences * ROW_BYTES, entries: 0 })
    }

    fn evict(
        &mut self,
        connection: &mut SqliteConnection,
        owed: Goal,
        now: i64,
    ) -> QueryResult<Step> {
        let mut step = Step::default();
        let (mut for_bytes, mut left) = (0, owed);
        for value in self.victims.next(connection, owed)? {
            give_up(connection, value.id, value.retain_until, now)?;
            // Where both bounds ask for it, it counts for the bytes.
            for_bytes += i64::from(left.bytes > 0);
            left = left.after(value.bytes, 1);
            step.evicted += 1;
            step.bytes += value.bytes;
        }
        step.entries = step.evicted;
        if step.evicted > 0 {
            let entries = i64::try_from(step.evicted).unwrap_or(i64::MAX) - for_bytes;
            let count = if self.share < 1.0 {
                CountEvicted { bytes: 0, entries: 0, pressure: for_bytes + entries }
            } else {
                CountEvicted { bytes: for_bytes, entries, pressure: 0 }
            };
            count.execute(connection)?;
        }
        Ok(step)
    }
}

/// Writes down which values were read.
pub(crate) fn note(
    connection: &mut SqliteConnection,
    notes: &HashMap<i64, ReadNote>,
) -> QueryResult<()> {
    // In the order of the rows, so that neighbours share a page that is written once.
    for (id, noted) in notes.iter().collect::<BTreeMap<_, _>>() {
        let (reads, last_read) = (i64::from(noted.reads), millis(noted.last));
        Note { reads, last_read, id: *id }.execute(connection)?;
    }
    Ok(())
}

/// Replaces fences that could be forgotten first by floors at the highest of them: whoever read an
/// older one is still refused. Answers how many there were.
///
/// It comes last, when no row has a value, so the floors leave nothing to be swept.
fn merge_fences(connection: &mut SqliteConnection, retain_until: i64) -> QueryResult<u64> {
    let rows: Vec<(i64, i64, Vec<u8>)> = NearestForgettable { limit: STEP_LEN }.load(connection)?;
    let mut floors: HashMap<String, i64> = HashMap::new();
    for (id, fence, key) in &rows {
        let namespace = key.split(|byte| *byte == b':').next().unwrap_or_default();
        let namespace = String::from_utf8_lossy(namespace).into_owned();
        let floor = floors.entry(namespace).or_default();
        *floor = (*fence).max(*floor);
        Delete { id: *id }.execute(connection)?;
    }
    for (namespace, floor) in floors {
        let raise = RaiseFloor { namespace: &namespace, floor, retain_until, sweep_from: None };
        raise.execute(connection)?;
    }
    Ok(rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cache_core::{CodecId, Entry, Namespace, SystemClock, Tier, TierExt, Ttl};
    use diesel::Connection;

    use super::*;
    use crate::SqliteTier;

    #[tokio::test]
    async fn what_two_processes_have_both_found_too_much_goes_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.sqlite");
        let tier = SqliteTier::open(&path).unwrap();
        let (clock, namespace) = (SystemClock::shared(), Namespace::new("n").unwrap());
        let ttl = Ttl::fresh(Duration::from_secs(3_600));
        for i in 0..101 {
            let entry = Entry::new("v".into(), CodecId(3), clock.now(), ttl);
            tier.put(namespace.key(&i.to_string()).unwrap(), entry).await.unwrap();
        }
        tier.close().await.unwrap();

        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let room = || Room::new(1 << 30, Some(100), Eviction::Fifo);
        let mut rooms = [room(), room()];
        let owed = rooms.each_ref().map(|room| room.owed(&mut connection).unwrap());
        assert_eq!(owed, [Goal { bytes: 0, entries: 6 }; 2]);
        let now = clock.now();
        let steps = [0, 1].map(|one: usize| {
            rooms[one].step(&mut connection, owed[one], now, now).unwrap().evicted
        });
        assert_eq!(steps, [6, 0]);
    }
}
