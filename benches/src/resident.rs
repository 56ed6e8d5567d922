//! What a process has of the machine's memory.

use std::fs;

use anyhow::{Context, Result};

/// The resident set of a process, in bytes: `self`, or its id.
///
/// # Errors
///
/// There is no such process, or the system does not tell.
pub fn resident(process: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("there is no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
