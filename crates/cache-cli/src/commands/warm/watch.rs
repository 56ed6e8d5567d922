//! Warming until somebody ends it.

use anyhow::{Context as _, Result};
use cache_core::{Error, ErrorKind};
use cache_warmer::{Plan, Warmer};
use serde_json::Value;

use crate::{
    exit::Exit,
    output::{self, Format},
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

/// What a person or a supervisor ends a process with.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
