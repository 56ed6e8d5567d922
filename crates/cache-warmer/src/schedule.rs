//! Keeps a plan warm in the background.

use std::{fmt, sync::Arc};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agenda::Agenda,
    outcome::{Outcome, Settled},
    plan::Plan,
    report::Report,
    run::Runner,
    warmer::Mode,
};

/// A task that keeps a plan warm, see [`spawn_schedule`](crate::Warmer::spawn_schedule).
///
/// Dropped, it ends at once: what is being loaded still fills the cache, and nothing more is begun.
pub struct Schedule {
    task: JoinHandle<()>,
    stop: CancellationToken,
    warmed: watch::Receiver<bool>,
}

impl Schedule {
    pub(crate) fn spawn<V: Send + Sync + 'static>(runner: Arc<Runner<V>>, plan: Plan) -> Self {
        let stop = CancellationToken::new();
        let (tell_warmed, warmed) = watch::channel(false);
        let task = tokio::spawn(keep_warm(runner, plan, stop.clone(), tell_warmed));
        Self { task, stop, warmed }
    }

    /// Waits until every key of the plan has been looked at, and what was due of it has been loaded
    /// or has failed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn warmed(&self) {
        // An error says that the task is gone: there is nothing to wait for any more.
        let _ = self.warmed.clone().wait_for(|warmed| *warmed).await;
    }

    /// Begins no further load, and waits for those that are under way.
    ///
    /// # Cancel safety
    ///
    /// A dropped future ends the schedule at once.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the schedule of a warmer ended early");
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("is_finished", &self.task.is_finished())
            .finish_non_exhaustive()
    }
}

/// Starts a run whenever keys fall due, beside the runs that are still waiting for a slow source.
async fn keep_warm<V: Send + Sync + 'static>(
    runner: Arc<Runner<V>>,
    plan: Plan,
    stop: CancellationToken,
    warmed: watch::Sender<bool>,
) {
    let mut agenda = Agenda::new(plan.len(), &runner.config, Instant::now());
    // A key is in one run at most, so there are never more messages than keys.
    let (tell, mut told) = mpsc::unbounded_channel();
    let begin = |due| run(&runner, &plan, due, &stop, tell.clone());
    // The first run looks at the whole plan.
    let first = begin(agenda.take(Instant::now())).map(|()| {
        warmed.send_replace(true);
    });
    let mut runs = FuturesUnordered::from_iter([first.boxed()]);
    loop {
        tokio::select! {
            Some(()) = runs.next() => {}
            Some((place, outcome)) = told.recv() => {
                agenda.settle(place, &outcome, Instant::now());
            }
            () = sleep_until(agenda.wakes_at()) => {
                runs.push(begin(agenda.take(Instant::now())).boxed());
            }
            () = stop.cancelled() => break,
        }
    }
    while runs.next().await.is_some() {}
}

/// One run over the keys at `due`, which tells what became of each as soon as it is known.
async fn run<V: Send + Sync + 'static>(
    runner: &Runner<V>,
    plan: &Plan,
    due: Vec<usize>,
    stop: &CancellationToken,
    tell: mpsc::UnboundedSender<(usize, Outcome)>,
) {
    let mut on_settled = |settled: &[Settled], _: &Report| {
        for Settled { place, outcome } in settled {
            // Nobody listens any more once the schedule is stopped.
            let _ = tell.send((due[*place], outcome.clone()));
        }
    };
    let part = plan.pick(&due);
    runner.run(&part, Mode::Due, stop, runner.deadline(), &mut on_settled).await;
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
