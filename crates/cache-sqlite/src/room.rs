//! Keeps the file within its bound.

use std::collections::HashMap;

use cache_core::Timestamp;
use diesel::{QueryResult, RunQueryDsl, sqlite::SqliteConnection};

use crate::{
    millis,
    sql::{Delete, NearestForgettable, Neighbours, Pages, RaiseFloor},
    sweep::{self, STEP_LEN, give_up},
};

/// What a row takes beside its value, roughly: key, numbers and its places in three indexes.
pub(crate) const ROW_BYTES: u64 = 150;

/// The fewest values among which those that expire first are chosen.
const WINDOW_LEN_MIN: usize = 16;

/// The bound on the pages that hold something.
///
/// What goes leaves a hole in its page, which counts until SQLite finds it two thirds empty and
/// merges it with its neighbours. Strictly by deadline the holes lie all over the file: in a file
/// of values of 200 bytes 43 % had to go to gain 5 % of the pages, of 1,000 bytes 18 %. So a hand
/// goes round the file, and of each window of neighbours three quarters go, those that expire
/// first: 9 % and 6 %.
///
/// It moves on after every transaction, so that no one write waits for much: what the file has
/// above 95 % of its bound goes.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: u64,
    /// The row behind which the hand stands.
    hand: i64,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Values that gave way although they had not expired.
    pub(crate) evicted: u64,
    /// About how many bytes have gone; nothing, when there is nothing that can go.
    pub(crate) freed: u64,
}

impl Room {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, hand: i64::MIN }
    }

    /// How many bytes should go now.
    pub(crate) fn owed(&self, connection: &mut SqliteConnection) -> QueryResult<u64> {
        let (used, _): (i64, i64) = Pages {}.get_result(connection)?;
        Ok(used.unsigned_abs().saturating_sub(self.bytes_max / 20 * 19))
    }

    /// Lets about `owed` bytes go, or as much as fits into one step. What nobody can see goes
    /// first; then values, whose rows stay while their fences must be remembered; and when there
    /// are only fences left, those which could be forgotten first become one floor for their
    /// namespace.
    ///
    /// The last of these keeps the promise of fences in full, but forgets the versions of keys
    /// that were removed.
    pub(crate) fn step(
        &mut self,
        connection: &mut SqliteConnection,
        owed: u64,
        now: Timestamp,
        retain_until: Timestamp,
    ) -> QueryResult<Step> {
        let now = millis(now);
        for part in [sweep::dead, sweep::expired] {
            let swept = part(connection, now)?;
            if swept.entries > 0 || swept.more {
                let freed = (swept.entries * ROW_BYTES).max(1);
                return Ok(Step { evicted: 0, freed });
            }
        }
        let step = self.evict(connection, owed, now)?;
        if step.evicted > 0 {
            return Ok(step);
        }
        let mut fences = sweep::forgettable(connection, now)?.entries;
        if fences == 0 {
            fences = merge_fences(connection, millis(retain_until))?;
        }
        Ok(Step { evicted: 0, freed: fences * ROW_BYTES })
    }

    /// Takes values out of the window before the hand.
    fn evict(
        &mut self,
        connection: &mut SqliteConnection,
        owed: u64,
        now: i64,
    ) -> QueryResult<Step> {
        let mut rows = neighbours(connection, self.hand)?;
        if rows.is_empty() {
            rows = neighbours(connection, i64::MIN)?;
        }
        let mut step = Step::default();
        let (window, freed_max) = window(&mut rows, owed);
        self.hand = window.last().map_or(i64::MIN, |row| row.id);
        window.sort_unstable_by_key(|row| row.expires_at);
        for row in window {
            if step.freed >= freed_max {
                break;
            }
            give_up(connection, row.id, row.retain_until, now)?;
            step.evicted += 1;
            step.freed += row.bytes;
        }
        Ok(step)
    }
}

/// A value that may give way.
struct Row {
    id: i64,
    expires_at: i64,
    retain_until: i64,
    bytes: u64,
}

fn neighbours(connection: &mut SqliteConnection, after: i64) -> QueryResult<Vec<Row>> {
    let rows: Vec<(i64, i64, i64, i64)> = Neighbours { after, limit: STEP_LEN }.load(connection)?;
    Ok(rows
        .into_iter()
        .map(|(id, expires_at, retain_until, len)| Row {
            id,
            expires_at,
            retain_until,
            bytes: len.unsigned_abs() + ROW_BYTES,
        })
        .collect())
}

/// The rows from which `owed` bytes can be taken while a quarter stays, and how many bytes to take.
fn window(rows: &mut [Row], owed: u64) -> (&mut [Row], u64) {
    let (mut len, mut bytes) = (0, 0);
    while len < rows.len() && (len < WINDOW_LEN_MIN || bytes / 4 * 3 < owed) {
        bytes += rows[len].bytes;
        len += 1;
    }
    // With few values there is no quarter to be kept.
    let keep = if len < WINDOW_LEN_MIN { 0 } else { bytes / 4 };
    (&mut rows[..len], owed.min(bytes - keep))
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
