//! What a hit allocates, counted by a program of its own: a counting allocator costs time.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cache_benches::comparison::Row;

use crate::Setting;

const NAME: &str = "near hit: allocations";

pub(crate) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    if !NAME.contains(&setting.filter) {
        return Ok(Vec::new());
    }
    let program = std::env::current_exe()?.with_file_name("allocations");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("cannot start {}: build it first", program.display()))?;
    ensure!(output.status.success(), "{} failed", program.display());
    let counted: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(vec![Row::alone(NAME, "a hit", &[counted]).at_most(0.0)])
}
