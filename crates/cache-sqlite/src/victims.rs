//! Which values go, by the policy that was set.
//!
//! First-in and nearest-deadline are kept to the letter: the ids are in the order of arrival, and
//! there is an index of deadlines. The policies that go by reads are approximated. They look at a
//! window of the values that came first. Those that the policy values least go, and those that were
//! read move behind all others, to be judged again when their turn comes. So pages become empty one after the other, as in a file system that is a log, and nothing
//! has to be kept in order at each read.

use std::hash::{BuildHasher, RandomState};

use cache_core::{Eviction, Ranking};
use diesel::{QueryResult, RunQueryDsl, sqlite::SqliteConnection};

use crate::{
    sql::{Move, Nearest, Oldest, OldestOf, SetReads, Span},
    sweep::STEP_LEN,
};

/// What a row takes beside its value, roughly: key, numbers and its places in three indexes.
pub(crate) const ROW_BYTES: u64 = 150;

/// Values that lie side by side and go together, where chance decides: about a page of small ones.
const RUN_LEN: usize = 16;

/// The priorities, in the order in which they go. Nothing of one goes while there is something of
/// those before it.
const PRIORITIES: [i64; 4] = [0, 1, 2, 3];

/// The priority of what is not evicted while there is anything else.
pub(crate) const PINNED: i64 = 3;

/// The usual priority.
const NORMAL: i64 = 1;

/// A value that may give way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) id: i64,
    pub(crate) retain_until: i64,
    pub(crate) bytes: u64,
    reads: i64,
    last_read: i64,
}

/// How much has to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Goal {
    pub(crate) fn is_reached(self) -> bool {
        self == Self::default()
    }

    /// What is left of it after so much has gone.
    pub(crate) fn after(self, bytes: u64, entries: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(bytes),
            entries: self.entries.saturating_sub(entries),
        }
    }

    /// What both of them ask for.
    pub(crate) fn at_most(self, other: Self) -> Self {
        Self { bytes: self.bytes.min(other.bytes), entries: self.entries.min(other.entries) }
    }
}

/// Chooses victims.
#[derive(Debug)]
pub(crate) struct Victims {
    ranking: Ranking,
    /// For each priority the row behind which the search goes on. What is before it has no value, or
    /// stayed when its turn came.
    hands: [i64; PRIORITIES.len()],
    /// The last row there was when room was made the last time. What came later has had no time to
    /// be read, and is judged by its reads only when there is nothing else.
    settled: i64,
    chance: u64,
}

impl Victims {
    pub(crate) fn new(eviction: Eviction) -> Self {
        Self {
            ranking: eviction.ranking(),
            hands: [i64::MIN; PRIORITIES.len()],
            settled: i64::MAX,
            chance: RandomState::new().hash_one(0) | 1,
        }
    }

    pub(crate) fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// Notes which row is the last one, once there is room.
    pub(crate) fn settle(&mut self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let (_, last): (i64, i64) = Span {}.get_result(connection)?;
        self.settled = last;
        Ok(())
    }

    /// Values that go now, to reach `goal` or as much of it as one step may. None: there are none
    /// at all.
    pub(crate) fn next(
        &mut self,
        connection: &mut SqliteConnection,
        goal: Goal,
    ) -> QueryResult<Vec<Value>> {
        for (priority, at) in PRIORITIES.into_iter().zip(0..) {
            let victims = match self.ranking {
                Ranking::Deadline => up_to(goal, nearest(connection, priority)?),
                Ranking::Chance => self.run(connection, priority, goal)?,
                _ => self.window(connection, priority, at, goal)?,
            };
            if !victims.is_empty() {
                return Ok(victims);
            }
        }
        Ok(Vec::new())
    }

    fn window(
        &mut self,
        connection: &mut SqliteConnection,
        priority: i64,
        at: usize,
        goal: Goal,
    ) -> QueryResult<Vec<Value>> {
        let mut values = oldest(connection, priority, self.hands[at])?;
        if values.is_empty() && self.hands[at] > i64::MIN {
            self.hands[at] = i64::MIN;
            values = oldest(connection, priority, i64::MIN)?;
        }
        if !self.ranking.goes_by_reads() {
            let victims = up_to(goal, values);
            self.hands[at] = victims.last().map_or(i64::MIN, |value| value.id);
            return Ok(victims);
        }
        if values.iter().any(|value| value.id <= self.settled) {
            values.retain(|value| value.id <= self.settled);
        }
        let chosen = choose(self.ranking, values, goal);
        self.hands[at] = chosen.hand;
        for value in chosen.moves {
            let reads = reads_left(self.ranking, value.reads);
            SetReads { reads, id: value.id }.execute(connection)?;
            Move { id: value.id }.execute(connection)?;
        }
        let victims = chosen.go;
        Ok(victims)
    }

    fn run(
        &mut self,
        connection: &mut SqliteConnection,
        priority: i64,
        goal: Goal,
    ) -> QueryResult<Vec<Value>> {
        let (first, last): (i64, i64) = Span {}.get_result(connection)?;
        // Marsaglia's xorshift: any spread will do.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let len = last.abs_diff(first) + 1;
        let after = first.saturating_add_unsigned(self.chance % len) - 1;
        let mut values = oldest(connection, priority, after)?;
        if values.is_empty() {
            values = oldest(connection, priority, i64::MIN)?;
        }
        values.truncate(RUN_LEN);
        Ok(up_to(goal, values))
    }
}

