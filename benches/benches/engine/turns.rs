//! Subjects that take turns.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::subjects;

/// A name, and one request.
pub(crate) type Subject<'a> = (&'a str, Box<dyn Fn(&str) + Sync + 'a>);

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    /// Of each thread and each subject in each round.
    pub(crate) requests: usize,
}

/// What is demanded of a subject, on one thread and on two.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) subject: &'static str,
    pub(crate) reference: &'static str,
    /// Times what the reference takes.
    pub(crate) at_most: f64,
}

pub(crate) struct Question<'a> {
    pub(crate) name: &'a str,
    pub(crate) keys: usize,
    pub(crate) targets: &'a [Target],
}

/// Nanoseconds a request.
#[derive(Clone, Copy)]
struct Cost {
    /// Of the processor, for this thread: another process's turn on it does not count.
    processor: f64,
    /// Waiting for locks included, and for the processor.
    time: f64,
}

impl Question<'_> {
    /// Measures, prints, and answers how many targets were missed.
    pub(crate) fn ask(&self, subjects: &[Subject<'_>], rounds: Rounds) -> usize {
        let requests = requests(self.keys, rounds.requests);
        let mut missed = 0;
        for threads in [1, 2] {
            let mut costs = vec![Vec::new(); subjects.len()];
            for round in 0..rounds.count {
                for turn in 0..subjects.len() {
                    let subject = (turn + round) % subjects.len();
                    costs[subject].push(time(&subjects[subject].1, threads, &requests));
                }
            }
            println!("{}, {threads} threads:", self.name);
            for ((name, _), own) in subjects.iter().zip(&costs) {
                println!(
                    "  {name:12} {:6.0} {:6.0} ns   {}",
                    median(own.iter().map(|cost| cost.processor)),
                    median(own.iter().map(|cost| cost.time)),
                    Ratios::of(own, &costs[0]),
                );
            }
            let costs = |wanted: &str| {
                let place = subjects.iter().position(|(name, _)| *name == wanted);
                &costs[place.expect("targets are of subjects")]
            };
            for Target { subject, reference, at_most } in self.targets {
                let ratios = Ratios::of(costs(subject), costs(reference));
                let is_met = ratios.worst() <= *at_most;
                missed += usize::from(!is_met);
                let verdict = if is_met { "met" } else { "MISSED" };
                println!("  {subject} / {reference} {ratios}, target {at_most}: {verdict}");
            }
            println!();
        }
        missed
    }
}

/// Of a subject to another in the same round: lower quartile, median and upper quartile.
struct Ratios {
    processor: [f64; 3],
    time: [f64; 3],
}

impl Ratios {
    fn of(own: &[Cost], others: &[Cost]) -> Self {
        let pairs = || own.iter().zip(others);
        Self {
            processor: quartiles(pairs().map(|(own, other)| own.processor / other.processor)),
            time: quartiles(pairs().map(|(own, other)| own.time / other.time)),
        }
    }

    /// What a target is compared with: who waits for a lock takes no processor.
    const fn worst(&self) -> f64 {
        self.processor[1].max(self.time[1])
    }
}

impl std::fmt::Display for Ratios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([low, middle, high], [_, time, _]) = (self.processor, self.time);
        write!(f, "processor {middle:.2} ({low:.2} to {high:.2}), time {time:.2}")
    }
}

/// One turn: each thread asks for the same random keys, from another place on.
fn time(request: &(dyn Fn(&str) + Sync), threads: usize, requests: &[String]) -> Cost {
    let start = Barrier::new(threads);
    let turn = |thread: usize| {
        let (first, second) = requests.split_at(requests.len() * thread / threads);
        start.wait();
        let (began, processor) = (Instant::now(), thread_time());
        second.iter().chain(first).for_each(|key| request(key));
        (thread_time() - processor, began.elapsed())
    };
    let turns: Vec<(Duration, Duration)> = thread::scope(|scope| {
        let turn = &turn;
        let handles: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || turn(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a request panicked")).collect()
    });
    let count = (threads * requests.len()) as f64;
    let (processor, time): (Vec<Duration>, Vec<Duration>) = turns.into_iter().unzip();
    let mean = |all: Vec<Duration>| all.iter().sum::<Duration>().as_nanos() as f64 / count;
    Cost { processor: mean(processor), time: mean(time) }
}

/// What the processor did for this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("a thread's clock began at zero")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quartiles(values)[1]
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The same random keys for all. They lie in the order in which they are asked for, as a caller has
/// just made its key: what is cold is the memory of the subjects, not that of the requests.
fn requests(keys: usize, requests: usize) -> Vec<String> {
    let keys: Vec<String> = subjects::keys(keys).collect();
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        keys[state as usize % keys.len()].clone()
    };
    (0..requests).map(next).collect()
}
