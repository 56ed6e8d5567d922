//! Wakes the readers of the log in other processes, soon after a change and not for each.
//!
//! `NOTIFY` within the writing transaction would cost a factor of six, because the server commits
//! those one after the other. So it is sent afterwards, one for all changes of the last moments.
//! When one is lost, because the process or the connection is gone, readers look again by
//! themselves.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Result};
use tokio::{task::AbortHandle, time::sleep};

use crate::{error::Access, listener::LOG, sql, store::Store};

/// The rest after each `NOTIFY`: what changes meanwhile is in the next.
const REST: Duration = Duration::from_millis(5);

/// Wakes in the background until the handle aborts it or the tier is closed.
pub(crate) fn spawn(store: Arc<Store>) -> AbortHandle {
    let waking = async move {
        loop {
            store.changed.notified().await;
            match store.wake().await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) => tracing::debug!(%error, "could not wake readers of the log"),
            }
            sleep(REST).await;
        }
    };
    tokio::spawn(waking).abort_handle()
}

impl Store {
    async fn wake(&self) -> Result<()> {
        let mut session = self.connections.session().await?;
        let channel = self.connections.setup().schema().to_owned();
        let statement = sql::Wake { channel, payload: LOG.to_owned() };
        session.execute(Access::Write, statement).await.map(|_| ())
    }
}
