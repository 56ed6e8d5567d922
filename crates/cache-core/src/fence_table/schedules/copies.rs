//! The near tier as a copy of a shared tier that other processes write too, and whose log it hears.
//!
//! What is repeated here are `fill`, `insert` and `hear` of the near tier, with plain numbers for
//! values. Whatever the order, once everything has been heard the copy is gone or right.

use std::{collections::HashMap, panic, sync::Arc};

use shuttle::{
    check_pct, check_random,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use crate::{fence_table::Fences, sync::Mutex};

const SCHEDULES: usize = 10_000;

/// A shared tier with one key: its value, the mark of its last change, and the log of all.
struct Shared {
    state: Mutex<(u64, u64)>,
    log: Mutex<Sender<Notice>>,
}

#[derive(Clone, Copy)]
struct Notice {
    mark: u64,
    value: u64,
}

#[derive(Clone, Copy)]
struct Kept {
    value: u64,
    seen: u64,
    is_own: bool,
}

/// How much of the protocol is kept to.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Whole,
    /// A notice that finds a younger value does not move the key.
    YoungerStaysUnmoved,
    /// An insert is kept whatever happened since it was put into the tier.
    InsertsBlindly,
}

struct Near {
    protocol: Protocol,
    fences: Fences,
    values: Mutex<HashMap<&'static str, Kept>>,
}

impl Shared {
    fn new() -> (Self, Receiver<Notice>) {
        let (sender, notices) = channel();
        (Self { state: Mutex::new((0, 0)), log: Mutex::new(sender) }, notices)
    }

    fn read(&self) -> (u64, u64) {
        *self.state.lock()
    }

    /// Changes the value and appends to the log in one step.
    fn put(&self, value: u64) {
        let mut state = self.state.lock();
        *state = (value, state.1 + 1);
        let notice = Notice { mark: state.1, value };
        self.log.lock().send(notice).expect("somebody follows the log");
    }
}

impl Near {
    fn load(&self, shared: &Shared) {
        let fence = self.fences.read("k");
        let (value, seen) = shared.read();
        self.fences.fill("k", fence, || {
            let mut values = self.values.lock();
            if values.get("k").is_none_or(|known| seen >= known.seen) {
                values.insert("k", Kept { value, seen, is_own: false });
            }
        });
    }

    fn insert(&self, shared: &Shared, value: u64) {
        let blind = self.protocol == Protocol::InsertsBlindly;
        let fence = if blind { u64::MAX } else { self.fences.read("k") };
        shared.put(value);
        self.fences.advance_since("k", fence, |mark| {
            let mut values = self.values.lock();
            match mark {
                Some(_) => values.insert("k", Kept { value, seen: 0, is_own: true }),
                None => values.remove("k"),
            };
        });
    }

    fn hear(&self, notice: Notice) {
        let known = self.values.lock().get("k").copied();
        if known.is_some_and(|known| known.is_own && known.value == notice.value) {
            return;
        }
        let is_younger = known.is_some_and(|known| known.seen >= notice.mark);
        if is_younger && self.protocol == Protocol::YoungerStaysUnmoved {
            return;
        }
        self.fences.advance("k", |_| {
            let mut values = self.values.lock();
            if values.get("k").is_some_and(|known| known.seen < notice.mark) {
                values.remove("k");
            }
        });
    }
}

/// The threads of one process beside the one that follows the log, and another process.
fn follow(protocol: Protocol, writes: usize, work: &[fn(&Near, &Shared)]) {
    let (shared, notices) = Shared::new();
    let near = Near { protocol, fences: Fences::new(), values: Mutex::new(HashMap::new()) };
    let process = Arc::new((near, shared));
    let heard = Arc::clone(&process);
    let follower = thread::spawn(move || {
        for _ in 0..writes {
            heard.0.hear(notices.recv().expect("each write is told"));
        }
    });
    let start = |work: &fn(&Near, &Shared)| {
        let (process, work) = (Arc::clone(&process), *work);
        thread::spawn(move || work(&process.0, &process.1))
    };
    let threads: Vec<_> = work.iter().map(start).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
    follower.join().expect("the follower did not panic");
    let (near, shared) = &*process;
    let left = near.values.lock().get("k").map(|copy| copy.value);
    assert!(left.is_none_or(|value| value == shared.read().0), "{left:?} is an old copy");
}

/// Another process writes while this one loads, and evicts.
fn others_write(protocol: Protocol) {
    let write: fn(&Near, &Shared) = |_, shared| shared.put(1);
    let load: fn(&Near, &Shared) = |near, shared| near.load(shared);
    let evict: fn(&Near, &Shared) = |near, _| {
        near.values.lock().remove("k");
    };
    follow(protocol, 1, &[load, write, load, evict]);
}

/// Another process writes while this one writes and loads.
fn all_write(protocol: Protocol) {
    let write: fn(&Near, &Shared) = |_, shared| shared.put(1);
    let insert: fn(&Near, &Shared) = |near, shared| near.insert(shared, 2);
    let load: fn(&Near, &Shared) = |near, shared| near.load(shared);
    follow(protocol, 2, &[write, insert, load]);
}

/// Two inserts of one process overtake each other between the tier and the copy.
fn two_insert(protocol: Protocol) {
    let one: fn(&Near, &Shared) = |near, shared| near.insert(shared, 1);
    let two: fn(&Near, &Shared) = |near, shared| near.insert(shared, 2);
    follow(protocol, 2, &[one, two]);
}

fn try_schedules(test: fn(Protocol), protocol: Protocol) {
    check_random(move || test(protocol), SCHEDULES);
    check_pct(move || test(protocol), SCHEDULES, 3);
}

fn is_caught(test: fn(Protocol), protocol: Protocol) -> bool {
    panic::catch_unwind(|| try_schedules(test, protocol)).is_err()
}

#[test]
fn what_others_write_leaves_no_old_copy() {
    try_schedules(others_write, Protocol::Whole);
}

#[test]
fn what_others_write_during_an_insert_leaves_no_old_copy() {
    try_schedules(all_write, Protocol::Whole);
}

#[test]
fn two_inserts_at_once_leave_no_old_copy() {
    try_schedules(two_insert, Protocol::Whole);
}

/// The tests above would mean nothing if they passed with a protocol that is known to be wrong.
#[test]
fn a_notice_that_moves_nothing_is_caught() {
    assert!(is_caught(others_write, Protocol::YoungerStaysUnmoved));
}

#[test]
fn a_blind_insert_is_caught() {
    assert!(is_caught(all_write, Protocol::InsertsBlindly));
    assert!(is_caught(two_insert, Protocol::InsertsBlindly));
}
