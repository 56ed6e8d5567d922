//! Lines over a logarithmic axis, as SVG.

mod axis;
mod svg;

pub use self::axis::{Axis, Scale};
pub(crate) use self::svg::escaped;

/// A chart of lines. It needs nothing but a browser to be seen, in light or in dark.
///
/// # Examples
///
/// ```
/// use cache_trace::{Axis, Chart, Scale, Series, Stroke};
///
/// let chart = Chart {
///     title: "hit ratio against size".to_owned(),
///     x: Axis { label: "values".to_owned(), scale: Scale::Log10, format: |x| format!("{x}") },
///     y: Axis { label: "hits".to_owned(), scale: Scale::Linear, format: |y| format!("{y} %") },
///     series: vec![Series {
///         name: "lru".to_owned(),
///         stroke: Stroke::Solid,
///         points: vec![(10.0, 20.0), (100.0, 60.0)],
///     }],
/// };
/// assert!(chart.to_svg().starts_with("<svg"));
/// ```
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below to above.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// How it is drawn.
    pub stroke: Stroke,
    /// Its points, from left to right; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// In a colour of its own.
    Solid,
    /// Dashed, in the colour of the text: a bound that others are measured by.
    Bound,
}

impl Chart {
    /// The chart as one SVG element with its own styles, for a file or for the inside of a page.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }
}
