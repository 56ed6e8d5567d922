//! When to look at which key again. Pure: it is told what time it is.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{
    config::WarmerConfig,
    outcome::{Outcome, SUPERSEDED},
};

/// How long after its first failure a key is tried again. Doubled with every further one, up to the
/// interval.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The times at which the keys of a schedule are due, by their places in its plan.
///
/// Each key has a time of its own, so that neither a slow key nor one that fails holds up the
/// others, and a source is not asked every few seconds for what it does not have.
#[derive(Debug)]
pub(crate) struct Agenda {
    interval: Duration,
    /// What falls due within so long after a run is left to the next one, so that keys which were
    /// loaded one after the other come to travel together.
    gap: Duration,
    taken_at: Option<Instant>,
    /// Keys that are not in a run.
    queue: BTreeSet<(Instant, usize)>,
    /// When each key is or was due last.
    due_at: Vec<Instant>,
    /// How often each key has failed in a row.
    failures: Vec<u32>,
}

impl Agenda {
    /// All of `len` keys are due at `now`.
    pub(crate) fn new(len: usize, config: &WarmerConfig, now: Instant) -> Self {
        let gap = (config.refresh_ahead.0 / 4)
            .clamp(Duration::from_millis(50), Duration::from_millis(500));
        Self {
            interval: config.interval(),
            gap,
            taken_at: None,
            queue: (0..len).map(|place| (now, place)).collect(),
            due_at: vec![now; len],
            failures: vec![0; len],
        }
    }

