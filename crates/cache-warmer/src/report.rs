//! What runs did: data, and a table.

use std::{collections::BTreeMap, fmt, time::Duration};

use cache_core::Table;
use serde::{Deserialize, Serialize};

use crate::{
    outcome::Outcome,
    payoff::{Payoff, PlanPayoff},
};

/// How much of a message is kept.
const MESSAGE_CHARS_MAX: usize = 500;

/// How many plans are told apart.
const PLANS_MAX: usize = 1_000;

/// What one run did, or several together. Counts are keys.
///
/// `Display` prints it as a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Keys that the run was to warm.
    pub planned: u64,
    /// Keys that the cache had fresh for long enough; the source was not asked.
    pub already_fresh: u64,
    /// Keys whose value the source brought and the cache keeps.
    pub loaded: u64,
    /// Keys that a lower tier had fresh, and that were copied to the tiers above it.
    #[serde(default)]
    pub copied: u64,
    /// Keys for which nothing was done, or for nothing, by reason: `superseded` (changed during the
    /// load: the newer value stays), `not_read` (nobody has read it since its last load),
    /// `done_before` (settled by an earlier run of the same job).
    #[serde(default)]
    pub skipped: BTreeMap<String, u64>,
    /// Keys that the source does not have.
    pub missing_at_source: u64,
    /// Keys without an answer, by reason: those of
    /// [`SourceErrorKind`](crate::SourceErrorKind), `deadline`, `stopped`, `source_panicked`,
    /// `cache_closed`, `cache_overloaded` and `cache`. What the cache has under them stays.
    pub failed: BTreeMap<String, Failures>,
    /// Bytes of the values that were loaded or copied, with their keys, as a near tier weighs them.
    #[serde(default)]
    pub bytes: u64,
    /// Calls of the source, of one or several keys each.
    #[serde(default)]
    pub source_calls: u64,
    /// What became of the keys of each source of keys, where a plan knows them.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceReport>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Loaded keys a second; nothing where nothing was loaded.
    pub loaded_per_s: Option<f64>,
}

/// What became of the keys of one source of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// Keys that are settled.
    pub keys: u64,
    /// Keys that were loaded.
    pub loaded: u64,
    /// Keys that were copied from a lower tier.
    pub copied: u64,
    /// Keys that failed.
    pub failed: u64,
    /// Its part of the calls of the source: a third of a call that named three keys, one of them
    /// its own.
    pub source_calls: f64,
}

/// The keys that failed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failures {
    /// How many.
    pub keys: u64,
    /// The latest of them, and what to do about it.
    pub example: String,
}

impl Report {
    pub(crate) fn new(planned: usize) -> Self {
        Self { planned: planned as u64, ..Self::default() }
    }

    /// Keys that failed, whatever the reason.
    #[must_use]
    pub fn failed_keys(&self) -> u64 {
        self.failed.values().map(|failures| failures.keys).sum()
    }

    /// Keys that were skipped, whatever the reason.
    #[must_use]
    pub fn skipped_keys(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Keys that were loaded or copied.
    #[must_use]
    pub const fn warmed(&self) -> u64 {
        self.loaded + self.copied
    }

    /// Keys that are settled, one way or another: the position of a progress bar of length
    /// `planned`.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.already_fresh
            + self.warmed()
            + self.missing_at_source
            + self.skipped_keys()
            + self.failed_keys()
    }

