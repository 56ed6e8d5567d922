//! What do a hit and an insert with eviction cost, beside other caches of a process?
//!
//! All subjects take turns, so that what else the machine does meets all of them, and each is
//! compared with its reference in each round. Not by criterion, which measures one subject after the
//! other.
//!
//! Every subject has what a user would give it: text as a key, `Arc<String>` as a value, room for
//! all of them where hits are measured. quick_cache and moka have `String` keys, own the key of an
//! insert, and answer a clone of the `Arc`, as the near tier does.

mod subjects;
mod turns;

use std::process::ExitCode;

use self::{
    subjects::{hits, inserts},
    turns::{Question, Rounds, Target},
};

/// Of the requests of one turn, per thread.
const REQUESTS: usize = 200_000;

const HIT_TARGETS: [Target; 2] = [
    Target { subject: "peek", reference: "quick_cache", at_most: 1.2 },
    Target { subject: "peek", reference: "moka", at_most: 1.3 },
];
const INSERT_TARGETS: [Target; 1] =
    [Target { subject: "near tier", reference: "quick_cache", at_most: 1.2 }];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` runs it as a test: once is enough then.
    let rounds = match (is("--bench"), is("--quick")) {
        (false, _) => Rounds { count: 1, requests: 1_000 },
        (true, true) => Rounds { count: 7, requests: REQUESTS / 4 },
        (true, false) => Rounds { count: 31, requests: REQUESTS },
    };
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_asked = |what: &str| filter.is_none_or(|filter| what.contains(filter.as_str()));
    println!(
        "Nanoseconds of a thread a request: processor time, then time; medians of {} rounds. Ratios \
         of the subjects to quick_cache in the same round: median (quartiles).\n",
        rounds.count
    );
    let mut missed = 0;
    for keys in [1_000, 100_000] {
        let name = format!("hit, {keys} keys");
        if is_asked(&name) {
            let targets = if keys == 100_000 { &HIT_TARGETS[..] } else { &HIT_TARGETS[1..] };
            let question = Question { name: &name, keys, targets };
            hits(keys, |subjects| missed += question.ask(subjects, rounds));
        }
    }
    let (name, keys) = ("insert with eviction", 100_000);
    if is_asked(name) {
        let question = Question { name, keys, targets: &INSERT_TARGETS };
        inserts(keys, |subjects| missed += question.ask(subjects, rounds));
    }
    if missed > 0 && is("--check") {
        eprintln!("{missed} targets were missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
