//! What the counters are expected to be: committed, so that a change that costs more says so.

use anyhow::{Context, Result};

use super::Figures;

/// The portable figures of the last commit that changed them. `cargo xtask bench counters --accept`
/// writes them anew.
///
/// # Errors
///
/// The file is broken.
pub fn expected() -> Result<Figures> {
    serde_json::from_str(include_str!("../../counters.json")).context("benches/counters.json")
}
