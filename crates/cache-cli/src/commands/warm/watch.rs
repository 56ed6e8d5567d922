//! Warming until somebody ends it.

use anyhow::{Context as _, Result};
use cache_core::{Error, ErrorKind};
use cache_warmer::{Plan, Warmer};
use serde_json::Value;

use crate::{
    exit::Exit,
    output::{self, Format},
    signals::Signals,
};

/// Keeps `plan` warm until Ctrl-C or a SIGTERM. Loads that are under way then come to their end.
pub(super) async fn run(warmer: &Warmer<Value>, plan: &Plan, format: Format) -> Result<Exit> {
    // Before the first load: from here on the signals no longer end the process by themselves.
    let mut signals = Signals::new().context("could not watch for signals")?;
    let schedule = warmer.spawn_schedule(plan).ok_or_else(|| {
        Error::new(ErrorKind::Config, "`cache_warming_enabled` is off, so --watch is refused")
            .hint("switch it on, or warm once without --watch")
    })?;
    tokio::select! {
        () = schedule.warmed() => {
            if let Some(first) = warmer.stats().last {
                format.print(&first)?;
            }
            output::note(format_args!("keeping {} keys warm; Ctrl-C ends it", plan.len()));
            signals.next().await;
        }
        () = signals.next() => {}
    }
    schedule.stop().await;
    format.print(&warmer.stats())?;
    Ok(Exit::Done)
}
