//! Gives back the space of cleared namespaces, in the background.
//!
//! A clear only raises a floor; the records below it are dead but take room until they expire. A
//! sweep looks for them with SCAN, which holds nothing up, and unlinks them. It is a courtesy: what
//! it misses, because the server went away or the program ended, expires by itself.

use std::{collections::VecDeque, fmt, sync::Arc};

use bb8_redis::redis;
use cache_core::{Namespace, Result};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{
    connection::Server,
    error::{Access, expect},
    layout::Layout,
    scripts,
};

/// How many keys Redis looks at in one step.
const STEP_LEN: usize = 500;

/// Sweeps one namespace after the other.
pub(crate) struct Sweeper {
    work: Arc<Work>,
    /// The running sweep, if any. It ends with the sweeper.
    tasks: Mutex<JoinSet<()>>,
}

struct Work {
    server: Arc<Server>,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Namespace>,
    running: bool,
    closed: bool,
}

impl Sweeper {
    pub(crate) fn new(server: Arc<Server>, layout: Layout) -> Self {
        let state = Mutex::new(State::default());
        let work = Arc::new(Work { server, layout, state });
        Self { work, tasks: Mutex::new(JoinSet::new()) }
    }

    /// Has `namespace` swept soon. One that is being swept is swept once more after that.
    pub(crate) fn sweep(&self, namespace: &Namespace) {
        let mut state = self.work.state.lock();
        if state.closed {
            return;
        }
        if !state.waiting.contains(namespace) {
            state.waiting.push_back(namespace.clone());
        }
        if !state.running {
            state.running = true;
            let mut tasks = self.tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(Arc::clone(&self.work).run());
        }
    }

    /// Stops a running sweep and starts no other.
    pub(crate) async fn close(&self) {
        self.work.state.lock().closed = true;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper").finish_non_exhaustive()
    }
}

impl Work {
    async fn run(self: Arc<Self>) {
        while let Some(namespace) = self.next() {
            match self.sweep(namespace.as_str()).await {
                Ok(removed) => tracing::debug!(%namespace, removed, "swept a cleared namespace"),
                Err(error) => tracing::debug!(%namespace, %error, "gave up a sweep"),
            }
        }
    }

    fn next(&self) -> Option<Namespace> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        // Under the lock, so that whoever adds a namespace after this starts a new task.
        state.running = next.is_some();
        next
    }

    async fn sweep(&self, namespace: &str) -> Result<u64> {
        let mut removed = 0;
        let mut cursor = 0;
        loop {
            let keys;
            (cursor, keys) = self.step(namespace, cursor).await?;
            if !keys.is_empty() {
                removed += self.unlink_dead(namespace, &keys).await?;
            }
            if cursor == 0 {
                return Ok(removed);
            }
        }
    }

    /// The next keys of the namespace, and where to go on; 0 at the end.
    async fn step(&self, namespace: &str, cursor: u64) -> Result<(u64, Vec<Vec<u8>>)> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(self.layout.records(namespace))
            .arg("COUNT")
            .arg(STEP_LEN);
        expect(self.server.query(&scan, Access::Read).await?)
    }

    async fn unlink_dead(&self, namespace: &str, keys: &[Vec<u8>]) -> Result<u64> {
        let mut call = scripts::SWEEP.call(1 + keys.len());
        call.arg(self.layout.control(namespace)).arg(keys);
        expect(scripts::SWEEP.run(&self.server, &call).await?)
    }
}
