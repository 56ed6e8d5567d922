//! Threads that own connections, and the queues through which tasks ask them.
//!
//! SQLite blocks, so each connection lives on a thread of its own. A thread takes whatever has
//! gathered while it was at work and carries it out together: nobody waits on a timer for that,
//! and the price of a transaction is shared by all who came at the same time.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cache_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Where an answer goes. Sending it fails when the caller has gone, which is nobody's fault.
pub(crate) type Reply<A> = oneshot::Sender<Result<A>>;

/// The callers' end of a queue of requests. Clones share it; the queue ends with the last of them.
#[derive(Debug)]
pub(crate) struct Line<R> {
    requests: mpsc::Sender<R>,
    closed: Arc<AtomicBool>,
}

impl<R> Clone for Line<R> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), closed: Arc::clone(&self.closed) }
    }
}

impl<R> Line<R> {
    /// A queue of at most `len` requests: callers wait for a place. `closed` tells whether the
    /// end of its threads was asked for.
    pub(crate) fn new(len: usize, closed: Arc<AtomicBool>) -> (Self, mpsc::Receiver<R>) {
        let (requests, queue) = mpsc::channel(len);
        (Self { requests, closed }, queue)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a place, nothing happens. Dropped later, the request is carried
    /// out and its answer is lost.
    pub(crate) async fn ask<A>(&self, request: impl FnOnce(Reply<A>) -> R) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(request(reply)).await.is_err() {
            return Err(self.nobody_there());
        }
        answer.await.unwrap_or_else(|_| Err(self.nobody_there().indeterminate()))
    }

    /// Leaves a request that has no answer. Nobody may be there any more.
    pub(crate) async fn tell(&self, request: R) {
        let _ = self.requests.send(request).await;
    }

    fn nobody_there(&self) -> Error {
        if self.closed.load(Ordering::Acquire) {
            Error::new(ErrorKind::Closed, "the SQLite tier has been closed")
        } else {
            Error::new(ErrorKind::Internal, "a thread of the SQLite tier has panicked")
                .hint("open the tier again; standard error says where, which is a bug to report")
        }
    }
}

/// The threads of a tier: whether all have ended.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Each thread holds a sender until it ends.
    alive: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

impl Threads {
    pub(crate) fn new() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self { alive, ended }
    }

    /// Starts a thread.
    pub(crate) fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let alive = self.alive.clone();
        let body = move || {
            // Dropped last, and by a panic too: after the connection, which `work` owns.
            let _alive = alive;
            work();
        };
        thread::Builder::new().name(name.to_owned()).spawn(body).map(drop).map_err(|fault| {
            Error::new(ErrorKind::Unavailable, format!("could not start a thread: {fault}"))
                .hint("raise the limit of threads of this process, or lower `sqlite.readers`")
                .caused_by(fault)
        })
    }

    /// What waits for the end of the threads that were started. No more can be.
    pub(crate) fn into_end(self) -> End {
        End(Mutex::new(self.ended))
    }
}

/// The end of a tier's threads, for whoever waits for it.
#[derive(Debug)]
pub(crate) struct End(Mutex<mpsc::Receiver<Infallible>>);

impl End {
    /// Returns when every thread has ended and has closed its connection.
    pub(crate) async fn wait(&self) {
        // Nothing is ever sent: this is how the last sender's end shows.
        let _: Option<Infallible> = self.0.lock().await.recv().await;
    }
}
