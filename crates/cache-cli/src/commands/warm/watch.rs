//! Warming until somebody ends it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cache_core::{Error, ErrorKind};
use cache_warmer::{Plan, Ready, Warmer};
use serde_json::Value;

use crate::{
    exit::Exit,
    output::{self, Format},
    progress,
    signals::Signals,
};

/// How often the progress of the first round is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Keeps `plan` warm until Ctrl-C or a SIGTERM. Loads that are under way then come to their end.
pub(super) async fn run(warmer: &Warmer<Value>, plan: &Plan, format: Format) -> Result<Exit> {
    // Before the first load: from here on the signals no longer end the process by themselves.
    let mut signals = Signals::new().context("could not watch for signals")?;
    let schedule = warmer.spawn_schedule(plan).ok_or_else(|| {
        Error::new(ErrorKind::Config, "`cache_warming_enabled` is off, so --watch is refused")
            .hint("switch it on, or warm once without --watch")
    })?;
    let bar = progress::bar(plan.len() as u64, "warming");
    let draw = async {
        let readiness = schedule.readiness(Duration::MAX);
        let mut tick = tokio::time::interval(DRAW_EVERY);
        loop {
            tick.tick().await;
            if let Ready::Warming { done, .. } = readiness.now() {
                bar.set_position(done as u64);
            }
        }
    };
    tokio::select! {
        () = draw => {}
        () = schedule.warmed() => {
            bar.finish_and_clear();
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
