//! Ours beside a reference: rows of figures that were measured in one run, and their verdicts.

use serde::{Deserialize, Serialize};

/// One figure of ours beside one of a reference.
///
/// What could not be measured is `None`, and `note` says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Our figure: the median of the repeats.
    pub ours: Option<f64>,
    /// The reference's: the median of its repeats.
    pub reference: Option<f64>,
    /// What the reference is.
    pub reference_name: String,
    /// The unit of both figures: `ns`, `us`, `per s`, `bytes`.
    pub unit: String,
    /// Ours over the reference's: the median of the ratios of the repeats, each of which has both.
    pub ratio: Option<f64>,
    /// The bound of the ratio, or of our figure where there is no reference.
    pub target: Option<f64>,
    /// On which side of the target it must be.
    pub bound: Option<Bound>,
    /// Whether the target is met. A row without a target is.
    pub ok: bool,
    /// What a reader should know, such as why there is no figure.
    pub note: Option<String>,
}

/// On which side of its target a figure must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It must not be above.
    AtMost,
    /// It must not be below.
    AtLeast,
}

/// All rows of a run, as a measuring program hands them to `cargo xtask bench`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
}

impl Row {
    /// Ours beside `reference_name`, by the figures of repeats in which both were measured one
    /// after the other: the n-th of each belong together.
    ///
    /// # Panics
    ///
    /// There are no repeats, or not as many of one as of the other.
    #[must_use]
    pub fn paired(
        name: impl Into<String>,
        unit: impl Into<String>,
        ours: &[f64],
        reference_name: impl Into<String>,
        reference: &[f64],
    ) -> Self {
        assert_eq!(ours.len(), reference.len(), "each repeat measures both");
        let ratios: Vec<f64> = ours.iter().zip(reference).map(|(ours, its)| ours / its).collect();
        Self {
            ours: Some(median(ours)),
            reference: Some(median(reference)),
            ratio: Some(median(&ratios)),
            ..Self::untold(name, unit, reference_name)
        }
    }

    /// Our figure alone: the median of the repeats.
    ///
    /// # Panics
    ///
    /// There are no repeats.
    #[must_use]
    pub fn alone(name: impl Into<String>, unit: impl Into<String>, ours: &[f64]) -> Self {
        Self { ours: Some(median(ours)), ..Self::untold(name, unit, "") }
    }

    /// A row without figures, to be completed by a note that says why.
    #[must_use]
    pub fn untold(
        name: impl Into<String>,
        unit: impl Into<String>,
        reference_name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            ours: None,
            reference: None,
            reference_name: reference_name.into(),
            unit: unit.into(),
            ratio: None,
            target: None,
            bound: None,
            ok: true,
            note: None,
        }
    }

    /// Demands that the ratio is at most `target`; our figure, where there is no reference.
    #[must_use]
    pub fn at_most(self, target: f64) -> Self {
        self.judged(target, Bound::AtMost)
    }

    /// Demands that the ratio is at least `target`; our figure, where there is no reference.
    #[must_use]
    pub fn at_least(self, target: f64) -> Self {
        self.judged(target, Bound::AtLeast)
    }

    /// Adds what a reader should know.
    #[must_use]
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn judged(self, target: f64, bound: Bound) -> Self {
        // A figure that is missing meets no target.
        let ok = self.ratio.or(self.ours).is_some_and(|figure| match bound {
            Bound::AtMost => figure <= target,
            Bound::AtLeast => figure >= target,
        });
        Self { target: Some(target), bound: Some(bound), ok, ..self }
    }
}

/// The median; of an even number the mean of the two in the middle.
///
/// # Panics
///
/// There are no figures, or one is not a number.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("a measured figure is a number"));
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => panic!("no figure was measured"),
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_repeats() {
        let row = Row::paired("hit", "ns", &[10.0, 40.0, 30.0], "moka", &[10.0, 20.0, 60.0]);
        assert_eq!((row.ours, row.reference, row.ratio), (Some(30.0), Some(20.0), Some(1.0)));
        assert!(row.clone().at_most(1.0).ok && !row.at_least(1.1).ok);
    }

    #[test]
    fn our_figure_is_judged_where_there_is_no_reference_and_a_missing_one_fails() {
        assert!(Row::alone("key", "us", &[4.0, 6.0]).at_most(5.0).ok);
        assert!(!Row::untold("key", "us", "moka").at_most(5.0).ok);
        assert!(Row::untold("key", "us", "moka").noted("it has none").ok);
    }
}
