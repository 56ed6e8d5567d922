//! Instructions of an operation: valgrind's callgrind counts those of a process that does it so many
//! times, and those of one that does it twice as often. What both do beside it falls out of the
//! difference.

use std::{env, process::Command};

use anyhow::{Context, Result, ensure};
use cache_benches::counters::{Counter, Figure};

/// Beyond what is made once, and little enough for a processor that is made by a program.
const TIMES: usize = 500;

/// The instructions of each operation, where valgrind is installed.
pub(crate) fn count(operations: &[String]) -> Result<Vec<Figure>> {
    let version = Command::new("valgrind").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: instructions (valgrind is not installed)");
        return Ok(Vec::new());
    }
    let mut figures = Vec::new();
    for operation in operations {
        let difference = collected(operation, 2 * TIMES)? - collected(operation, TIMES)?;
        let value = (difference.max(0) as f64 / TIMES as f64).round() as u64;
        let (operation, counter) = (operation.clone(), Counter::Instructions);
        figures.push(Figure { operation, counter, value });
    }
    Ok(figures)
}

fn collected(operation: &str, times: usize) -> Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--output", "unused", "--repeat", operation, "--times", &times.to_string()])
        .output()
        .context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed for `{operation}`: {said}");
    parse(&said).with_context(|| format!("valgrind did not say what it collected: {said}"))
}

/// 1234 of `==77== Collected : 1234`.
fn parse(said: &str) -> Option<i64> {
    let line = said.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_collected_is_read() {
        let said = "==77== Events    : Ir\n==77== Collected : 1234\n==77== \n";
        assert_eq!(parse(said), Some(1234));
        assert_eq!(parse("==77== Events    : Ir\n"), None);
    }
}
