//! Ours beside references: runs a program that measures both, tells its rows, and judges them.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::environment::{self, Environment};
use crate::table;
use crate::workspace;

/// One row, as the program writes it (`cache_benches::comparison::Row`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    ours: Option<f64>,
    reference: Option<f64>,
    reference_name: String,
    unit: String,
    ratio: Option<f64>,
    target: Option<f64>,
    bound: Option<Bound>,
    ok: bool,
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost,
    AtLeast,
}

#[derive(Debug, Deserialize)]
struct Comparison {
    rows: Vec<Row>,
}

/// The content of the file.
#[derive(Debug, Serialize)]
struct Saved<'a> {
    environment: &'a Environment,
    rows: &'a [Row],
}

/// Runs `program`, which is told by `--rows PATH` where to write its rows, prints them, and keeps
/// them with the environment in `target/xtask/bench/<name>.json`. Fails where a target is missed.
///
/// # Errors
///
/// The program fails, or its rows cannot be read or kept.
pub(crate) fn run(
    name: &str,
    program: &mut Command,
    environment: &Environment,
) -> Result<ExitCode> {
    let rows_path = workspace::output(&format!("bench/.{name}-rows.json"))?;
    // What an earlier run left must not pass for this one's.
    if rows_path.exists() {
        fs::remove_file(&rows_path)
            .with_context(|| format!("cannot remove {}", rows_path.display()))?;
    }
    program.arg("--rows").arg(&rows_path);
    program.env(environment::VARIABLE, environment.to_json()?);
    workspace::run_checked(program)?;
    let rows = read(&rows_path)?;
    if rows.is_empty() {
        bail!("nothing was measured: does the filter match a row?");
    }
    print!("\n{}", render(&rows));
    let path = workspace::output(&format!("bench/{name}.json"))?;
    let json = serde_json::to_string_pretty(&Saved { environment, rows: &rows })
        .context("cannot write the rows as JSON")?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nSaved to {}", path.display());
    let missed: Vec<&str> =
        rows.iter().filter(|row| !row.ok).map(|row| row.name.as_str()).collect();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("Missed: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}

fn read(path: &Path) -> Result<Vec<Row>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let comparison: Comparison = serde_json::from_str(&text)
        .with_context(|| format!("{} does not hold rows", path.display()))?;
    Ok(comparison.rows)
}

fn render(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let target = row.target.zip(row.bound).map_or_else(String::new, |(target, bound)| {
                let sign = match bound {
                    Bound::AtMost => "<=",
                    Bound::AtLeast => ">=",
                };
                format!("{sign} {target}")
            });
            let verdict = match (row.target, row.ok) {
                (None, _) => "",
                (Some(_), true) => "ok",
                (Some(_), false) => "MISSED",
            };
            vec![
                row.name.clone(),
                row.ours.map_or_else(|| "-".to_owned(), figure),
                row.reference.map_or_else(|| "-".to_owned(), figure),
                row.reference_name.clone(),
                row.unit.clone(),
                row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                target,
                verdict.to_owned(),
                row.note.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["row", "ours", "reference", "of", "unit", "ratio", "target", "", "note"];
    table::render(&header, &cells)
}

/// A figure with three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_the_program_wrote_is_told_with_its_verdict() {
        let json = r#"{"rows": [{"name": "near hit", "ours": 120.4, "reference": 100.0,
            "reference_name": "moka", "unit": "ns", "ratio": 1.204, "target": 1.1,
            "bound": "at_most", "ok": false, "note": null}]}"#;
        let comparison: Comparison = serde_json::from_str(json).unwrap();
        let table = render(&comparison.rows);
        let line = table.lines().nth(1).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected = ["near", "hit", "120", "100", "moka", "ns", "1.20", "<=", "1.1", "MISSED"];
        assert_eq!(words, expected);
    }
}
