//! Waiting for the end of leases: together, and without asking more than it takes.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use bb8_redis::redis;
use cache_core::Result;
use futures::{
    StreamExt,
    future::{Either, select},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    connection::Server,
    error::{Access, Fault, expect},
};

/// How often the server is asked whether a lease has ended, for want of news.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often the connection that hears of releases is asked whether it is there still, and given up
/// when nobody waits.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// How long after a failure the next attempt to hear of releases is made.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Those of this process who wait.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    /// The task that hears of releases, while somebody waits. It ends with this.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    server: Arc<Server>,
    channel: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    spots: HashMap<String, Arc<Spot>>,
    listening: bool,
    closed: bool,
}

/// Where those meet who wait for one lease.
struct Spot {
    lease: String,
    waiters: Mutex<usize>,
    /// What comes of the wait of all who are here when it is sent.
    news: watch::Sender<Option<Result<()>>>,
    /// Held by the one who asks the server for all.
    asking: tokio::sync::Mutex<()>,
    /// Whoever asks is to do so now.
    ask: Notify,
}

impl Waiting {
    pub(crate) fn new(server: Arc<Server>, channel: String) -> Self {
        let shared = Arc::new(Shared { server, channel, state: Mutex::default() });
        Self { shared, tasks: Mutex::new(JoinSet::new()) }
    }

    /// Waits until `lease` has ended, but not longer than `wait`.
    pub(crate) async fn wait(&self, lease: String, wait: Duration) -> Result<()> {
        let here = self.join(lease);
        let mut news = here.spot.news.subscribe();
        // Whoever asks is the first who gets there. When it leaves, the next one does.
        let asked = pin!(async {
            let _asking = here.spot.asking.lock().await;
            self.shared.ask(&here.spot).await
        });
        let told = pin!(async {
            // The sender lives in the spot, which is held here.
            let _ = news.changed().await;
            news.borrow().clone().unwrap_or(Ok(()))
        });
        match timeout(wait, select(told, asked)).await {
            Ok(Either::Left((end, _)) | Either::Right((end, _))) => end,
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn close(&self) {
        self.shared.state.lock().closed = true;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    fn join(&self, lease: String) -> Here<'_> {
        let mut state = self.shared.state.lock();
        let spot = state.spots.entry(lease).or_insert_with_key(|lease| Arc::new(Spot::new(lease)));
        let spot = Arc::clone(spot);
        *spot.waiters.lock() += 1;
        if !state.listening && !state.closed {
            state.listening = true;
            let mut tasks = self.tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(Arc::clone(&self.shared).listen());
        }
        Here { shared: &self.shared, spot }
    }
}

impl Spot {
    fn new(lease: &str) -> Self {
        Self {
            lease: lease.to_owned(),
            waiters: Mutex::new(0),
            news: watch::Sender::new(None),
            asking: tokio::sync::Mutex::new(()),
            ask: Notify::new(),
        }
    }
}

/// The place of one waiter.
struct Here<'a> {
    shared: &'a Shared,
    spot: Arc<Spot>,
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let mut waiters = self.spot.waiters.lock();
        *waiters -= 1;
        // Under the lock, so that nobody joins a spot that is no longer known.
        if *waiters == 0 {
            state.spots.remove(&self.spot.lease);
        }
    }
}

impl Shared {
    /// Asks the server until the lease has ended, or until it cannot be asked, and tells all who
    /// wait for the same.
    async fn ask(&self, spot: &Spot) -> Result<()> {
        loop {
            let pttl = redis::cmd("PTTL").arg(&spot.lease).take();
            let left = self.server.query(&pttl, Access::Read).await.and_then(expect::<i64>);
            let left = match left {
                Ok(left) if left != -2 => u64::try_from(left).map_or(ASK_EVERY, |left| {
                    // A millisecond more, since Redis rounds.
                    Duration::from_millis(left.saturating_add(1)).min(ASK_EVERY)
                }),
                end => {
                    let end = end.map(|_| ());
                    spot.news.send_replace(Some(end.clone()));
                    return end;
                }
            };
            let _ = timeout(left, spot.ask.notified()).await;
        }
    }

    fn spot(&self, lease: &str) -> Option<Arc<Spot>> {
        self.state.lock().spots.get(lease).cloned()
    }

    /// Hears of releases and wakes who waits for them, until nobody has waited for a while.
    async fn listen(self: Arc<Self>) {
        loop {
            if let Err(fault) = self.hear().await {
                let error = self.server.explain(&fault, Access::Read);
                tracing::debug!(%error, "does not hear of released leases");
                sleep(RETRY_AFTER).await;
            }
            let mut state = self.state.lock();
            if state.spots.is_empty() {
                // Under the lock, so that whoever comes after this starts a new task.
                state.listening = false;
                return;
            }
        }
    }

    /// Hears of releases on one connection. Ends well when nobody waits.
    async fn hear(&self) -> Result<(), Fault> {
        let (mut sink, mut heard) = self.server.subscribe(&self.channel).await?.split();
        // What was released until now was not heard.
        self.state.lock().spots.values().for_each(|spot| spot.ask.notify_one());
        let mut tend_at = Instant::now() + TEND_EVERY;
        loop {
            let (next, tend) = (pin!(heard.next()), pin!(sleep_until(tend_at)));
            match select(next, tend).await {
                Either::Left((Some(message), _)) => {
                    let lease = std::str::from_utf8(message.get_payload_bytes());
                    let spot = lease.ok().and_then(|lease| self.spot(lease));
                    if let Some(spot) = spot {
                        spot.news.send_replace(Some(Ok(())));
                    }
                }
                // Its end is a failure: it is not to be made again at once.
                Either::Left((None, _)) => return Err(Fault::NoConnection(None)),
                Either::Right(_) => {
                    if self.state.lock().spots.is_empty() {
                        return Ok(());
                    }
                    let ping = timeout(self.server.response_timeout(), sink.ping::<()>()).await;
                    ping.map_err(|_| Fault::NoConnection(None))?.map_err(Fault::Answer)?;
                    tend_at = Instant::now() + TEND_EVERY;
                }
            }
        }
    }
}
