//! The drawing.

use std::{fmt::Write, ops::RangeInclusive};

use super::{Chart, Series, Stroke};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;

/// As many colours as can be told from one another, by people who see fewer too (after M. Okabe and
/// K. Ito); further lines have the same with dots. In light, and in dark.
const COLOURS: [(&str, &str); 8] = [
    ("#0072b2", "#56a8e0"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fc79b"),
    ("#b0508a", "#e58fc2"),
    ("#b88600", "#f0bd3c"),
    ("#2c9bd6", "#8fd0f5"),
    ("#7a4bb0", "#b795e6"),
    ("#8c564b", "#c9998d"),
];

/// What each chart brings along. Presentation only: no script and nothing from elsewhere. Written
/// without variables, for viewers that are no browsers.
fn style() -> String {
    let colours = |of: fn(&(&'static str, &'static str)) -> &'static str| {
        let rules = COLOURS.iter().enumerate().map(|(i, pair)| {
            let colour = of(pair);
            format!(".chart .s{i} {{ stroke: {colour}; }} .chart .f{i} {{ fill: {colour}; }}\n")
        });
        rules.collect::<String>()
    };
    format!(
        "<style>\n\
         .chart text {{ font: 13px system-ui, sans-serif; fill: #1c1e21; }}\n\
         .chart .title {{ font-size: 16px; font-weight: 600; }}\n\
         .chart .faint {{ fill: #5b6168; }}\n\
         .chart .paper {{ fill: #ffffff; }}\n\
         .chart .grid {{ stroke: #dfe2e6; }}\n\
         .chart .line {{ fill: none; stroke-width: 2; stroke-linejoin: round; }}\n\
         .chart .dotted {{ stroke-dasharray: 2 4; stroke-linecap: round; }}\n\
         .chart .bound {{ stroke-dasharray: 8 5; }}\n\
         .chart .sb {{ stroke: #1c1e21; }} .chart .fb {{ fill: #1c1e21; }}\n\
         {}\
         @media (prefers-color-scheme: dark) {{\n\
         .chart text {{ fill: #e8eaed; }}\n\
         .chart .faint {{ fill: #a3a9b1; }}\n\
         .chart .paper {{ fill: #16181b; }}\n\
         .chart .grid {{ stroke: #33373d; }}\n\
         .chart .sb {{ stroke: #e8eaed; }} .chart .fb {{ fill: #e8eaed; }}\n\
         {}\
         }}\n\
         </style>\n",
        colours(|(light, _)| light),
        colours(|(_, dark)| dark),
    )
}

pub(super) fn draw(chart: &Chart) -> String {
    let points = || {
        let all = chart.series.iter().flat_map(|series| &series.points);
        all.filter(|(x, y)| x.is_finite() && y.is_finite())
    };
    let frame = Frame {
        chart,
        x: chart.x.scale.range(points().map(|(x, _)| *x)),
        y: chart.y.scale.range(points().map(|(_, y)| *y)),
    };
    let mut out = format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         role=\"img\" aria-label=\"{title}\">\n{style}\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" class=\"paper\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"28\">{title}</text>\n",
        title = escaped(&chart.title),
        style = style(),
    );
    frame.grid(&mut out);
    for (i, series) in chart.series.iter().enumerate() {
        frame.line(&mut out, i, series);
    }
    frame.legend(&mut out);
    out.push_str("</svg>\n");
    out
}

/// The chart and what of its axes is shown.
struct Frame<'a> {
    chart: &'a Chart,
    x: RangeInclusive<f64>,
    y: RangeInclusive<f64>,
}

