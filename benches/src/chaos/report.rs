//! What came of a run: as tables for a person, as JSON for a machine.

use std::collections::BTreeMap;

use anyhow::Result;
use cache_core::Table;
use serde::{Deserialize, Serialize};

use super::{
    figures::{Figures, LEARNED_MAX_US, LEARNING_MAX_US, NEAR_SLACK_US, Points, Span, Timeline},
    oracle::Wrong,
    scenario::Scenario,
    shows::{Cost, Show, Shown},
};

/// How much of callers' errors is printed; the file has all that was kept.
const ERRORS_SHOWN: usize = 2;
const ERROR_LEN: usize = 160;

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What it was measured on.
    pub environment: serde_json::Value,
    /// The scenarios that were run or left out.
    pub outcomes: Vec<Outcome>,
    /// The shows, by name.
    pub shows: BTreeMap<String, Shown>,
    /// Why a show could not be run, by name.
    pub broken_shows: BTreeMap<String, String>,
}

/// What came of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// Why it was not run, if it was not.
    pub left_out: Option<String>,
    /// Why it did not get to its end, if so.
    pub broken: Option<String>,
    /// What was measured.
    pub figures: Figures,
    /// The wrong answers.
    pub wrong: Vec<WrongAnswer>,
    /// Loads of the source.
    pub loads: usize,
    /// What the nodes counted, in sum.
    pub counts: Vec<(String, u64)>,
    /// What callers were told, and how often.
    pub errors: Vec<(String, usize)>,
}

/// A wrong answer, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WrongAnswer {
    /// Whose.
    pub node: usize,
    /// Of which key.
    pub key: String,
    /// Why it is wrong.
    pub reason: String,
    /// What else happened to the key; of the first few.
    pub trace: Vec<String>,
}

impl WrongAnswer {
    pub(super) fn of(wrong: &Wrong, timeline: Timeline) -> Self {
        let Wrong { seen, reason, trace } = wrong;
        let record = &seen.record;
        let place = record.place.map_or(String::new(), |place| format!(", from {place:?}"));
        let Span { begin_us, end_us } = timeline.fault;
        let ms = |since_us: u64| (record.begin_us as f64 - since_us as f64) / 1e3;
        let when = format!(
            "{:.0} ms after the fault's begin, {:.0} ms after its end",
            ms(begin_us),
            ms(end_us)
        );
        Self {
            node: seen.node,
            key: record.key.clone(),
            reason: format!("{:?}: {reason}{place}; {when}", record.act),
            trace: trace.clone(),
        }
    }
}

impl Outcome {
    pub(super) fn left_out(scenario: &Scenario, reason: String) -> Self {
        Self { name: scenario.name.to_owned(), left_out: Some(reason), ..Self::default() }
    }

    pub(super) fn broken(scenario: &Scenario, error: &anyhow::Error) -> Self {
        let broken = Some(format!("{error:#}"));
        Self { name: scenario.name.to_owned(), broken, ..Self::default() }
    }

    /// One line, for whoever waits.
    pub(super) fn line(&self) -> String {
        let Self { name, figures, .. } = self;
        if let Some(reason) = self.left_out.as_ref().or(self.broken.as_ref()) {
            return format!("{name}: {reason}");
        }
        let missed = figures.missed.join("; ");
        format!("{name}: {} operations, {} wrong  {missed}", figures.operations, self.wrong.len())
    }
}

impl Report {
    pub(super) fn add(&mut self, show: Show, shown: Result<Shown>) {
        match shown {
            Ok(shown) => drop(self.shows.insert(show.name().to_owned(), shown)),
            Err(error) => {
                self.broken_shows.insert(show.name().to_owned(), format!("{error:#}"));
            }
        }
    }

    /// Whether there was no wrong answer, and everything could be run.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let good = |outcome: &Outcome| outcome.wrong.is_empty() && outcome.broken.is_none();
        self.outcomes.iter().all(good)
            && self.broken_shows.is_empty()
            && !self.shows.values().any(Shown::is_wrong)
    }

    /// The tables, and below them what needs more room.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.scenarios().to_string();
        text.push_str(&self.budgets());
        for outcome in &self.outcomes {
            let name = &outcome.name;
            let counts = outcome.counts.iter().map(|(what, count)| format!("{what} {count}"));
            let counts: Vec<String> = counts.collect();
            if !counts.is_empty() {
                text.push_str(&format!("{name}: counted: {}\n", counts.join(", ")));
            }
            for (error, count) in outcome.errors.iter().take(ERRORS_SHOWN) {
                let short: String = error.chars().take(ERROR_LEN).collect();
                text.push_str(&format!("{name}: {count} times {short}\n"));
            }
            for wrong in outcome.wrong.iter().filter(|wrong| !wrong.trace.is_empty()) {
                let WrongAnswer { node, key, reason, trace } = wrong;
                text.push_str(&format!("\n{name}: WRONG on node {node}, `{key}`: {reason}\n"));
                trace.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
        }
        for (name, shown) in &self.shows {
            text.push_str(&format!("\n{name}: {}\n", describe(shown)));
        }
        for (name, error) in &self.broken_shows {
            text.push_str(&format!("\n{name}: could not be run: {error}\n"));
        }
        text
    }

    fn scenarios(&self) -> Table {
        let mut table = Table::new([
            "scenario",
            "operations",
            "wrong",
            "errors r/w",
            "stall r/w",
            "reads",
            "hot before",
            "hot",
            "cold learning",
            "cold learned",
            "recovery",
            "loads",
            "budgets",
        ]);
        for outcome in &self.outcomes {
            let Figures { recovery_us, missed, .. } = &outcome.figures;
            let f = &outcome.figures;
            if let Some(reason) = &outcome.left_out {
                let mut row: [String; 13] = std::array::from_fn(|_| "-".to_owned());
                row[0].clone_from(&outcome.name);
                row[12] = format!("left out: {reason}");
                table.row(row);
                continue;
            }
            let verdict = match (&outcome.broken, missed.is_empty()) {
                (Some(error), _) => format!("BROKEN: {error}"),
                (None, true) => "ok".to_owned(),
                (None, false) => "MISSED".to_owned(),
            };
            table.row([
                outcome.name.clone(),
                f.operations.to_string(),
                outcome.wrong.len().to_string(),
                format!("{}/{}", f.read_errors, f.write_errors),
                format!("{}/{}", time(f.read_stall_us), time(f.write_stall_us)),
                points(f.reads),
                points(f.hot_before),
                points(f.hot),
                points(f.cold_learning),
                points(f.cold_learned),
                recovery_us.map_or("never".to_owned(), time),
                outcome.loads.to_string(),
                verdict,
            ]);
        }
        table
    }

    fn budgets(&self) -> String {
        let all = self.outcomes.iter().flat_map(|outcome| {
            let lines = outcome.figures.missed.iter();
            lines.map(|line| format!("{}: MISSED: {line}\n", outcome.name))
        });
        all.collect()
    }
}

