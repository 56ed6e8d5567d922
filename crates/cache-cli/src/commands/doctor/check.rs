//! What was found, and how it is told.

use std::fmt;

use serde::Serialize;

use crate::output::{Align, Table};

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// It works, and could be better.
    Advice,
    /// It does not work, or a promise of the cache does not hold.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    check: &'static str,
    pub(super) verdict: Verdict,
    /// What was measured or read.
    found: String,
    /// What to do about it; empty where nothing is to be done, or `found` says it.
    change: String,
}

impl Check {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), change: String::new() }
    }

    pub(super) fn advice(
        check: &'static str,
        found: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Advice, found: found.into(), change: change.into() }
    }

    pub(super) fn fault(
        check: &'static str,
        found: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Fault, found: found.into(), change: change.into() }
    }
}

/// All that was looked at.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Examination(Vec<Entry>);

#[derive(Debug, Serialize)]
struct Entry {
    part: &'static str,
    #[serde(flatten)]
    check: Check,
}

impl Examination {
    pub(super) fn add(&mut self, part: &'static str, checks: Vec<Check>) {
        self.0.extend(checks.into_iter().map(|check| Entry { part, check }));
    }

    pub(super) fn has_fault(&self) -> bool {
        self.0.iter().any(|entry| entry.check.verdict == Verdict::Fault)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Fault => "FAULT",
        })
    }
}

/// A table, with what to change on a line of its own.
impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["", "part", "check", "found"].map(|heading| (heading, Align::Left));
        let mut table = Table::new(columns);
        for Entry { part, check } in &self.0 {
            table.row(&[
                check.verdict.to_string(),
                (*part).to_owned(),
                check.check.to_owned(),
                check.found.clone(),
            ]);
        }
        let table = table.to_string();
        let mut lines = table.lines();
        writeln!(f, "{}", lines.next().unwrap_or_default())?;
        for (line, Entry { check, .. }) in lines.zip(&self.0) {
            writeln!(f, "{line}")?;
            if !check.change.is_empty() {
                writeln!(f, "          -> {}", check.change)?;
            }
        }
        let count = |verdict| self.0.iter().filter(|e| e.check.verdict == verdict).count();
        let (advices, faults) = (count(Verdict::Advice), count(Verdict::Fault));
        writeln!(f, "{} checks: {faults} faults, {advices} advices", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_change_stands_below_what_was_found() {
        let mut examination = Examination::default();
        examination.add("redis", vec![Check::ok("version", "7.0.15")]);
        assert!(!examination.has_fault());
        examination.add("redis", vec![Check::fault("role", "a replica", "name the primary")]);
        assert!(examination.has_fault());
        let text = examination.to_string();
        assert!(text.contains("a replica\n          -> name the primary\n"), "{text}");
        assert!(text.ends_with("2 checks: 1 faults, 0 advices\n"), "{text}");
    }
}
