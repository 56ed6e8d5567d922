//! One run, which can be stopped and resumed.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use cache_core::{Namespace, PressureGauge, ProcessMemory};
use cache_warmer::{DataKind, Job, JobEnd, Plan, Report, Start, Warmer};
use serde_json::Value;

use super::Status;
use crate::{commands::Context, exit::Exit, output, progress, signals::Signals, wiring::Session};

/// The name under which the runs of this program are kept, in each namespace.
const NAME: &str = "cache-cli";

/// How many keys are settled between two notes of the place.
const CHUNK_LEN: usize = 1_000;

/// The job of `plan`, with its place in the bottom tier.
pub(super) fn of(session: &Session, kind: DataKind, plan: Plan) -> Result<Job> {
    let store = session.tiers.last().context("a session has a tier")?;
    let namespace = Namespace::new(kind.namespace())?;
    let job = Job::new(&namespace, NAME, plan, Arc::clone(store), Arc::clone(&session.clock))?;
    Ok(job.chunk_len(CHUNK_LEN))
}

/// Carries `job` out until it is done or a signal comes, with a progress bar where somebody watches.
pub(super) async fn run(warmer: &Warmer<Value>, job: &Job, start: Start) -> Result<JobEnd> {
    // From here on the signals no longer end the process by themselves.
    let mut signals = Signals::new().context("could not watch for signals")?;
    let keys = job.plan().len() as u64;
    let bar = progress::bar(keys, "warming");
    let advanced = |so_far: &Report| bar.set_position(so_far.done());
    let began = Instant::now();
    let end = warmer.run_job(job, start, signals.next(), &advanced).await;
    bar.finish_and_clear();
    let (end, took) = (end?, began.elapsed());
    let warmed = warmer.stats().total.warmed();
    let memory = ProcessMemory::new().read().await.ok().map(|memory| memory.used);
    output::note(format_args!(
        "{warmed} keys warmed in {}, {:.0} a second; {} of memory in use",
        output::span(took),
        warmed as f64 / took.as_secs_f64().max(0.001),
        output::size(memory),
    ));
    if let JobEnd::Stopped(report) = &end {
        output::note(format_args!(
            "stopped: {} of {keys} keys are settled; the same command with --resume goes on",
            report.done()
                - report.failed.get("stopped").map_or(0, |stopped| stopped.keys)
                - report.failed.get("deadline").map_or(0, |late| late.keys),
        ));
    }
    Ok(end)
}

/// Tells how the last run of a namespace stands.
pub(super) async fn status(status: &Status, context: &Context) -> Result<Exit> {
    let session = context.session().await?;
    let kind = status.kind.or(session.config.warm.kind).unwrap_or(DataKind::Price);
    let nothing = Plan::new(Vec::<String>::new())?;
    let state = of(&session, kind, nothing)?.state().await?;
    let exit = match state {
        Some(state) => {
            context.format.print(&state)?;
            Exit::Done
        }
        None => {
            output::note(format_args!("no run of `{}` is known", kind.namespace()));
            Exit::No
        }
    };
    session.close(&[]).await?;
    Ok(exit)
}
