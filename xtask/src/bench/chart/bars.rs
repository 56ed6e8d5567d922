//! Bars: how far each figure is on the good or the bad side of its target.

use super::{WIDTH, document, escaped, put, short};

/// One figure.
pub(in super::super) struct Bar {
    pub(in super::super) name: String,
    /// How many times better than its target it is; below 1 it misses it.
    pub(in super::super) margin: f64,
    /// The figure and its target, as they are written beside the bar.
    pub(in super::super) label: String,
}

const LEFT: f64 = 380.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 56.0;
const ROW: f64 = 26.0;
/// The most that is drawn, either way: beyond it a bar ends at the edge.
const MARGIN_MAX: f64 = 100.0;
/// What is drawn of names; the rest can be read by pointing at it.
const NAME_LEN_MAX: usize = 52;

/// The chart: a line at 1 for the targets, bars that meet them to the right of it, others to the
/// left, on a logarithmic scale.
pub(in super::super) fn bars(title: &str, bars: &[Bar]) -> String {
    let margin = |bar: &Bar| bar.margin.clamp(MARGIN_MAX.recip(), MARGIN_MAX).log10();
    // At least a factor of two is shown to each side.
    let low = bars.iter().map(margin).fold(-0.301, f64::min);
    let high = bars.iter().map(margin).fold(0.301, f64::max);
    let at = |log: f64| LEFT + (log - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let bottom = TOP + ROW * bars.len() as f64;
    let mut out = String::new();
    for factor in [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0_f64] {
        let log = factor.log10();
        if (low - 1e-3..=high + 1e-3).contains(&log) {
            let class = if factor == 1.0 { "target" } else { "grid" };
            put(
                &mut out,
                format_args!(
                    "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n\
                     <text class=\"faint\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                    bottom + 18.0,
                    short(factor),
                    x = at(log),
                ),
            );
        }
    }
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let (one, end) = (at(0.0), at(margin(bar)));
        let colour = if bar.margin >= 1.0 { 2 } else { 1 };
        put(
            &mut out,
            format_args!(
                "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}<title>{}</title></text>\n\
                 <rect class=\"f{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"/>\n\
                 <text class=\"faint\" x=\"{}\" y=\"{middle:.1}\">{}</text>\n",
                LEFT - 12.0,
                escaped(&cut(&bar.name)),
                escaped(&bar.name),
                one.min(end),
                y + 4.0,
                (end - one).abs().max(1.0),
                ROW - 8.0,
                WIDTH - RIGHT + 12.0,
                escaped(&bar.label),
                middle = y + ROW / 2.0 + 4.5,
            ),
        );
    }
    put(
        &mut out,
        format_args!(
            "<text class=\"faint\" x=\"{LEFT}\" y=\"{}\">times better than its target: to the right \
             of the dashed line it is met</text>\n",
            bottom + 40.0,
        ),
    );
    document(title, bottom + 56.0, &out)
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_LEN_MAX {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME_LEN_MAX - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, margin: f64) -> Bar {
        Bar { name: name.to_owned(), margin, label: format!("{margin} (>= 1)") }
    }

    #[test]
    fn a_bar_that_misses_its_target_has_another_colour_and_text_stays_text() {
        let svg = bars("t", &[bar("<met>", 2.0), bar("missed", 0.5)]);
        assert_eq!(
            (svg.matches("rect class=\"f2\"").count(), svg.matches("rect class=\"f1\"").count()),
            (1, 1)
        );
        assert!(svg.contains("&lt;met&gt;") && svg.contains("(&gt;= 1)"));
    }

    #[test]
    fn bars_without_end_and_no_bars_are_drawn() {
        let svg = bars("t", &[bar("all", f64::INFINITY), bar("nothing", 0.0)]);
        assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{svg}");
        assert!(bars("t", &[]).starts_with("<svg"));
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        assert_eq!(cut(&"µ".repeat(60)).chars().count(), NAME_LEN_MAX);
    }
}