    /// How long it took.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_us)
    }

    /// Adds what a later run did. Durations add up.
    pub fn merge(&mut self, later: &Self) {
        self.planned += later.planned;
        self.already_fresh += later.already_fresh;
        self.loaded += later.loaded;
        self.copied += later.copied;
        self.bytes += later.bytes;
        self.source_calls += later.source_calls;
        for (reason, keys) in &later.skipped {
            *self.skipped.entry(reason.clone()).or_default() += keys;
        }
        self.missing_at_source += later.missing_at_source;
        for (reason, failures) in &later.failed {
            let known = self.failed.entry(reason.clone()).or_default();
            known.keys += failures.keys;
            known.example.clone_from(&failures.example);
        }
        for (source, part) in &later.sources {
            self.sources.entry(source.clone()).or_default().merge(part);
        }
        self.took(self.duration() + later.duration());
    }

    /// This one and then `later`, of the same plan: it is not planned twice.
    pub(crate) fn with(&self, later: &Self) -> Self {
        let mut sum = self.clone();
        sum.merge_keys(later);
        sum
    }

    /// Adds what a later part of the same run did.
    pub(crate) fn merge_keys(&mut self, later: &Self) {
        let planned = self.planned;
        self.merge(later);
        self.planned = planned;
    }

    /// Counts what became of a key.
    pub(crate) fn count(&mut self, key: &str, outcome: &Outcome) {
        match outcome {
            Outcome::AlreadyFresh { .. } => self.already_fresh += 1,
            Outcome::Copied { bytes, .. } => {
                self.copied += 1;
                self.bytes += bytes;
            }
            Outcome::Loaded { bytes, .. } => {
                self.loaded += 1;
                self.bytes += bytes;
            }
            Outcome::Skipped { why } => {
                *self.skipped.entry((*why).to_owned()).or_default() += 1;
            }
            Outcome::MissingAtSource => self.missing_at_source += 1,
            Outcome::Failed(fault) => {
                let failures = self.failed.entry(fault.reason.clone().into_owned()).or_default();
                failures.keys += 1;
                failures.example = format!("`{key}`: {}", shortened(&fault.message));
            }
        }
    }

    /// Counts a key of a source of keys, and its part of the calls.
    pub(crate) fn count_source(&mut self, source: &str, outcome: &Outcome, calls: f64) {
        if !self.sources.contains_key(source) {
            self.sources.insert(source.to_owned(), SourceReport::default());
        }
        let of = self.sources.get_mut(source).expect("it has just been put there");
        of.keys += 1;
        of.source_calls += calls;
        match outcome {
            Outcome::Loaded { .. } => of.loaded += 1,
            Outcome::Copied { .. } => of.copied += 1,
            Outcome::Failed(_) => of.failed += 1,
            _ => {}
        }
    }

    pub(crate) fn took(&mut self, duration: Duration) {
        self.duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let seconds = duration.as_secs_f64();
        self.loaded_per_s =
            (self.loaded > 0 && seconds > 0.0).then(|| self.loaded as f64 / seconds);
    }
}

impl SourceReport {
    fn merge(&mut self, later: &Self) {
        self.keys += later.keys;
        self.loaded += later.loaded;
        self.copied += later.copied;
        self.failed += later.failed;
        self.source_calls += later.source_calls;
    }
}

/// The beginning of a message: it may quote what a source answered, however long that is.
fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            "planned",
            "already fresh",
            "loaded",
            "copied",
            "missing at source",
            "skipped",
            "failed",
            "bytes",
            "source calls",
            "duration",
            "loaded/s",
        ]);
        table.row([
            self.planned.to_string(),
            self.already_fresh.to_string(),
            self.loaded.to_string(),
            self.copied.to_string(),
            self.missing_at_source.to_string(),
            self.skipped_keys().to_string(),
            self.failed_keys().to_string(),
            self.bytes.to_string(),
            self.source_calls.to_string(),
            format!("{:.1?}", self.duration()),
            self.loaded_per_s.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
        ]);
        write!(f, "{table}")?;
        for (source, of) in &self.sources {
            let SourceReport { keys, loaded, copied, failed, source_calls } = of;
            writeln!(
                f,
                "{source}: {keys} keys, {loaded} loaded, {copied} copied, {failed} failed, \
                 {source_calls:.1} source calls"
            )?;
        }
        for (reason, keys) in &self.skipped {
            writeln!(f, "skipped, {reason}: {keys}")?;
        }
        for (reason, Failures { keys, example }) in &self.failed {
            writeln!(f, "failed, {reason}: {keys}, such as {example}")?;
        }
        Ok(())
    }
}

