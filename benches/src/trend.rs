//! Whether a figure grows: a slope that a few disturbed samples do not move.

/// A slope with the interval in which the true one lies with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The median of the slopes of all pairs of points (H. Theil, P. K. Sen).
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Of the normal distribution: 2.5 % lie above it.
const Z: f64 = 1.959_963_984_540_054;

/// The slope of points with different places. The interval is Sen's, from Kendall's statistic; it
/// takes points to scatter independently, so that of points that hang together is too narrow.
/// Nothing for fewer than two points.
///
/// Takes time and memory by the square of the number of points.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (i, (x, y)) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().map(|(next_x, next_y)| (next_y - y) / (next_x - x)));
    }
    slopes.sort_by(f64::total_cmp);
    let (count, len) = (slopes.len() as f64, points.len() as f64);
    let last = slopes.len().checked_sub(1)?;
    let width = Z * (len * (len - 1.0) * (2.0 * len + 5.0) / 18.0).sqrt();
    let low = ((count - width) / 2.0).round().max(0.0) as usize;
    let high = (((count + width) / 2.0).round() as usize).min(last + 1).max(1) - 1;
    let median = f64::midpoint(slopes[last / 2], slopes[last.div_ceil(2)]);
    Some(Slope { median, low: slopes[low.min(last)], high: slopes[high] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `scipy.stats.theilslopes(y, x, 0.95)`.
    #[test]
    fn the_slope_is_that_of_scipy_whatever_one_point_does() {
        let y = [1.0, 3.1, 4.9, 7.2, 8.8, 11.1, 50.0, 15.0, 17.1, 18.9];
        let points: Vec<(f64, f64)> = y.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
        let slope = slope(&points).unwrap();
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        assert!(near(slope.median, 2.0), "{slope:?}");
        assert!(near(slope.low, 1.95) && near(slope.high, 2.066_666_666_666_667), "{slope:?}");
    }

    #[test]
    fn a_flat_line_has_no_slope_and_a_single_point_no_line() {
        let flat: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 7.0)).collect();
        assert_eq!(slope(&flat), Some(Slope { median: 0.0, low: 0.0, high: 0.0 }));
        assert_eq!(slope(&flat[..1]), None);
        let two = slope(&[(0.0, 1.0), (2.0, 5.0)]).unwrap();
        assert_eq!((two.median, two.low, two.high), (2.0, 2.0, 2.0));
    }
}
