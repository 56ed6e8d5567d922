//! What a person or a supervisor ends a process with.

/// From here on the signals no longer end the process by themselves.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Begins to watch for them.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot.
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one: Ctrl-C or a SIGTERM.
    ///
    /// # Cancel safety
    ///
    /// A dropped wait misses nothing.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// From here on Ctrl-C no longer ends the process by itself.
#[cfg(not(unix))]
pub(crate) struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    /// Begins to watch for it.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    ///
    /// A dropped wait misses nothing.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
