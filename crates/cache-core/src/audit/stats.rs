//! What an auditor counted.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{AuditReport, FindingKind};
use crate::stats::{LatencyHistogram, LatencySummary};

/// Everything that an [`Auditor`](super::Auditor) has found since it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditStats {
    /// Keys that could be compared.
    pub samples: u64,
    /// The share of them of which every copy was right, 0 to 1; nothing before the first.
    pub consistent_share: Option<f64>,
    /// Those that differed at the first look and not at the second. They count as consistent.
    pub passing: u64,
    /// Wrong copies, by kind.
    pub findings: BTreeMap<String, u64>,
    /// For how long each sample had been wrong, 0 where it was right. The wrongest copy counts, and
    /// more than 10 minutes count as these.
    pub staleness: LatencySummary,
    /// How long after a change of another process this one heard of it.
    pub coherence_lag: LatencySummary,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    samples: u64,
    consistent: u64,
    passing: u64,
    findings: [u64; FindingKind::ALL.len()],
    staleness: LatencyHistogram,
    pub(super) lag: LatencyHistogram,
}

impl Counts {
    pub(super) fn add(&mut self, report: &AuditReport) {
        self.samples += report.samples as u64;
        self.consistent += report.consistent as u64;
        self.passing += report.passing as u64;
        self.staleness.record(Duration::ZERO, report.consistent as u64);
        let mut stale_for = BTreeMap::new();
        for finding in &report.findings {
            let place = FindingKind::ALL.iter().position(|kind| *kind == finding.kind);
            self.findings[place.expect("ALL has every kind")] += 1;
            let longest = stale_for.entry(&finding.key).or_insert(finding.stale_for);
            *longest = finding.stale_for.max(*longest);
        }
        stale_for.into_values().for_each(|stale_for| self.staleness.record(stale_for, 1));
    }

    pub(super) fn stats(&self) -> AuditStats {
        let labels = FindingKind::ALL.map(|kind| kind.label().to_owned());
        AuditStats {
            samples: self.samples,
            consistent_share: (self.samples > 0)
                .then(|| self.consistent as f64 / self.samples as f64),
            passing: self.passing,
            findings: labels.into_iter().zip(self.findings).collect(),
            staleness: self.staleness.summary(),
            coherence_lag: self.lag.summary(),
        }
    }
}
