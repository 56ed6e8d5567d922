//! Curves as a chart, and as one page that needs no network.

use std::fmt::Write;

use cache_core::ByteSize;

use crate::{
    advice::Advice,
    chart::{Axis, Chart, Scale, Series, Stroke, escaped},
    contender::Contender,
    replay::Unit,
    simulate::Curves,
    tally::Weight,
};

impl Curves {
    /// The hit ratio against the size, a line for each policy; dashed, the optimum.
    #[must_use]
    pub fn chart(&self, title: &str, weight: Weight) -> Chart {
        let unit = unit(self);
        let mut series: Vec<Series> = Vec::new();
        for point in self.points.iter().filter(|point| point.size.unit() == unit) {
            let name = point.contender.to_string();
            let place = (point.capacity as f64, point.tally.hit_ratio(weight) * 100.0);
            // Nothing has no logarithm.
            if point.capacity == 0 {
                continue;
            }
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(place),
                None => {
                    let stroke = match point.contender {
                        Contender::Optimum => Stroke::Bound,
                        Contender::Policy(_) => Stroke::Solid,
                    };
                    series.push(Series { name, stroke, points: vec![place] });
                }
            }
        }
        for series in &mut series {
            series.points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        let x = match unit {
            Unit::Items => Axis {
                label: "room for so many values".to_owned(),
                scale: Scale::Log10,
                format: |items| grouped(items as u64),
            },
            Unit::Bytes => Axis {
                label: "room for so many bytes".to_owned(),
                scale: Scale::Log2,
                format: |bytes| ByteSize::bytes(bytes as u64).to_string(),
            },
        };
        let hits = match weight {
            Weight::Count => "hits of 100 reads",
            Weight::Bytes => "hits of 100 bytes read",
            Weight::Cost => "hits of 100 of load cost",
        };
        let y = Axis {
            label: hits.to_owned(),
            scale: Scale::Linear,
            format: |percent| number(percent),
        };
        Chart { title: title.to_owned(), x, y, series }
    }

    /// One page with the chart, the advice, and every figure; light or dark as the reader's system is.
    /// It asks for nothing from anywhere.
    #[must_use]
    pub fn html(
        &self,
        title: &str,
        notes: &[String],
        weight: Weight,
        advice: Option<&Advice>,
    ) -> String {
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
            title = escaped(title),
        );
        for note in notes {
            write_to(&mut page, format_args!("<p class=\"note\">{}</p>\n", escaped(note)));
        }
        page.push_str(&self.chart("Hit ratio against size", weight).to_svg());
        if let Some(advice) = advice {
            page.push_str("<h2>Advice</h2>\n");
            for line in advice.to_string().lines() {
                write_to(&mut page, format_args!("<p>{}</p>\n", escaped(line.trim())));
            }
        }
        page.push_str("<h2>Hit ratios</h2>\n");
        table(&mut page, self, weight);
        page.push_str("</main>\n</body>\n</html>\n");
        page
    }
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5b6168; --grid: #dfe2e6; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --faint: #a3a9b1; --grid: #33373d; --paper: #16181b; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px; }
h1 { font-size: 22px; }
h2 { font-size: 17px; margin-top: 28px; }
.note { color: var(--faint); margin: 4px 0; }
svg { width: 100%; height: auto; margin-top: 12px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
";

/// A row for each size, a column for each policy.
fn table(page: &mut String, curves: &Curves, weight: Weight) {
    let mut contenders = Vec::new();
    let mut sizes = Vec::new();
    for point in &curves.points {
        if !contenders.contains(&point.contender) {
            contenders.push(point.contender);
        }
        let size = (point.size.to_string(), point.capacity);
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    page.push_str("<div class=\"table\"><table>\n<tr><th>size</th><th>room</th>");
    for contender in &contenders {
        write_to(page, format_args!("<th>{contender}</th>"));
    }
    page.push_str("</tr>\n");
    for (size, capacity) in &sizes {
        let room = grouped(*capacity);
        write_to(page, format_args!("<tr><td>{}</td><td>{room}</td>", escaped(size)));
        for contender in &contenders {
            let is_it = |point: &&crate::simulate::Point| {
                point.contender == *contender && point.size.to_string() == *size
            };
            let ratio = curves.points.iter().find(is_it);
            let ratio = ratio.map_or(0.0, |point| point.tally.hit_ratio(weight));
            write_to(page, format_args!("<td>{:.2} %</td>", ratio * 100.0));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn unit(curves: &Curves) -> Unit {
    let bytes = curves.points.iter().filter(|point| point.size.unit() == Unit::Bytes).count();
    if 2 * bytes > curves.points.len() { Unit::Bytes } else { Unit::Items }
}

/// A number with a gap at each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As many digits as are of use.
fn number(number: f64) -> String {
    if number.fract().abs() < 1e-9 { format!("{number:.0}") } else { format!("{number:.2}") }
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, ReadOptions, Size, read_from, simulate};

    #[test]
    fn a_page_has_the_chart_the_advice_and_every_figure_and_asks_for_nothing() {
        let keys: String = (0..2_000_u32).map(|i| format!("{}\n", i * i % 97)).collect();
        let trace = read_from("t", keys.as_bytes(), &ReadOptions::default()).unwrap();
        let curves = simulate(&trace, &Plan::all(&trace), &|_| true).unwrap();
        let advice = Advice::of(&curves, Weight::Count, None).unwrap();
        let page = curves.html("<t>", &["a & b".to_owned()], Weight::Count, Some(&advice));
        assert!(page.contains("<svg") && page.contains("a &amp; b") && page.contains("&lt;t&gt;"));
        assert!(page.contains("<th>opt</th>") && page.contains("class=\"line bound sb\""));
        assert!(page.contains("<p>Take "), "{page}");
        let elsewhere = ["src=", "href=", "@import", "url(", "<script", "<link"];
        assert!(elsewhere.iter().all(|word| !page.contains(word)));
        assert_eq!(page.matches("http").count(), 1, "the name space of SVG alone");
    }

    #[test]
    fn a_size_that_holds_nothing_is_not_on_a_logarithmic_axis() {
        let trace = read_from("t", "a\nb\na\n".as_bytes(), &ReadOptions::default()).unwrap();
        let sizes = vec!["1%".parse::<Size>().unwrap(), Size::items(2)];
        let curves = simulate(&trace, &Plan { sizes, ..Plan::all(&trace) }, &|_| true).unwrap();
        let chart = curves.chart("t", Weight::Count);
        assert!(chart.series.iter().all(|series| series.points.len() == 1));
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
