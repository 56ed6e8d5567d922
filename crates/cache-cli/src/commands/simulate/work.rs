//! What takes its time: away from the runtime, with a bar, until Ctrl-C.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use cache_core::{Error, ErrorKind};
use cache_trace::{Curves, Plan, ReadOptions, Trace};

use super::bad;
use crate::{progress, signals::Signals};

/// Work that a person may stop.
pub(super) struct Work {
    signals: Signals,
    stopped: Arc<AtomicBool>,
}

impl Work {
    pub(super) fn new() -> Result<Self> {
        let signals = Signals::new().context("could not watch for signals")?;
        Ok(Self { signals, stopped: Arc::default() })
    }

    pub(super) async fn read(&mut self, path: PathBuf) -> Result<Arc<Trace>> {
        let len = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let stopped = Arc::clone(&self.stopped);
        self.finish(move || {
            let bar = progress::bar(len, "reading");
            let advanced = |bytes| {
                bar.set_position(bytes);
                !stopped.load(Ordering::Relaxed)
            };
            let options = ReadOptions { advanced: &advanced, ..ReadOptions::default() };
            let result = cache_trace::read(&path, &options);
            bar.finish_and_clear();
            result.map(Arc::new)
        })
        .await
    }

    pub(super) async fn simulate(&mut self, trace: &Arc<Trace>, plan: Plan) -> Result<Curves> {
        let (trace, stopped) = (Arc::clone(trace), Arc::clone(&self.stopped));
        self.finish(move || {
            let bar = progress::bar(plan.reads(&trace), "replaying");
            let advanced = |reads| {
                bar.inc(reads);
                !stopped.load(Ordering::Relaxed)
            };
            let result = cache_trace::simulate(&trace, &plan, &advanced);
            bar.finish_and_clear();
            result
        })
        .await
    }

    /// Does not wait for what was stopped: it may be reading from somebody who writes nothing.
    async fn finish<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T> {
        let work = tokio::task::spawn_blocking(work);
        tokio::select! {
            done = work => done.context("the work has failed")?.map_err(bad),
            () = self.signals.next() => {
                self.stopped.store(true, Ordering::Relaxed);
                Err(Error::new(ErrorKind::Closed, "stopped before there was an answer").into())
            }
        }
    }
}