/// What becomes of a window.
#[derive(Debug)]
struct Choice {
    go: Vec<Value>,
    /// Those that stay and move behind all others.
    moves: Vec<Value>,
    /// Behind which row the next window begins.
    hand: i64,
}

/// Of the values that came first those that go, half of them at most, and those that move.
fn choose(ranking: Ranking, mut values: Vec<Value>, goal: Goal) -> Choice {
    let last = values.last().map_or(i64::MIN, |value| value.id);
    // Stable: those that came first go first where nothing else tells them apart.
    values.sort_by_key(|value| rank(ranking, value));
    let half = values.len().div_ceil(2);
    let mut stay = values.split_off(count(goal, &values).min(half));
    let first_unread = stay.iter().filter(|value| value.reads == 0).map(|value| value.id).min();
    if let Some(unread) = first_unread {
        // The next window begins with it, and those before it make way.
        stay.retain(|value| value.id < unread);
        return Choice { go: values, moves: stay, hand: unread - 1 };
    }
    // All were read. The better half is safe for now, the others are compared with those that
    // follow.
    let moves = stay.split_off(stay.len() / 2);
    let hand = stay.iter().map(|value| value.id - 1).min().unwrap_or(last);
    Choice { go: values, moves, hand }
}

/// The smaller, the sooner it goes.
fn rank(ranking: Ranking, value: &Value) -> (i64, i64) {
    match ranking {
        Ranking::Arrival | Ranking::Deadline | Ranking::Chance => (0, 0),
        Ranking::Recency => (value.last_read, 0),
        Ranking::Frequency | Ranking::AgingFrequency => (value.reads, value.last_read),
        Ranking::SecondChance => (i64::from(value.reads > 0), 0),
    }
}

/// How often a value that stays counts as read from then on.
fn reads_left(ranking: Ranking, reads: i64) -> i64 {
    match ranking {
        Ranking::AgingFrequency => reads / 2,
        Ranking::SecondChance => 0,
        _ => reads,
    }
}

/// As many from the beginning as `goal` asks for.
fn up_to(goal: Goal, mut values: Vec<Value>) -> Vec<Value> {
    values.truncate(count(goal, &values));
    values
}

fn count(mut goal: Goal, values: &[Value]) -> usize {
    let taken = values.iter().take_while(|value| {
        let wanted = !goal.is_reached();
        goal = goal.after(value.bytes, 1);
        wanted
    });
    taken.count()
}

type Row = (i64, i64, i64, i64, i64);

fn oldest(connection: &mut SqliteConnection, priority: i64, after: i64) -> QueryResult<Vec<Value>> {
    let rows: Vec<Row> = if priority == NORMAL {
        Oldest { after, limit: STEP_LEN }.load(connection)?
    } else {
        OldestOf { priority, after, limit: STEP_LEN }.load(connection)?
    };
    Ok(rows.into_iter().map(value).collect())
}

fn nearest(connection: &mut SqliteConnection, priority: i64) -> QueryResult<Vec<Value>> {
    let rows: Vec<Row> = Nearest { priority, limit: STEP_LEN }.load(connection)?;
    Ok(rows.into_iter().map(value).collect())
}

fn value((id, retain_until, len, reads, last_read): Row) -> Value {
    Value { id, retain_until, bytes: len.unsigned_abs() + ROW_BYTES, reads, last_read }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(reads: [(i64, i64); 16]) -> Vec<Value> {
        let one =
            |(id, (reads, last_read))| Value { id, retain_until: 0, bytes: 100, reads, last_read };
        (1..).zip(reads).map(one).collect()
    }

    fn ids(values: &[Value]) -> Vec<i64> {
        values.iter().map(|value| value.id).collect()
    }

    #[test]
    fn what_was_read_longest_ago_goes_first() {
        let mut reads = [(0, 0); 16];
        (reads[0], reads[1], reads[2]) = ((1, 30), (9, 10), (1, 20));
        let choice = choose(Ranking::Recency, values(reads), Goal { bytes: 0, entries: 14 });
        assert_eq!(ids(&choice.go), [4, 5, 6, 7, 8, 9, 10, 11], "half of the window at most");
        assert_eq!((ids(&choice.moves), choice.hand), (vec![2, 3, 1], 11));
    }

    #[test]
    fn what_was_read_least_goes_first_and_then_what_was_read_longest_ago() {
        let reads = std::array::from_fn(|i| (if i == 3 { 1 } else { 2 }, 100 - i as i64));
        let choice = choose(Ranking::Frequency, values(reads), Goal { bytes: 250, entries: 0 });
        assert_eq!(ids(&choice.go), [4, 16, 15]);
        assert_eq!(ids(&choice.moves), [8, 7, 6, 5, 3, 2, 1], "the better half of the others");
        assert_eq!(choice.hand, 8);
    }

    #[test]
    fn by_second_chance_what_was_not_read_goes_in_its_order() {
        let mut reads = [(0, 0); 16];
        (reads[0], reads[2]) = ((5, 1), (1, 9));
        let choice = choose(Ranking::SecondChance, values(reads), Goal { bytes: 0, entries: 3 });
        assert_eq!(ids(&choice.go), [2, 4, 5]);
        assert_eq!((ids(&choice.moves), choice.hand), (vec![1, 3], 5));
    }

    #[test]
    fn no_more_goes_than_was_asked_for() {
        let goal = Goal { bytes: 150, entries: 1 };
        assert_eq!(up_to(goal, values([(0, 0); 16])).len(), 2);
        assert_eq!(up_to(Goal::default(), values([(0, 0); 16])).len(), 0);
    }
}
