//! Puts a run's figures into docs/BENCHMARKS.md, and its chart beside it.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace;

/// Whether a run's figures go into the documents.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Publishing {
    /// Also put the table into docs/BENCHMARKS.md and the chart into docs/figures
    ///
    /// For a run on what is committed, while nothing else runs.
    #[arg(long, conflicts_with = "quick")]
    pub(super) publish: bool,
}

const DOCUMENT: &str = "docs/BENCHMARKS.md";

/// Replaces what is between `<!-- name:begin -->` and `<!-- name:end -->` by `text`, and writes the
/// chart as `docs/figures/<name>.svg`.
///
/// # Errors
///
/// The document has no such place, or a file cannot be read or written.
pub(super) fn publish(name: &str, text: &str, chart: &str) -> Result<()> {
    let document = workspace::root().join(DOCUMENT);
    let figure = workspace::root().join("docs/figures").join(format!("{name}.svg"));
    let old = fs::read_to_string(&document)
        .with_context(|| format!("cannot read {}", document.display()))?;
    let new = replaced(&old, name, text).with_context(|| format!("in {DOCUMENT}"))?;
    fs::write(&figure, chart).with_context(|| format!("cannot write {}", figure.display()))?;
    fs::write(&document, new).with_context(|| format!("cannot write {}", document.display()))?;
    println!("Published in {DOCUMENT} and docs/figures/{name}.svg");
    Ok(())
}

fn replaced(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let places: Vec<usize> = document.match_indices(&begin).map(|(place, _)| place).collect();
    let [start] = places[..] else {
        bail!("`{begin}` is there {} times: it must be there once", places.len());
    };
    let inside = start + begin.len();
    let Some(len) = document[inside..].find(&end) else {
        bail!("no `{end}` follows `{begin}`");
    };
    let (before, after) = (&document[..inside], &document[inside + len..]);
    Ok(format!("{before}\n\n{}\n\n{after}", text.trim()))
}

/// A table in Markdown. A column whose cells all begin with a digit is aligned right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let is_numeric = |column: usize| {
        let cells = || rows.iter().filter_map(move |row| row.get(column));
        cells().all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    };
    let rule = |column| if is_numeric(column) { "--:" } else { "---" };
    let mut text = format!("| {} |\n", header.join(" | "));
    let rules: Vec<&str> = (0..header.len()).map(rule).collect();
    text.push_str(&format!("| {} |\n", rules.join(" | ")));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\nrest <!-- b:begin -->";

    #[test]
    fn only_what_is_between_the_marks_is_replaced_and_twice_is_like_once() {
        let once = replaced(PAGE, "a", "new\n").unwrap();
        let expected =
            "# Page\n\n<!-- a:begin -->\n\nnew\n\n<!-- a:end -->\n\nrest <!-- b:begin -->";
        assert_eq!(once, expected);
        assert_eq!(replaced(&once, "a", "new").unwrap(), once);
    }

    #[test]
    fn a_page_without_the_place_says_so_and_is_left() {
        let told = |name| replaced(PAGE, name, "new").unwrap_err().to_string();
        assert!(told("c").contains("`<!-- c:begin -->` is there 0 times"));
        assert!(told("b").contains("no `<!-- b:end -->` follows"));
        let twice = format!("{PAGE}{PAGE}");
        assert!(replaced(&twice, "a", "new").is_err());
    }

    #[test]
    fn cells_with_bars_stay_cells_and_numbers_are_aligned_right() {
        let rows = [["a|b", "12"], ["c", "-"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "| id | n |\n| --- | --: |\n| a\\|b | 12 |\n| c | - |\n";
        assert_eq!(table(&["id", "n"], &rows), expected);
    }
}
