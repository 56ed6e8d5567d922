//! Charts as SVG, drawn here since xtask depends on no crate of the cache. They need nothing but a
//! browser to be seen, in light or in dark.

mod bars;
mod lines;

use std::fmt::Write;

pub(super) use self::bars::{Bar, bars};
pub(super) use self::lines::{Line, Panel, panels};

const WIDTH: f64 = 960.0;

/// Colours that can be told from one another, by people who see fewer too (after M. Okabe and
/// K. Ito): in light, and in dark.
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

/// The drawing with its frame and its styles: no script, and nothing from elsewhere. Written without
/// variables, for viewers that are no browsers.
fn document(title: &str, height: f64, drawing: &str) -> String {
    let colours = |of: fn(&(&'static str, &'static str)) -> &'static str| {
        let rules = COLOURS.iter().enumerate().map(|(i, pair)| {
            let colour = of(pair);
            format!(".chart .s{i} {{ stroke: {colour}; }} .chart .f{i} {{ fill: {colour}; }}\n")
        });
        rules.collect::<String>()
    };
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"{title}\">\n\
         <style>\n\
         .chart text {{ font: 13px system-ui, sans-serif; fill: #1c1e21; }}\n\
         .chart .title {{ font-size: 16px; font-weight: 600; }}\n\
         .chart .faint {{ fill: #5b6168; }}\n\
         .chart .paper {{ fill: #ffffff; }}\n\
         .chart .grid {{ stroke: #dfe2e6; }}\n\
         .chart .target {{ stroke: #1c1e21; stroke-dasharray: 8 5; }}\n\
         .chart .line {{ fill: none; stroke-width: 2; stroke-linejoin: round; }}\n\
         {light}\
         @media (prefers-color-scheme: dark) {{\n\
         .chart text {{ fill: #e8eaed; }}\n\
         .chart .faint {{ fill: #a3a9b1; }}\n\
         .chart .paper {{ fill: #16181b; }}\n\
         .chart .grid {{ stroke: #33373d; }}\n\
         .chart .target {{ stroke: #e8eaed; }}\n\
         {dark}\
         }}\n\
         </style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" class=\"paper\"/>\n\
         <text class=\"title\" x=\"24\" y=\"28\">{title}</text>\n\
         {drawing}</svg>\n",
        title = escaped(title),
        light = colours(|(light, _)| light),
        dark = colours(|(_, dark)| dark),
    )
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all that is written");
}

/// A text as XML takes it, inside an attribute too.
fn escaped(text: &str) -> String {
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

/// A number with three digits that count, and a letter for thousands, millions and billions.
pub(super) fn short(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || scaled.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text_and_nothing_comes_from_elsewhere() {
        let svg = document("a < b & \"c\" '\u{7}", 100.0, "");
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot; &#39;\u{FFFD}"), "{svg}");
        assert_eq!(svg.matches("http").count(), 1, "the name space alone");
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.256, 7.0, 12.34, 123.4, 1_000.0, 1_234_567.0, 2e9].map(short);
        assert_eq!(told, ["0", "0.26", "7", "12.3", "123", "1k", "1.23M", "2G"]);
    }
}
