//! This run's times beside those that an earlier run kept.
//!
//! Two things must come together for a benchmark to count as better or worse: its samples differ by
//! more than chance explains, and its median has moved by more than the machine moves on its own.
//! The samples of one run are near to one another in time, and so tell little of what another
//! moment does to all of them: that is what the floor is for. It rises with what the `control`
//! benchmarks show, which run no code of the cache and whose every change is the machine's.

use super::results::Measurement;
use super::statistics::{mann_whitney, median};
use crate::table;

/// Below this the test calls a difference no chance.
const ALPHA: f64 = 0.01;
/// What the medians of two runs of one commit may differ by on a shared machine.
const FLOOR: f64 = 0.10;
/// With fewer samples the test says little: quick runs have two.
const SAMPLES_MIN: usize = 8;
/// What the ids of the benchmarks of the machine begin with.
pub(super) const CONTROL: &str = "control/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    NoDifference,
    TooFewSamples,
    OnlyHere,
    OnlyKept,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no difference",
            Self::TooFewSamples => "too few samples",
            Self::OnlyHere => "only in this run",
            Self::OnlyKept => "only in the kept run",
        }
    }
}

/// One benchmark of either run.
struct Line<'a> {
    id: &'a str,
    kept: Option<f64>,
    now: Option<f64>,
    p: Option<f64>,
    verdict: Verdict,
}

/// The comparison for a person: a table, how many are better or worse, and the floor.
pub(super) fn render(now: &[Measurement], kept: &[Measurement]) -> String {
    let floor = floor(now, kept);
    let lines = compare(now, kept, floor);
    let rows: Vec<Vec<String>> = lines.iter().map(Line::cells).collect();
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    format!(
        "{}\n{} better, {} worse, {} without a difference. A difference is a change of the median \
         by more than {:.0} % that chance explains with less than {ALPHA} (Mann-Whitney U).\n",
        table::render(&["benchmark", "kept", "now", "ratio", "p", "verdict"], &rows),
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::NoDifference),
        floor * 100.0,
    )
}

/// What a median must have moved by: twice what the machine itself has, and no less than [`FLOOR`].
fn floor(now: &[Measurement], kept: &[Measurement]) -> f64 {
    let of_machine = now.iter().filter(|result| result.id.starts_with(CONTROL));
    let changes = of_machine.filter_map(|result| {
        let before = kept.iter().find(|before| before.id == result.id)?;
        Some(distance(median(&result.samples_ns) / median(&before.samples_ns)))
    });
    changes.filter(|change| change.is_finite()).map(|change| 2.0 * change).fold(FLOOR, f64::max)
}

/// How far a ratio is from 1, the same for one and its inverse: 0.1 for 1.1 and for 1 / 1.1.
fn distance(ratio: f64) -> f64 {
    ratio.max(ratio.recip()) - 1.0
}

fn compare<'a>(now: &'a [Measurement], kept: &'a [Measurement], floor: f64) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = now
        .iter()
        .map(|result| match kept.iter().find(|before| before.id == result.id) {
            Some(before) => Line::of(before, result, floor),
            None => Line::alone(result, Verdict::OnlyHere),
        })
        .collect();
    let gone = kept.iter().filter(|before| now.iter().all(|result| result.id != before.id));
    lines.extend(gone.map(|before| Line::alone(before, Verdict::OnlyKept)));
    lines
}

impl<'a> Line<'a> {
    fn of(kept: &Measurement, now: &'a Measurement, floor: f64) -> Self {
        let (before, after) = (&kept.samples_ns, &now.samples_ns);
        let p = mann_whitney(before, after);
        let ratio = median(after) / median(before);
        let verdict = if before.len().min(after.len()) < SAMPLES_MIN {
            Verdict::TooFewSamples
        } else if p >= ALPHA || distance(ratio) <= floor {
            Verdict::NoDifference
        } else if ratio < 1.0 {
            Verdict::Better
        } else {
            Verdict::Worse
        };
        Self {
            id: &now.id,
            kept: Some(median(before)),
            now: Some(median(after)),
            p: Some(p),
            verdict,
        }
    }

    fn alone(result: &'a Measurement, verdict: Verdict) -> Self {
        let time = Some(median(&result.samples_ns));
        let (kept, now) = match verdict {
            Verdict::OnlyKept => (time, None),
            _ => (None, time),
        };
        Self { id: &result.id, kept, now, p: None, verdict }
    }

    fn cells(&self) -> Vec<String> {
        let time =
            |time: Option<f64>| time.map_or_else(|| "-".to_owned(), super::results::nanoseconds);
        let ratio = self.kept.zip(self.now).map(|(kept, now)| format!("{:.2}", now / kept));
        vec![
            self.id.to_owned(),
            time(self.kept),
            time(self.now),
            ratio.unwrap_or_else(|| "-".to_owned()),
            self.p.map_or_else(|| "-".to_owned(), |p| format!("{p:.4}")),
            self.verdict.name().to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that lie within 2 % around `middle`.
    fn measured(id: &str, middle: f64) -> Measurement {
        let samples = (0..20).map(|i| middle * (0.98 + 0.002 * f64::from(i))).collect();
        Measurement::of_samples(id, samples)
    }

    fn verdict(kept: &[Measurement], now: &[Measurement]) -> Verdict {
        compare(now, kept, floor(now, kept))[0].verdict
    }

    #[test]
    fn a_change_counts_when_it_is_neither_chance_nor_small() {
        let kept = [measured("near/peek", 100.0)];
        assert_eq!(verdict(&kept, &[measured("near/peek", 120.0)]), Verdict::Worse);
        assert_eq!(verdict(&kept, &[measured("near/peek", 80.0)]), Verdict::Better);
        // Certain, and within what another moment of the machine does.
        assert_eq!(verdict(&kept, &[measured("near/peek", 108.0)]), Verdict::NoDifference);
        // Large, and chance.
        let wide = Measurement::of_samples(
            "near/peek",
            (0..20).map(|i| 30.0 * f64::from(i % 10)).collect(),
        );
        assert_eq!(verdict(&kept, &[wide]), Verdict::NoDifference);
    }

    #[test]
    fn a_machine_that_is_slower_itself_raises_the_floor() {
        let kept = [measured("near/peek", 100.0), measured("control/arithmetic", 10.0)];
        let now = [measured("near/peek", 120.0), measured("control/arithmetic", 11.5)];
        assert!((floor(&now, &kept) - 0.3).abs() < 1e-9);
        assert_eq!(verdict(&kept, &now), Verdict::NoDifference);
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let short = |id| Measurement::of_samples(id, vec![100.0, 101.0]);
        let (kept, now) = ([short("a"), short("gone")], [short("a"), short("new")]);
        let lines = compare(&now, &kept, FLOOR);
        let verdicts: Vec<_> = lines.iter().map(|line| (line.id, line.verdict)).collect();
        let expected = [
            ("a", Verdict::TooFewSamples),
            ("new", Verdict::OnlyHere),
            ("gone", Verdict::OnlyKept),
        ];
        assert_eq!(verdicts, expected);
        let text = render(&now, &kept);
        assert!(text.contains("0 better, 0 worse, 0 without a difference"), "{text}");
    }
}
