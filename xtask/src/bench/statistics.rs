//! Whether two sets of samples differ: by their order, so that a few samples that were disturbed
//! change little.

/// The median; of an even number the mean of the two in the middle. Not a number where there are
/// none.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The two-sided probability that samples of one distribution differ in their ranks as much as
/// these do: the U test of Mann and Whitney, with the normal approximation, corrected for ties and
/// for continuity. Meant for eight samples and more on each side.
pub(super) fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (a_len, b_len) = (a.len() as f64, b.len() as f64);
    let all = a_len + b_len;
    let Ranked { rank_sum, ties } = rank(a, b);
    let u = rank_sum - a_len * (a_len + 1.0) / 2.0;
    let mean = a_len * b_len / 2.0;
    let variance = a_len * b_len / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    // All samples are the same, or there are none.
    if variance.is_nan() || variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - mean).abs() - 0.5).max(0.0) / variance.sqrt();
    erfc(distance / std::f64::consts::SQRT_2).min(1.0)
}

struct Ranked {
    /// Of the first samples among all; those that are equal share the mean of their ranks.
    rank_sum: f64,
    /// The sum of t³ - t over the groups of t equal samples.
    ties: f64,
}

fn rank(a: &[f64], b: &[f64]) -> Ranked {
    let mut all: Vec<(f64, bool)> = a.iter().map(|value| (*value, true)).collect();
    all.extend(b.iter().map(|value| (*value, false)));
    all.sort_by(|(x, _), (y, _)| x.total_cmp(y));
    let mut ranked = Ranked { rank_sum: 0.0, ties: 0.0 };
    let mut before = 0.0;
    for equal in all.chunk_by(|(x, _), (y, _)| x == y) {
        let len = equal.len() as f64;
        let of_a = equal.iter().filter(|(_, is_a)| *is_a).count() as f64;
        ranked.rank_sum += of_a * (before + (len + 1.0) / 2.0);
        ranked.ties += len * len * len - len;
        before += len;
    }
    ranked
}

/// The complementary error function for arguments from 0 on, to a relative error of 1.2e-7
/// (W. H. Press and others, Numerical Recipes, 6.2).
fn erfc(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let polynomial = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    t * (polynomial - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-5 * expected.abs().max(1e-3), "{value} {expected}");
    }

    /// Expected values: `math.erfc` of Python 3.
    #[test]
    fn the_error_function_has_its_known_values() {
        for (x, expected) in [(0.0, 1.0), (0.5, 0.479_500_12), (1.0, 0.157_299_21)] {
            assert_near(erfc(x), expected);
        }
        assert!((erfc(3.0) / 2.209_049_7e-5 - 1.0).abs() < 1e-5);
    }

    /// Expected values: `scipy.stats.mannwhitneyu(a, b, method="asymptotic")`.
    #[test]
    fn the_test_gives_what_scipy_gives() {
        let a = [19.0, 22.0, 16.0, 29.0, 24.0];
        assert_near(mann_whitney(&a, &[20.0, 11.0, 17.0, 12.0]), 0.111_346_88);
        let (low, high): (Vec<f64>, Vec<f64>) =
            ((1..=10).map(f64::from).collect(), (6..=15).map(f64::from).collect());
        assert_near(mann_whitney(&low, &high), 0.005_075_392_3);
    }

    #[test]
    fn samples_that_are_all_the_same_do_not_differ() {
        assert_eq!(mann_whitney(&[7.0; 20], &[7.0; 20]), 1.0);
        assert_eq!(mann_whitney(&[], &[]), 1.0);
        let apart: Vec<f64> = (0..20).map(f64::from).collect();
        let beyond: Vec<f64> = (100..120).map(f64::from).collect();
        assert!(mann_whitney(&apart, &beyond) < 1e-7);
        assert_eq!(mann_whitney(&apart, &beyond), mann_whitney(&beyond, &apart));
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
