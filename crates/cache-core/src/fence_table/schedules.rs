//! What [`Fences`] promise to the near tier, under thousands of orders of a few threads.
//!
//! Moka itself cannot be modelled: a locked map stands in for it. All that decides whether a value
//! may be kept is in `Fences`, and the near tier's own functions are repeated here line by line.

mod copies;

use std::{
    collections::HashMap,
    panic,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use shuttle::{check_pct, check_random, thread};

use super::{FenceTable, Fences};
use crate::sync::{AtomicU64, Mutex};

const SCHEDULES: usize = 10_000;

/// The near tier, with plain numbers as values: each a version of the source.
struct Near {
    fences: Fences,
    values: Mutex<HashMap<&'static str, (u64, u64)>>,
    source: AtomicU64,
}

/// A fill, right or in one of the ways in which it was once wrong somewhere.
#[derive(Clone, Copy)]
enum Fill {
    /// As the near tier does it.
    Checked,
    /// The fence is compared, and the value written without the lock of its stripe.
    WithoutTheLock,
    /// The fence is read after the source.
    FenceReadLate,
    /// A clear is not looked for when the value is read.
    WithoutTheFloor,
}

/// How the key is changed while it is filled.
#[derive(Clone, Copy)]
enum Change {
    Remove,
    Insert,
    Clear,
}

impl Near {
    fn new() -> Self {
        let values = Mutex::new(HashMap::new());
        Self { fences: Fences::new(), values, source: AtomicU64::new(0) }
    }

    fn get(&self, key: &str) -> Option<u64> {
        let (value, mark) = *self.values.lock().get(key)?;
        (!self.fences.is_cleared(mark)).then_some(value)
    }

    fn write(&self, key: &'static str, value: u64, mark: u64) {
        self.values.lock().insert(key, (value, mark));
    }

    /// A flight: fence, source, fill.
    fn load(&self, key: &'static str, how: Fill) {
        let early = self.fences.read(key);
        let value = self.source.load(SeqCst);
        match how {
            Fill::Checked => {
                self.fences.fill(key, early, || self.write(key, value, early));
            }
            Fill::FenceReadLate => {
                let late = self.fences.read(key);
                self.fences.fill(key, late, || self.write(key, value, late));
            }
            Fill::WithoutTheLock => {
                if self.fences.fill(key, early, || ()).is_some() {
                    self.write(key, value, early);
                }
            }
            Fill::WithoutTheFloor => {
                self.fences.table.unmoved(key, early, || self.write(key, value, u64::MAX));
            }
        }
    }

    /// A write of a caller: first the source, then the cache.
    fn change(&self, key: &'static str, change: Change) {
        let value = self.source.fetch_add(1, SeqCst) + 1;
        match change {
            Change::Remove => self.fences.advance(key, |_| {
                self.values.lock().remove(key);
            }),
            Change::Insert => self.fences.advance(key, |mark| self.write(key, value, mark)),
            Change::Clear => {
                self.fences.clear();
                self.values.lock().clear();
            }
        }
    }
}

/// Loads race with one change, and another key has a share in the stripes. In the end the key is
/// absent or what the source has.
fn race(how: Fill, change: Change) {
    let near = Arc::new(Near::new());
    let start = |work: fn(&Near, Fill, Change)| {
        let near = Arc::clone(&near);
        thread::spawn(move || work(&near, how, change))
    };
    let threads = [
        start(|near, how, _| near.load("k", how)),
        start(|near, how, _| near.load("k", how)),
        start(|near, _, change| {
            near.change("k", change);
            // From here on nobody may read what was there before.
            let seen = near.get("k");
            assert!(seen.is_none_or(|value| value == 1), "read {seen:?} after the change");
        }),
        start(|near, _, _| near.fences.advance("l", |mark| near.write("l", 0, mark))),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
    let left = near.get("k");
    assert!(left.is_none_or(|value| value == 1), "{left:?} was left behind, the source has 1");
}

fn try_schedules(how: Fill, change: Change) {
    check_random(move || race(how, change), SCHEDULES);
    check_pct(move || race(how, change), SCHEDULES, 3);
}

fn is_caught(how: Fill, change: Change) -> bool {
    panic::catch_unwind(|| try_schedules(how, change)).is_err()
}

#[test]
fn a_fill_that_began_before_a_remove_leaves_nothing_behind() {
    try_schedules(Fill::Checked, Change::Remove);
}

#[test]
fn a_fill_that_began_before_an_insert_leaves_nothing_behind() {
    try_schedules(Fill::Checked, Change::Insert);
}

#[test]
fn a_fill_that_began_before_a_clear_leaves_nothing_behind() {
    try_schedules(Fill::Checked, Change::Clear);
}

/// The tests above would mean nothing if they passed with a protocol that is known to be wrong.
#[test]
fn a_fill_without_the_lock_of_its_stripe_is_caught() {
    assert!(is_caught(Fill::WithoutTheLock, Change::Remove));
    assert!(is_caught(Fill::WithoutTheLock, Change::Insert));
}

#[test]
fn a_fence_that_is_read_after_the_source_is_caught() {
    assert!(is_caught(Fill::FenceReadLate, Change::Remove));
    assert!(is_caught(Fill::FenceReadLate, Change::Clear));
}

#[test]
fn a_clear_without_a_floor_is_caught() {
    assert!(is_caught(Fill::WithoutTheFloor, Change::Clear));
}

#[test]
fn marks_are_unique_and_a_move_is_seen_by_whoever_reads_after_it() {
    let check = || {
        let table = Arc::new(FenceTable::new());
        let moves: Vec<_> = (0..3)
            .map(|_| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let mark = table.advance("k", |mark| mark);
                    assert!(table.read("k") >= mark);
                    mark
                })
            })
            .collect();
        let mut marks: Vec<_> = moves.into_iter().map(|mark| mark.join().unwrap()).collect();
        marks.sort_unstable();
        assert_eq!(marks, [1, 2, 3]);
        assert_eq!(table.read("k"), 3);
    };
    check_random(check, SCHEDULES);
}
