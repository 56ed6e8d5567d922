//! An aligned table whose columns may hold text that comes from outside.

use std::fmt;

/// To which side a column's cells lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text under headings.
///
/// Control characters are written as escapes: a stored value must not move the reader's cursor.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    pub(crate) fn new<H: Into<String>>(columns: impl IntoIterator<Item = (H, Align)>) -> Self {
        let (headings, aligns) =
            columns.into_iter().map(|(heading, align)| (heading.into(), align)).unzip();
        Self { aligns, rows: vec![headings] }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns: Vec<(Align, usize)> =
            self.aligns.iter().enumerate().map(|(i, align)| (*align, width(i))).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (align, width)) in row.iter().zip(&columns) {
                // By hand: the width of a format is a `u16`, and a value may be longer.
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell, padding.as_str(), "  "]),
                    Align::Right => line.extend([padding.as_str(), cell, "  "]),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A text that moves no cursor and colours nothing.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_lean_to_their_side_and_control_characters_are_escaped() {
        let mut table = Table::new([("key", Align::Left), ("n", Align::Right), ("", Align::Left)]);
        table.row(&["a".to_owned(), "10".to_owned(), "\u{1b}[2J".to_owned()]);
        table.row(&["long".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "key    n\na     10  \\u{1b}[2J\nlong   7\n");
    }

    #[test]
    fn a_cell_may_be_longer_than_a_format_is_wide() {
        let mut table = Table::new([("value", Align::Right)]);
        table.row(&["x".repeat(100_000)]);
        assert_eq!(table.to_string().lines().map(str::len).collect::<Vec<_>>(), [100_000; 2]);
    }
}