impl Frame<'_> {
    fn at_x(&self, x: f64) -> f64 {
        LEFT + self.chart.x.scale.part(x, &self.x) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.chart.y.scale.part(y, &self.y) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for x in self.chart.x.scale.grid(&self.x) {
            let (at, label) = (self.at_x(x), escaped(&(self.chart.x.format)(x)));
            write_to(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n\
                 <text class=\"faint\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
                    bottom + 20.0,
                ),
            );
        }
        for y in self.chart.y.scale.grid(&self.y) {
            let (at, label) = (self.at_y(y), escaped(&(self.chart.y.format)(y)));
            write_to(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n\
                 <text class=\"faint\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                    LEFT - 8.0,
                    at + 4.0,
                ),
            );
        }
        let (middle, half) = (LEFT.midpoint(right), TOP.midpoint(bottom));
        write_to(
            out,
            format_args!(
                "<text class=\"faint\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text class=\"faint\" transform=\"translate(18 {half}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>\n",
                HEIGHT - 14.0,
                escaped(&self.chart.x.label),
                escaped(&self.chart.y.label),
            ),
        );
    }

    fn line(&self, out: &mut String, i: usize, series: &Series) {
        let Pen { class, colour } = self.pen(i);
        let finite = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let places: Vec<_> = finite.map(|(x, y)| (*x, *y, self.at_x(*x), self.at_y(*y))).collect();
        let path: Vec<String> =
            places.iter().map(|(.., at_x, at_y)| format!("{at_x:.1},{at_y:.1}")).collect();
        write_to(
            out,
            format_args!(
                "<polyline class=\"line {class} s{colour}\" points=\"{}\"/>\n",
                path.join(" "),
            ),
        );
        for (x, y, at_x, at_y) in places {
            let told = format!(
                "{}, {}: {}",
                series.name,
                (self.chart.x.format)(x),
                (self.chart.y.format)(y)
            );
            write_to(
                out,
                format_args!(
                    "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"2.8\" class=\"f{colour}\">\
                 <title>{}</title></circle>\n",
                    escaped(&told),
                ),
            );
        }
    }

    /// The names, from the line that ends highest down.
    fn legend(&self, out: &mut String) {
        let end = |series: &Series| series.points.iter().map(|(_, y)| *y).sum::<f64>();
        let mut order: Vec<usize> = (0..self.chart.series.len()).collect();
        order.sort_by(|a, b| end(&self.chart.series[*b]).total_cmp(&end(&self.chart.series[*a])));
        for (row, i) in order.into_iter().enumerate() {
            let Pen { class, colour } = self.pen(i);
            let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 22.0 * row as f64);
            write_to(
                out,
                format_args!(
                    "<line class=\"line {class} s{colour}\" x1=\"{x}\" x2=\"{}\" \
                 y1=\"{y}\" y2=\"{y}\"/>\n<text x=\"{}\" y=\"{}\">{}</text>\n",
                    x + 26.0,
                    x + 34.0,
                    y + 4.5,
                    escaped(&self.chart.series[i].name),
                ),
            );
        }
    }

    fn pen(&self, i: usize) -> Pen {
        if self.chart.series[i].stroke == Stroke::Bound {
            return Pen { class: "bound", colour: "b".to_owned() };
        }
        let solid = self.chart.series[..i].iter().filter(|other| other.stroke == Stroke::Solid);
        let rank = solid.count();
        let class = if rank < COLOURS.len() { "" } else { "dotted" };
        Pen { class, colour: (rank % COLOURS.len()).to_string() }
    }
}

/// What a line is drawn with.
struct Pen {
    class: &'static str,
    /// The end of the names of the classes that colour it.
    colour: String,
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all that is written");
}

/// A text as XML and HTML take it, inside an attribute too.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no way to write them.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Scale};

    fn chart(series: Vec<Series>) -> Chart {
        let axis =
            |scale| Axis { label: "<axis>".to_owned(), scale, format: |value| value.to_string() };
        Chart {
            title: "a < b & \"c\"\u{7}".to_owned(),
            x: axis(Scale::Log10),
            y: axis(Scale::Linear),
            series,
        }
    }

    fn series(name: &str, stroke: Stroke) -> Series {
        Series { name: name.to_owned(), stroke, points: vec![(10.0, 1.0), (100.0, 2.0)] }
    }

    #[test]
    fn text_from_outside_stays_text() {
        let svg = chart(vec![series("<script>", Stroke::Solid)]).to_svg();
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;\u{FFFD}"));
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"));
    }

    #[test]
    fn a_chart_needs_nothing_from_elsewhere() {
        let svg = chart(vec![series("a", Stroke::Solid), series("opt", Stroke::Bound)]).to_svg();
        let addresses: Vec<&str> = svg.split("http").skip(1).collect();
        assert_eq!(addresses.len(), 1, "the name space alone");
        assert!(svg.contains("prefers-color-scheme: dark"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<title>").count(), 4);
    }

    #[test]
    fn a_chart_of_nothing_and_of_what_is_not_finite_is_drawn() {
        for points in [vec![], vec![(f64::NAN, 1.0)], vec![(1.0, f64::INFINITY)], vec![(5.0, 5.0)]]
        {
            let lines = vec![Series { points, ..series("a", Stroke::Solid) }];
            let svg = chart(lines).to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
