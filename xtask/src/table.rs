//! Plain text tables with aligned columns.

use std::time::Duration;

/// The rows under their header. A column whose cells all begin with a digit is aligned right.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns: Vec<Column> = header
        .iter()
        .enumerate()
        .map(|(index, title)| Column::measure(index, title, rows))
        .collect();
    let mut text = line(&columns, header.iter().copied());
    for row in rows {
        text.push_str(&line(&columns, row.iter().map(String::as_str)));
    }
    text
}

/// A duration as a person reads it: `0.4 s`, `12.0 s`, `3 min 05 s`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
}

struct Column {
    width: usize,
    numeric: bool,
}

impl Column {
    fn measure(index: usize, title: &str, rows: &[Vec<String>]) -> Self {
        let cells = || rows.iter().filter_map(move |row| row.get(index));
        let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
        let numeric = cells().all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()));
        Self { width: width.max(title.chars().count()), numeric }
    }
}

fn line<'a>(columns: &[Column], cells: impl Iterator<Item = &'a str>) -> String {
    let padded: Vec<String> = columns
        .iter()
        .zip(cells)
        .map(|(&Column { width, numeric }, cell)| match numeric {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        })
        .collect();
    format!("{}\n", padded.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_are_aligned_right() {
        let rows = [["a", "7 ns"], ["long", "12 ns"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(render(&["id", "mean"], &rows), "id     mean\na      7 ns\nlong  12 ns\n");
    }

    #[test]
    fn a_duration_over_a_minute_is_told_in_minutes() {
        assert_eq!(duration(Duration::from_millis(400)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
