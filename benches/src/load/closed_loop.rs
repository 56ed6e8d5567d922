//! The closed loop: so many tasks, each with one operation in flight, for a while.
//!
//! It measures what a stack can serve, and how fairly. Its latencies follow from that (tasks =
//! throughput x latency): they are not what a caller waits at a lower load. A pause of the stack
//! costs each task one slow sample however long it lasts; an open loop would show it in full.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time};

use super::{
    subject::{Caller, Performed, Subject},
    tally::Tally,
};
use crate::scenario::{Operations, Scenario};

/// How long after the end an operation may still be under way before it counts as lost. Longer than
/// any timeout of the cache.
const DRAIN: Duration = Duration::from_secs(35);

/// A phase that does not get its operations done ends after so many times its length.
const STRETCH_MAX: u32 = 6;

/// Operations that a task hands over to a tally at once, and that it does before it gives way to
/// others. A hit in the near tier never waits: without this one task would keep its thread.
const BURST: usize = 32;

/// A task that does fewer hands over so often.
const HAND_OVER: Duration = Duration::from_millis(20);

/// More tallies than threads, so that tasks rarely meet at one.
const TALLIES: usize = 16;

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// Not before this.
    pub lasting: Duration,
    /// And not before so many operations; but in six times `lasting` at the latest.
    pub operations_min: u64,
}

impl Phase {
    /// After `lasting`, whatever was done by then.
    #[must_use]
    pub const fn timed(lasting: Duration) -> Self {
        Self { lasting, operations_min: 0 }
    }
}

/// Ends a load early. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Lets every operation that is under way end, and starts no other.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Loads `subject` as `scenario` says, and counts.
///
/// # Cancel safety
///
/// A dropped future ends the load.
pub async fn drive(
    subject: &Arc<Subject>,
    scenario: Scenario,
    phase: Phase,
    seed: u64,
    stop: &Stop,
) -> Tally {
    let started = Instant::now();
    let course = Arc::new(Course {
        ends_at: started + phase.lasting,
        ends_at_last: started + phase.lasting * STRETCH_MAX,
        operations_min: phase.operations_min,
        operations: AtomicU64::new(0),
        stop: stop.clone(),
        tallies: (0..TALLIES).map(|_| Mutex::default()).collect(),
    });
    let mut tasks = JoinSet::new();
    for worker in 0..scenario.concurrency {
        let operations = scenario.operations(seed, worker);
        tasks.spawn(work(subject.caller(), Arc::clone(&course), operations, worker % TALLIES));
    }
    let lost = join(&mut tasks, course.ends_at_last + DRAIN).await;
    let mut total = course.total();
    total.elapsed = started.elapsed();
    total.note_lost(lost);
    total
}

/// What the tasks of one phase share.
struct Course {
    ends_at: Instant,
    ends_at_last: Instant,
    operations_min: u64,
    /// Those that were handed over.
    operations: AtomicU64,
    stop: Stop,
    tallies: Vec<Mutex<Tally>>,
}

impl Course {
    fn is_over(&self, now: Instant) -> bool {
        if self.stop.is_set() || now >= self.ends_at_last {
            return true;
        }
        now >= self.ends_at && self.operations.load(Ordering::Relaxed) >= self.operations_min
    }

    /// Counts a burst, under one lock.
    fn absorb(&self, burst: &mut Vec<Performed>, tally: usize) {
        self.operations.fetch_add(burst.len() as u64, Ordering::Relaxed);
        let mut tally = self.tallies[tally].lock().unwrap_or_else(PoisonError::into_inner);
        burst.drain(..).for_each(|performed| tally.note(performed));
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in &self.tallies {
            total.merge(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        total
    }
}

async fn work(caller: Caller, course: Arc<Course>, operations: Operations, tally: usize) {
    let mut burst = Vec::with_capacity(BURST);
    let mut handed_over = Instant::now();
    for operation in operations {
        let performed = caller.perform(operation).await;
        let now = performed.ended;
        burst.push(performed);
        let full = burst.len() == BURST;
        let over = course.is_over(now);
        if full || over || now - handed_over > HAND_OVER {
            course.absorb(&mut burst, tally);
            handed_over = now;
        }
        if over {
            break;
        }
        if full {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for all tasks until `deadline`. Each that is left then, or that died, has one operation
/// that nobody will hear of again.
async fn join(tasks: &mut JoinSet<()>, deadline: Instant) -> u64 {
    let mut lost = 0;
    loop {
        match time::timeout_at(deadline.into(), tasks.join_next()).await {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(_))) => lost += 1,
            Ok(None) => return lost,
            Err(_) => {
                lost += tasks.len() as u64;
                tasks.abort_all();
                return lost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Cache;

    use super::*;
    use crate::{bar::Bar, market::Market};

    fn subject() -> Arc<Subject> {
        let cache: Cache<Bar> = Cache::builder("test").build().unwrap();
        Arc::new(Subject::new(cache, Market::shipped().unwrap().sample(100).unwrap()))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_task_gets_its_turn_and_every_operation_is_counted() {
        let subject = subject();
        let scenario = Scenario::named("mixed-1000").unwrap();
        let phase = Phase { lasting: Duration::ZERO, operations_min: 200_000 };
        // `lasting` times six is nothing: only the operations under way are done.
        let short = drive(&subject, scenario, phase, 1, &Stop::default()).await;
        assert_eq!((short.operations, short.lost), (1_000, 0));

        let phase = Phase { lasting: Duration::from_secs(10), operations_min: 200_000 };
        let stop = Stop::default();
        let (tally, ()) = tokio::join!(drive(&subject, scenario, phase, 1, &stop), async {
            while subject.cache().stats().await.hits < 20_000 {
                tokio::task::yield_now().await;
            }
            stop.set();
        });
        assert_eq!(tally.operations, tally.successes);
        assert_eq!(tally.latency().count(), tally.successes);
        assert_eq!((tally.lost, tally.wrong), (0, 0));
        assert_eq!(
            subject.lost_writes(subject.cache(), crate::load::Found::Everything).await.unwrap(),
            0
        );
    }

    #[tokio::test]
    async fn a_task_that_hangs_or_dies_has_lost_its_operation() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        tasks.spawn(std::future::pending());
        tokio::task::yield_now().await;
        assert_eq!(join(&mut tasks, Instant::now()).await, 2);
        tasks = JoinSet::new();
        tasks.spawn(async { panic!("this task dies") });
        assert_eq!(join(&mut tasks, Instant::now() + DRAIN).await, 1);
    }

    #[tokio::test]
    async fn a_wrong_value_and_a_lost_write_are_found() {
        let subject = subject();
        let (mine, other) = (&subject.keys()[0], subject.caller());
        let write = other.perform(crate::scenario::Operation::Write(0)).await;
        assert_eq!(write.outcome, super::super::Outcome::Right { loaded: false });
        assert_eq!(
            subject.lost_writes(subject.cache(), crate::load::Found::Everything).await.unwrap(),
            0
        );

        // Another key's value under this key.
        let foreign = Market::shipped().unwrap().sample(100).unwrap()[1].clone();
        subject.cache().insert(mine, foreign).await.unwrap();
        let read = other.perform(crate::scenario::Operation::Read(0)).await;
        assert_eq!(read.outcome, super::super::Outcome::Wrong);
        assert_eq!(
            subject.lost_writes(subject.cache(), crate::load::Found::Everything).await.unwrap(),
            1
        );
    }
}
