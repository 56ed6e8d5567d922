//! From values to places, and where the grid lies.

use std::ops::RangeInclusive;

/// An axis: what it shows and how.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What is written beside it.
    pub label: String,
    /// How values lie on it.
    pub scale: Scale,
    /// How a value is written.
    pub format: fn(f64) -> String,
}

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their decimal logarithm; for values above 0.
    Log10,
    /// By their binary logarithm, with lines at powers of two: for bytes.
    Log2,
}

/// About how many lines a grid has.
const LINES: f64 = 8.0;

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log10 => value.max(f64::MIN_POSITIVE).log10(),
            Self::Log2 => value.max(f64::MIN_POSITIVE).log2(),
        }
    }

    /// What is shown so that the values are: for an even scale, up to the next line of the grid.
    pub(super) fn range(self, values: impl Iterator<Item = f64>) -> RangeInclusive<f64> {
        let (low, high) = values
            .filter(|value| value.is_finite() && (self == Self::Linear || *value > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return 1.0..=10.0;
        }
        match self {
            Self::Linear => {
                let room = if low < high { 0.0 } else { (low.abs() * 0.1).max(0.5) };
                let (mut low, mut high) = (low - room, high + room);
                // Wider, it may have wider steps.
                for _ in 0..3 {
                    let step = nice_step(high - low);
                    (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                }
                low..=high
            }
            Self::Log10 | Self::Log2 if low < high => low..=high,
            Self::Log10 | Self::Log2 => low / 2.0..=high * 2.0,
        }
    }

    /// Where a value lies in a range, from 0 to 1.
    pub(super) fn part(self, value: f64, range: &RangeInclusive<f64>) -> f64 {
        let (low, high) = (self.place(*range.start()), self.place(*range.end()));
        (self.place(value) - low) / (high - low)
    }

    /// The values at which the grid has lines.
    pub(super) fn grid(self, range: &RangeInclusive<f64>) -> Vec<f64> {
        let (low, high) = (*range.start(), *range.end());
        let within = |value: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
        match self {
            Self::Linear => {
                let step = nice_step(high - low);
                let first = (low / step).round() as i64;
                let last = (high / step).round() as i64;
                (first..=last).map(|line| line as f64 * step).collect()
            }
            Self::Log10 => {
                let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let is_wide = (high / low).log10() >= 4.0;
                let factors: &[f64] = if is_wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let lines =
                    decades.flat_map(|decade| factors.iter().map(move |f| f * 10_f64.powi(decade)));
                lines.filter(within).collect()
            }
            Self::Log2 => {
                let powers = low.log2().floor() as i32..=high.log2().ceil() as i32;
                let every = ((high / low).log2() / LINES).ceil().max(1.0) as i32;
                let lines = powers.filter(|power| power.rem_euclid(every) == 0);
                lines.map(|power| 2_f64.powi(power)).filter(within).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which about eight make up `span`.
fn nice_step(span: f64) -> f64 {
    let rough = span / LINES;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_scale_ends_at_its_lines() {
        let range = Scale::Linear.range([12.0, 97.0].into_iter());
        assert_eq!(range, 0.0..=100.0);
        assert_eq!(Scale::Linear.grid(&range), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::Linear.part(25.0, &range), 0.25);
        for (low, high) in [(8.0, 86.0), (0.0, 1.0), (-3.0, 17.0), (99.0, 99.5)] {
            let range = Scale::Linear.range([low, high].into_iter());
            let lines = Scale::Linear.grid(&range);
            let ends = (lines[0], lines[lines.len() - 1]);
            assert!(ends == (*range.start(), *range.end()), "{lines:?} {range:?}");
            assert!(ends.0 <= low && high <= ends.1);
        }
    }

    #[test]
    fn a_logarithmic_scale_has_lines_at_round_values() {
        let range = Scale::Log10.range([30.0, 3_000.0].into_iter());
        assert_eq!(Scale::Log10.grid(&range), [50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0]);
        assert!((Scale::Log10.part(300.0, &range) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::Log2.grid(&(1_000.0..=5_000.0)), [1_024.0, 2_048.0, 4_096.0]);
    }

    #[test]
    fn one_value_and_none_have_a_range_too() {
        for scale in [Scale::Linear, Scale::Log10, Scale::Log2] {
            for values in [vec![], vec![7.0], vec![0.0], vec![f64::NAN]] {
                let range = scale.range(values.into_iter());
                assert!(range.start() < range.end(), "{scale:?}");
                assert!(scale.grid(&range).len() < 100);
            }
        }
    }
}