    /// When [`take`](Self::take) has something to give; nothing while every key is in a run.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        let (due_at, _) = self.queue.first()?;
        Some(self.taken_at.map_or(*due_at, |taken_at| (*due_at).max(taken_at + self.gap)))
    }

    /// The keys that are due at `now`. They are in a run from here on, until they are settled.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<usize> {
        if self.wakes_at().is_none_or(|wakes_at| now < wakes_at) {
            return Vec::new();
        }
        let later = self.queue.split_off(&(now, usize::MAX));
        let due = std::mem::replace(&mut self.queue, later);
        self.taken_at = Some(now);
        let mut due: Vec<usize> = due.into_iter().map(|(_, place)| place).collect();
        // In the plan's order, whatever the order in which they fell due.
        due.sort_unstable();
        due
    }

    /// Has a key that is in no run be due at `now`.
    pub(crate) fn hurry(&mut self, place: usize, now: Instant) {
        let due_at = self.due_at[place];
        if due_at > now && self.queue.remove(&(due_at, place)) {
            self.queue.insert((now, place));
            self.due_at[place] = now;
        }
    }

    /// Notes what became of a key, and when to look at it again: at the latest after the interval.
    pub(crate) fn settle(&mut self, place: usize, outcome: &Outcome, now: Instant) {
        let failures = &mut self.failures[place];
        let due_at = match outcome {
            Outcome::AlreadyFresh { due_at }
            | Outcome::Copied { due_at, .. }
            | Outcome::Loaded { due_at, .. } => {
                *failures = 0;
                *due_at
            }
            Outcome::Failed(fault) if fault.is_retryable => {
                let pause = RETRY_AFTER.saturating_mul(1 << (*failures).min(16));
                *failures += 1;
                now + pause.min(self.interval)
            }
            // Whoever changed it may have left nothing there.
            Outcome::Skipped { why: SUPERSEDED } => now + RETRY_AFTER.min(self.interval),
            Outcome::MissingAtSource | Outcome::Skipped { .. } | Outcome::Failed(_) => {
                now + self.interval
            }
        };
        self.due_at[place] = due_at.min(now + self.interval);
        self.queue.insert((self.due_at[place], place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{outcome::Fault, plan::Life};

    const TTL: Duration = Duration::from_secs(10);

    fn after_secs(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[tokio::test]
    async fn a_ttl_of_10_s_stays_hot_for_an_hour_with_an_interval_of_300_s() {
        let config = WarmerConfig::default();
        let start = Instant::now();
        let mut agenda = Agenda::new(28, &config, start);
        let mut fresh_until = vec![start; 28];
        let mut loads = 0;
        let mut now = start;
        while now < after_secs(start, 3_600) {
            for place in agenda.take(now) {
                assert!(now == start || now < fresh_until[place], "key {place} went cold");
                loads += 1;
                fresh_until[place] = now + TTL;
                // Each load takes 20 ms longer than the one before it.
                let age = Duration::from_millis(20 * place as u64);
                let life = Life { age, fresh_for: TTL - age };
                let due_at = now + age + life.due_in(&config);
                agenda.settle(place, &Outcome::Loaded { due_at, bytes: 0 }, now + age);
            }
            let wakes_at = agenda.wakes_at().unwrap();
            assert!(wakes_at > now, "it does not spin");
            now = wakes_at;
        }
        assert!((28 * 3_600 / 10..=28 * 3_600 / 7 + 28).contains(&loads), "{loads} loads");
    }

    #[tokio::test]
    async fn a_key_that_fails_is_tried_again_ever_more_rarely() {
        let start = Instant::now();
        let mut agenda = Agenda::new(1, &WarmerConfig::default(), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..11 {
            assert_eq!(agenda.take(now), [0]);
            agenda.settle(0, &Outcome::Failed(Fault::deadline()), now);
            let wakes_at = agenda.wakes_at().unwrap();
            pauses.push((wakes_at - now).as_secs());
            now = wakes_at;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        agenda.take(now);
        agenda.settle(0, &Outcome::Loaded { due_at: now + TTL, bytes: 0 }, now);
        now += TTL;
        agenda.take(now);
        agenda.settle(0, &Outcome::Failed(Fault::deadline()), now);
        assert_eq!(agenda.wakes_at(), Some(after_secs(now, 1)), "a success starts over");
    }

    #[tokio::test]
    async fn what_a_source_does_not_have_waits_for_the_interval() {
        let start = Instant::now();
        let mut agenda = Agenda::new(2, &WarmerConfig::default(), start);
        assert_eq!(agenda.take(start), [0, 1]);
        assert_eq!((agenda.wakes_at(), agenda.take(start)), (None, vec![]), "both are in a run");
        agenda.settle(0, &Outcome::MissingAtSource, start);
        let far = Outcome::AlreadyFresh { due_at: after_secs(start, 86_400) };
        agenda.settle(1, &far, start);
        assert_eq!(agenda.wakes_at(), Some(after_secs(start, 300)));
        assert_eq!(agenda.take(after_secs(start, 299)), [0usize; 0]);
        assert_eq!(agenda.take(after_secs(start, 300)), [0, 1]);
    }

    #[tokio::test]
    async fn a_key_that_was_changed_is_due_at_once_unless_it_is_in_a_run() {
        let start = Instant::now();
        let mut agenda = Agenda::new(2, &WarmerConfig::default(), start);
        assert_eq!(agenda.take(start), [0, 1]);
        agenda.settle(1, &Outcome::MissingAtSource, start);
        let later = after_secs(start, 10);
        agenda.hurry(0, later);
        agenda.hurry(1, later);
        assert_eq!(agenda.take(later), [1]);
        agenda.settle(1, &Outcome::MissingAtSource, later);
        agenda.settle(0, &Outcome::MissingAtSource, later);
        assert_eq!(agenda.take(after_secs(later, 300)), [0, 1], "each is there once");
    }

    #[tokio::test]
    async fn a_key_in_a_run_does_not_hold_up_the_others() {
        let start = Instant::now();
        let mut agenda = Agenda::new(2, &WarmerConfig::default(), start);
        agenda.take(start);
        agenda.settle(1, &Outcome::Loaded { due_at: after_secs(start, 7), bytes: 0 }, start);
        assert_eq!(agenda.take(after_secs(start, 7)), [1], "and key 0 is still being loaded");
    }
}