/// What a warmer did since it was made.
///
/// `Display` prints it as two tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WarmerStats {
    /// Runs that ended: on demand, at startup, and each time that keys of a schedule fell due.
    pub runs: u64,
    /// All runs together. Runs may overlap, and their durations add up all the same.
    pub total: Report,
    /// The run that ended last.
    pub last: Option<Report>,
    /// The runs of each plan together, by its name: of plans without one `unnamed`, or `schedule`;
    /// of a job its own name.
    #[serde(default)]
    pub plans: BTreeMap<String, Report>,
    /// What warming was good for, where somebody watches: see
    /// [`Warmer::watch`](crate::Warmer::watch).
    #[serde(default)]
    pub payoff: Option<Payoff>,
    /// The same by the name of the plan that is watched.
    #[serde(default)]
    pub payoffs: BTreeMap<String, PlanPayoff>,
}

impl WarmerStats {
    pub(crate) fn add_plan(&mut self, plan: &str, report: &Report) {
        // Names come from the program, not from its callers; a bound all the same.
        if self.plans.len() < PLANS_MAX || self.plans.contains_key(plan) {
            self.plans.entry(plan.to_owned()).or_default().merge(report);
        }
    }

    pub(crate) fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.total.merge(report);
        self.last = Some(report.clone());
    }
}

impl fmt::Display for WarmerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "warming runs: {}", self.runs)?;
        write!(f, "{}", self.total)?;
        if let Some(last) = &self.last {
            write!(f, "the last of them\n{last}")?;
        }
        for (plan, report) in &self.plans {
            write!(f, "plan {plan}\n{report}")?;
        }
        if let Some(payoff) = self.payoff {
            writeln!(f, "afterwards: {payoff}")?;
        }
        for (plan, PlanPayoff { all, sources }) in &self.payoffs {
            writeln!(f, "afterwards, plan {plan}: {all}")?;
            for (source, payoff) in sources {
                writeln!(f, "afterwards, keys of {source}: {payoff}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::outcome::Fault;

    fn report() -> Report {
        let mut report = Report::new(5);
        report.count("a", &Outcome::Loaded { due_at: Instant::now(), bytes: 7 });
        report.count("b", &Outcome::AlreadyFresh { due_at: Instant::now() });
        report.count("c", &Outcome::MissingAtSource);
        report.count("d", &Outcome::Failed(Fault::deadline()));
        report.count("e", &Outcome::Failed(Fault::deadline()));
        report.took(Duration::from_millis(500));
        report
    }

    #[test]
    fn every_key_is_counted_once_and_failures_by_reason() {
        let report = report();
        assert_eq!((report.done(), report.failed_keys()), (5, 2));
        assert_eq!(report.failed["deadline"].keys, 2);
        assert_eq!(report.loaded_per_s, Some(2.0));
    }

    #[test]
    fn a_long_message_is_cut() {
        let mut report = Report::new(1);
        let fault = Fault { message: "é".repeat(10_000), ..Fault::deadline() };
        report.count("a", &Outcome::Failed(fault));
        let example = &report.failed["deadline"].example;
        assert_eq!(example.chars().count(), "`a`: ".len() + MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn runs_add_up() {
        let mut stats = WarmerStats::default();
        stats.add(&report());
        stats.add(&report());
        assert_eq!((stats.runs, stats.total.planned, stats.total.done()), (2, 10, 10));
        assert_eq!(stats.total.duration(), Duration::from_secs(1));
        assert_eq!(stats.total.loaded_per_s, Some(2.0));
        assert_eq!(stats.last, Some(report()));
    }

    #[test]
    fn a_report_is_data_and_a_table() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let text = report.to_string();
        for part in ["missing at source", "500.0ms", "failed, deadline: 2, such as `e`: the run"] {
            assert!(text.contains(part), "{text}");
        }
        let stats = WarmerStats {
            runs: 1,
            last: Some(report.clone()),
            total: report,
            ..WarmerStats::default()
        };
        assert!(stats.to_string().contains("warming runs: 1"), "{stats}");
    }
}
