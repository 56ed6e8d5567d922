//! Ours beside references: runs a program that measures both, tells its rows, and judges them.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::chart::{self, Bar};
use super::curves::{self, Curve};
use super::publish::{self, Publishing};
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
    /// Of programs that measure by a size.
    #[serde(default)]
    curves: Vec<Curve>,
}

/// The content of the file: see docs/bench-schema.md.
#[derive(Debug, Serialize)]
struct Saved<'a> {
    environment: &'a Environment,
    rows: &'a [Row],
    #[serde(skip_serializing_if = "<[Curve]>::is_empty")]
    curves: &'a [Curve],
}

/// Runs `program`, which is told by `--rows PATH` where to write its rows, prints them, and keeps
/// them with the environment in `target/xtask/bench/<name>.json` and as a chart beside it, and in
/// the documents where that is wanted. Fails where a target is missed.
///
/// # Errors
///
/// The program fails, or its rows cannot be read or kept.
pub(crate) fn run(
    name: &str,
    program: &mut Command,
    environment: &Environment,
    publishing: &Publishing,
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
    let Comparison { rows, curves } = read(&rows_path)?;
    if rows.is_empty() && curves.is_empty() {
        bail!("nothing was measured: does the filter match a row?");
    }
    for listing in curves::listings(&curves) {
        let header: Vec<&str> = listing.header.iter().map(String::as_str).collect();
        print!("\n{}\n{}", listing.title, table::render(&header, &listing.rows));
    }
    if !rows.is_empty() {
        print!("\n{}", table::render(&HEADER, &cells(&rows)));
    }
    let chart = draw(name, &rows, &curves);
    let path = workspace::output(&format!("bench/{name}.svg"))?;
    fs::write(&path, &chart).with_context(|| format!("cannot write {}", path.display()))?;
    super::save(&format!("{name}.json"), &Saved { environment, rows: &rows, curves: &curves })?;
    if publishing.publish {
        publish::publish(name, &markdown(name, environment, &rows, &curves), &chart)?;
    }
    let missed: Vec<&str> =
        rows.iter().filter(|row| !row.ok).map(|row| row.name.as_str()).collect();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("Missed: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}

fn read(path: &Path) -> Result<Comparison> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} does not hold rows", path.display()))
}

/// Lines where figures were measured by a size, else bars of the rows that have a target.
fn draw(name: &str, rows: &[Row], measured: &[Curve]) -> String {
    if !measured.is_empty() {
        return curves::draw(name, measured);
    }
    let bars: Vec<Bar> = rows.iter().filter_map(Row::bar).collect();
    chart::bars(&format!("{name}: each figure against its target"), &bars)
}

/// What a document has of a run.
fn markdown(name: &str, environment: &Environment, rows: &[Row], measured: &[Curve]) -> String {
    let mut text = format!("`cargo xtask bench {name}` on {}.\n\n", environment.describe());
    if !rows.is_empty() {
        text.push_str(&publish::table(&HEADER, &cells(rows)));
    }
    for listing in curves::listings(measured) {
        let header: Vec<&str> = listing.header.iter().map(String::as_str).collect();
        text.push_str(&format!("\n{}:\n\n", listing.title));
        text.push_str(&publish::table(&header, &listing.rows));
    }
    text.push_str(&format!("\n![{name}](figures/{name}.svg)\n"));
    text
}

const HEADER: [&str; 9] =
    ["row", "ours", "reference", "of", "unit", "ratio", "target", "verdict", "note"];

fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    rows.iter()
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
        .collect()
}

impl Row {
    /// How far the row's figure is from its target, where it has both.
    fn bar(&self) -> Option<Bar> {
        let (target, bound) = self.target.zip(self.bound)?;
        let of = self.ratio.or(self.ours)?;
        let (margin, sign) = match bound {
            // What is not above zero has no factor, and is as far below its bound as can be.
            Bound::AtMost if of <= 0.0 => (f64::INFINITY, "<="),
            Bound::AtMost => (target / of, "<="),
            Bound::AtLeast => (of / target, ">="),
        };
        let label = format!("{} ({sign} {target})", figure(of));
        Some(Bar { name: self.name.clone(), margin, label })
    }
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
        let table = table::render(&HEADER, &cells(&comparison.rows));
        let line = table.lines().nth(1).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected = ["near", "hit", "120", "100", "moka", "ns", "1.20", "<=", "1.1", "MISSED"];
        assert_eq!(words, expected);
    }

    fn row(json: &str) -> Row {
        serde_json::from_str(json).unwrap()
    }

    fn judged() -> Row {
        row(r#"{"name": "a | b", "ours": 120.0, "reference": 100.0, "reference_name": "moka",
            "unit": "ns", "ratio": 1.2, "target": 1.5, "bound": "at_most", "ok": true,
            "note": null}"#)
    }

    #[test]
    fn a_bar_tells_how_many_times_better_than_its_target_a_figure_is() {
        let bar = judged().bar().unwrap();
        assert!((bar.margin - 1.25).abs() < 1e-9);
        assert_eq!(bar.label, "1.20 (<= 1.5)");
        let free = Row { target: None, ..judged() };
        let untold = Row { ratio: None, ours: None, ..judged() };
        assert!(free.bar().is_none() && untold.bar().is_none());
        let below = Row { ratio: None, ours: Some(-7.0), ..judged() };
        assert_eq!(below.bar().unwrap().margin, f64::INFINITY);
    }

    #[test]
    fn a_document_gets_command_environment_table_and_chart() {
        let text = markdown("limits", &Environment::example(), &[judged()], &[]);
        assert!(text.starts_with("`cargo xtask bench limits` on A 9000, 2 cores"), "{text}");
        assert!(text.contains("| a \\| b | 120 | 100 | moka | ns | 1.20 | <= 1.5 | ok |  |"));
        assert!(text.ends_with("![limits](figures/limits.svg)\n"));
    }
}
