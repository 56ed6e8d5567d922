//! Lines against a logarithmic axis, several panels below one another.

use std::ops::RangeInclusive;

use super::{COLOURS, WIDTH, document, escaped, put, short};

/// One diagram of the chart. Both axes are logarithmic.
pub(in super::super) struct Panel {
    pub(in super::super) title: String,
    pub(in super::super) x_label: String,
    pub(in super::super) lines: Vec<Line>,
}

/// One line. Points that a logarithm does not know are left out.
pub(in super::super) struct Line {
    pub(in super::super) name: String,
    /// Which of the colours: a name has the same one in each panel.
    pub(in super::super) colour: usize,
    pub(in super::super) points: Vec<(f64, f64)>,
}

const LEFT: f64 = 72.0;
const RIGHT: f64 = 170.0;
const HEIGHT: f64 = 330.0;
/// Above and below the lines of a panel.
const HEAD: f64 = 44.0;
const FOOT: f64 = 44.0;
const TOP: f64 = 40.0;

/// The chart.
pub(in super::super) fn panels(title: &str, panels: &[Panel]) -> String {
    let mut out = String::new();
    for (row, panel) in panels.iter().enumerate() {
        let top = TOP + HEIGHT * row as f64;
        let points = || panel.lines.iter().flat_map(Line::shown);
        let frame = Frame {
            x: decades(points().map(|(x, _)| x)),
            y: decades(points().map(|(_, y)| y)),
            top: top + HEAD,
            bottom: top + HEIGHT - FOOT,
        };
        frame.draw(&mut out, panel);
    }
    document(title, TOP + HEIGHT * panels.len() as f64, &out)
}

impl Line {
    fn shown(&self) -> impl Iterator<Item = (f64, f64)> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        self.points.iter().copied().filter(move |(x, y)| positive(*x) && positive(*y))
    }
}

/// From the power of ten below the values to the one above them, as logarithms.
fn decades(values: impl Iterator<Item = f64>) -> RangeInclusive<f64> {
    let (low, high) =
        values.map(f64::log10).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return 0.0..=1.0;
    }
    let (low, high) = ((low + 1e-9).floor(), (high - 1e-9).ceil());
    low..=high.max(low + 1.0)
}

/// What a panel shows of its axes, and where.
struct Frame {
    x: RangeInclusive<f64>,
    y: RangeInclusive<f64>,
    top: f64,
    bottom: f64,
}

impl Frame {
    fn at_x(&self, log: f64) -> f64 {
        LEFT + part(log, &self.x) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, log: f64) -> f64 {
        self.bottom - part(log, &self.y) * (self.bottom - self.top)
    }

    fn draw(&self, out: &mut String, panel: &Panel) {
        self.grid(out);
        put(
            out,
            format_args!(
                "<text x=\"{LEFT}\" y=\"{}\">{}</text>\n\
                 <text class=\"faint\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                self.top - 12.0,
                escaped(&panel.title),
                LEFT.midpoint(WIDTH - RIGHT),
                self.bottom + 36.0,
                escaped(&panel.x_label),
            ),
        );
        for (row, line) in panel.lines.iter().enumerate() {
            self.line(out, line);
            self.legend(out, row, line);
        }
    }

    fn grid(&self, out: &mut String) {
        let (right, top, bottom) = (WIDTH - RIGHT, self.top, self.bottom);
        for log in powers(&self.x) {
            let x = self.at_x(log);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\n\
                     <text class=\"faint\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                    bottom + 18.0,
                    short(10_f64.powf(log)),
                ),
            );
        }
        for log in powers(&self.y) {
            let y = self.at_y(log);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n\
                     <text class=\"faint\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    LEFT - 8.0,
                    y + 4.0,
                    short(10_f64.powf(log)),
                ),
            );
        }
    }

    fn line(&self, out: &mut String, line: &Line) {
        let colour = line.colour % COLOURS.len();
        let places: Vec<(f64, f64, String)> = line
            .shown()
            .map(|(x, y)| {
                let told = format!("{}, {}: {}", line.name, short(x), short(y));
                (self.at_x(x.log10()), self.at_y(y.log10()), told)
            })
            .collect();
        let path: Vec<String> = places.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        put(
            out,
            format_args!("<polyline class=\"line s{colour}\" points=\"{}\"/>\n", path.join(" ")),
        );
        for (x, y, told) in places {
            put(
                out,
                format_args!(
                    "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.8\">\
                     <title>{}</title></circle>\n",
                    escaped(&told),
                ),
            );
        }
    }

    fn legend(&self, out: &mut String, row: usize, line: &Line) {
        let (x, y) = (WIDTH - RIGHT + 16.0, self.top + 8.0 + 20.0 * row as f64);
        put(
            out,
            format_args!(
                "<line class=\"line s{}\" x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>\n\
                 <text x=\"{}\" y=\"{}\">{}</text>\n",
                line.colour % COLOURS.len(),
                x + 22.0,
                x + 30.0,
                y + 4.5,
                escaped(&line.name),
            ),
        );
    }
}

fn part(log: f64, range: &RangeInclusive<f64>) -> f64 {
    (log - range.start()) / (range.end() - range.start())
}

fn powers(range: &RangeInclusive<f64>) -> impl Iterator<Item = f64> {
    (*range.start() as i32..=*range.end() as i32).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        let line = Line { name: "<near>".to_owned(), colour: 9, points };
        Panel { title: "a & b".to_owned(), x_label: "entries".to_owned(), lines: vec![line] }
    }

    #[test]
    fn an_axis_goes_from_one_power_of_ten_to_another() {
        assert_eq!(decades([1_000.0, 1e7].into_iter()), 3.0..=7.0);
        assert_eq!(decades([20.0, 20.0].into_iter()), 1.0..=2.0);
        assert_eq!(decades([100.0].into_iter()), 2.0..=3.0);
        assert_eq!(decades([].into_iter()), 0.0..=1.0);
    }

    #[test]
    fn each_panel_has_its_lines_and_text_stays_text() {
        let svg = panels("t", &[panel(vec![(1e3, 5.0), (1e4, 7.0)]), panel(vec![(1e3, 5.0)])]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("&lt;near&gt;") && svg.contains("a &amp; b") && svg.contains("s1\""));
    }

    #[test]
    fn what_a_logarithm_does_not_know_is_left_out() {
        let svg = panels("t", &[panel(vec![(0.0, 1.0), (1.0, f64::NAN), (5.0, -1.0)])]);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<circle"), "{svg}");
    }
}
