//! One connection of a process that hears of changes and of leases that were given up, while
//! somebody wants to know.
//!
//! What it hears only wakes: whoever was woken asks the tables. So a message that is forged, lost or
//! late does no harm.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::Result;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{setup::Setup, sql};

/// The message that the log has grown.
pub(crate) const LOG: &str = "log";

/// What the message that a lease was given up begins with; its encoded key follows.
pub(crate) const LEASE: &str = "lease ";

/// How long the connection is kept for nobody.
const LINGER: Duration = Duration::from_secs(10);

/// How often the server is asked whether it is there, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The rest before each attempt to connect again.
const RETRY: Duration = Duration::from_millis(100);

/// Leases given up that a waiter may be behind before it just looks.
const BEHIND_MAX: usize = 1_024;

/// Hears for all who hold a [`Listening`].
pub(crate) struct Listener {
    setup: Arc<Setup>,
    /// Moves when the log has grown, or may have without a message: the connection is new.
    log: watch::Sender<()>,
    /// The encoded keys of leases that were given up.
    released: broadcast::Sender<Arc<str>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted_by: usize,
    task: Option<AbortHandle>,
    is_closed: bool,
}

impl Listener {
    pub(crate) fn new(setup: Arc<Setup>) -> Arc<Self> {
        Arc::new(Self {
            setup,
            log: watch::Sender::new(()),
            released: broadcast::Sender::new(BEHIND_MAX),
            state: Mutex::default(),
        })
    }

    /// Has somebody hear until the answer is dropped.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        let mut state = self.state.lock();
        state.wanted_by += 1;
        if state.task.is_none() && !state.is_closed {
            state.task = Some(tokio::spawn(hear(Arc::downgrade(self))).abort_handle());
        }
        Listening {
            listener: Arc::clone(self),
            log: self.log.subscribe(),
            released: self.released.subscribe(),
        }
    }

    /// Ends the connection, for good.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        if let Some(task) = state.task.take() {
            task.abort();
        }
    }

    /// Whether nobody wants to know; then the next one who does starts another task.
    fn retire(&self) -> bool {
        let mut state = self.state.lock();
        let unwanted = state.wanted_by == 0;
        if unwanted {
            state.task = None;
        }
        unwanted
    }

    fn may_have_missed(&self) {
        self.heard(LOG);
        self.heard(LEASE);
    }

    fn heard(&self, message: &str) {
        if message == LOG {
            self.log.send_replace(());
        } else if let Some(key) = message.strip_prefix(LEASE) {
            // It fails when nobody waits.
            let _ = self.released.send(key.into());
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// The wish to hear, and what was heard since it was uttered.
pub(crate) struct Listening {
    listener: Arc<Listener>,
    log: watch::Receiver<()>,
    released: broadcast::Receiver<Arc<str>>,
}

impl Listening {
    /// Returns when the log has grown since this was called the last time, or may have.
    pub(crate) async fn log_has_grown(&mut self) {
        // The sender lives in the listener, which this holds.
        let _ = self.log.changed().await;
    }

    /// Returns when the lease of the encoded `key` was given up, or may have been.
    pub(crate) async fn may_be_free(&mut self, key: &str) {
        // An error: it is behind, and may have missed the one that counts. No key: it may be any.
        let of_another = |released: Arc<str>| !released.is_empty() && &*released != key;
        while self.released.recv().await.is_ok_and(of_another) {}
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listener.state.lock().wanted_by -= 1;
    }
}

/// Hears until nobody has wanted to know for a while. Between messages it holds the listener by a
/// weak reference only, so that the last owner can drop it.
async fn hear(listener: Weak<Listener>) {
    loop {
        let Some(setup) = listener.upgrade().map(|listener| Arc::clone(&listener.setup)) else {
            return;
        };
        match setup.listen(setup.schema()).await {
            Ok(mut connection) => {
                let Some(ended) = hear_on(&mut connection, &listener).await else { return };
                if let Err(error) = ended {
                    tracing::debug!(%error, "the connection that listens is lost");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen; readers look by themselves"),
        }
        sleep(RETRY).await;
        if listener.upgrade().is_none_or(|listener| listener.retire()) {
            return;
        }
    }
}

/// Hears on one connection; nothing when nobody wants to know any more.
async fn hear_on(
    connection: &mut AsyncPgConnection,
    listener: &Weak<Listener>,
) -> Option<Result<()>> {
    // What happened before the connection was there was not heard.
    listener.upgrade()?.may_have_missed();
    let mut unwanted_for = Duration::ZERO;
    loop {
        {
            let mut messages = pin!(connection.notifications_stream());
            let until_ping = pin!(sleep(PING_EVERY));
            let mut messages = messages.by_ref().take_until(until_ping);
            while let Some(message) = messages.next().await {
                match message {
                    Ok(message) => listener.upgrade()?.heard(&message.payload),
                    Err(error) => return Some(Err(lost(&error.to_string()))),
                }
            }
        }
        // The stream also ends when the connection has; the ping tells the two apart.
        let is_wanted = listener.upgrade()?.state.lock().wanted_by > 0;
        unwanted_for = if is_wanted { Duration::ZERO } else { unwanted_for + PING_EVERY };
        if unwanted_for >= LINGER && listener.upgrade()?.retire() {
            return None;
        }
        match timeout(PING_EVERY, sql::Ping {}.get_result::<(i32,)>(connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Some(Err(lost(&error.to_string()))),
            Err(_) => return Some(Err(lost("it does not answer"))),
        }
    }
}

fn lost(why: &str) -> cache_core::Error {
    cache_core::Error::new(cache_core::ErrorKind::Unavailable, why)
}