fn describe(shown: &Shown) -> String {
    match shown {
        Shown::Callers { answered, loads, loads_max } => {
            let verdict = if loads <= loads_max { "ok" } else { "MISSED" };
            format!("{answered} callers answered by {loads} loads, at most {loads_max}: {verdict}")
        }
        Shown::Lag { from_begin, from_return } => {
            let verdict = if from_return.median_us < 5_000 { "ok" } else { "MISSED" };
            let (begin, end) = (points(*from_begin), points(*from_return));
            format!(
                "an invalidation is seen on another node {end} after its return (median/p99 of {}), \
                 {begin} after its begin: {verdict}",
                from_begin.count
            )
        }
        Shown::Sql { converged, wrong } => {
            let count = converged.count;
            let text = format!(
                "{count} nodes had the committed change after {} (median/p99), {} wrong",
                points(*converged),
                wrong.len()
            );
            with_wrong(text, wrong)
        }
        Shown::Cost(Cost { hot, cold_before, cold_learning, cold_learned }) => {
            let is_met = hot.median_us <= NEAR_SLACK_US
                && cold_learning.p99_us <= LEARNING_MAX_US
                && cold_learned.median_us <= LEARNED_MAX_US;
            let verdict = if is_met { "ok" } else { "MISSED" };
            let [hot, before, learning, learned] =
                [hot, cold_before, cold_learning, cold_learned].map(|found| points(*found));
            format!(
                "one caller (median/p99): hot read {hot}; beyond its own time a load costs \
                 {before} before, {learning} in the first second, {learned} after that: {verdict}"
            )
        }
        Shown::Crash { writes, wrong } => {
            let count = wrong.len();
            let text = format!("{writes} writes, each the last before a crash: {count} wrong");
            with_wrong(text, wrong)
        }
        Shown::Staleness { reads, histogram, max_us } => {
            let share = |count: usize| 100.0 * count as f64 / (*reads).max(1) as f64;
            let classes = histogram.iter().map(|(end_us, count)| {
                let end = match *end_us {
                    0 => "fresh".to_owned(),
                    u64::MAX => "more".to_owned(),
                    end_us => format!("up to {}", time(end_us)),
                };
                format!("\n  {end:>14}  {count:>9}  {:8.4} %", share(*count))
            });
            let classes: String = classes.collect();
            format!("{reads} reads, the stalest by {}{classes}", time(*max_us))
        }
    }
}

fn with_wrong(text: String, wrong: &[String]) -> String {
    wrong.iter().fold(text, |text, line| format!("{text}\n  WRONG: {line}"))
}

/// Median and p99.
fn points(points: Points) -> String {
    if points.count == 0 {
        return "-".to_owned();
    }
    format!("{}/{}", time(points.median_us), time(points.p99_us))
}

fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..10_000 => format!("{:.1}ms", us as f64 / 1e3),
        10_000..10_000_000 => format!("{}ms", us / 1_000),
        _ => format!("{}s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_or_a_scenario_that_broke_makes_a_run_bad() {
        let outcome = Outcome { name: "baseline".to_owned(), ..Outcome::default() };
        let good = Report { outcomes: vec![outcome.clone()], ..Report::default() };
        assert!(good.is_good());
        let broken = Outcome { broken: Some("why".to_owned()), ..outcome.clone() };
        assert!(!Report { outcomes: vec![broken], ..Report::default() }.is_good());
        let wrong = WrongAnswer {
            node: 1,
            key: "k".to_owned(),
            reason: "superseded".to_owned(),
            trace: vec!["what happened".to_owned()],
        };
        let bad = Report {
            outcomes: vec![Outcome { wrong: vec![wrong], ..outcome }],
            ..Report::default()
        };
        assert!(!bad.is_good());
        assert!(bad.text().contains("WRONG on node 1, `k`: superseded\n  what happened"));
    }

    #[test]
    fn times_are_short() {
        assert_eq!([5, 1_500, 25_000, 12_000_000].map(time), ["5µs", "1.5ms", "25ms", "12s"]);
    }
}
