//! What a near tier holds of memory.

use std::{fs, ops::Range, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    Key, Loader, Peer,
    callers::{Hit, Load, together},
};

/// As many tasks as fill a cache at once.
const FILLERS: usize = 64;

/// Loads every key of `keys` into both tiers, and tells what the last four of five have added to
/// the memory of this process, in bytes a key. The first fifth pays for what a cache has once,
/// such as buffers and histograms.
pub(crate) async fn fill<P: Peer>(peer: &P, keys: &Arc<[Key]>) -> Result<f64> {
    let (first, all) = (keys.len() / 5, keys.len());
    load(peer, keys, 0..first).await?;
    let before = anonymous_bytes()?;
    load(peer, keys, first..all).await?;
    Ok((anonymous_bytes()? - before) / (all - first) as f64)
}

async fn load<P: Peer>(peer: &P, keys: &Arc<[Key]>, range: Range<usize>) -> Result<()> {
    together(peer, FILLERS, keys, range.clone(), Load(Loader::instant())).await?;
    // Where a load leaves the near tier empty, a read fills it.
    together(peer, FILLERS, keys, range, Hit).await?;
    Ok(())
}

/// What this process has written to of its memory, which the kernel counts in kilobytes.
fn anonymous_bytes() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("this needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kilobytes = kilobytes.context("/proc/self/status tells no RssAnon")?.trim();
    Ok(kilobytes.parse::<f64>().context("RssAnon is not a number")? * 1_024.0)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn memory_that_is_written_to_is_counted() {
        let before = anonymous_bytes().unwrap();
        let held = black_box(vec![1_u8; 32 << 20]);
        let added = anonymous_bytes().unwrap() - before;
        assert!(added >= (16 << 20) as f64, "{added} of {}", black_box(&held).len());
    }
}
