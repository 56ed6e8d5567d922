//! The pool, and one checked-out connection.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bb8::QueueStrategy;
use cache_core::{Error, ErrorKind, Result};
use diesel::result::{ConnectionError, Error as DieselError, QueryResult};
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
    methods::{ExecuteDsl, LoadQuery},
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
        bb8::{Pool, PooledConnection},
    },
};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{error::Elapsed, timeout},
};

use crate::{
    config::PostgresConfig,
    error::{self, Access},
    setup::Setup,
};

/// How much later than the server the client gives a statement up. A server that works has ended
/// it by then.
const GRACE: Duration = Duration::from_millis(250);

/// How often a caller that waits asks the pool anew. The pool starts a connection when it is asked
/// and wakes nobody when one fails, so whoever asked just before would wait for nothing.
const RECHECK: Duration = Duration::from_millis(100);

/// The connections to one server.
pub(crate) struct Connections {
    setup: Arc<Setup>,
    /// Gone once the tier is closed.
    pool: Mutex<Option<Pool<AsyncPgConnection>>>,
    /// One for each connection. The pool itself hands a returned connection to whoever comes by,
    /// so that under load some callers starve; these are handed out in the order of asking.
    slots: Arc<Semaphore>,
    /// Why no connection could be made the last time: the pool keeps that to itself and lets its
    /// callers wait for the whole timeout.
    failures: Arc<watch::Sender<Option<Error>>>,
    pool_size: u32,
    wait_max: Duration,
    answer_within: Duration,
}

impl Connections {
    /// Connects to nothing yet. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the address is unusable.
    pub(crate) fn new(config: &PostgresConfig) -> Result<Self> {
        let setup = Arc::new(Setup::new(config)?);
        let failures = Arc::new(watch::Sender::new(None));
        let pool = Pool::builder()
            .max_size(config.pool_size)
            // Not reached: the setup has its own time limits, and so has a caller that waits.
            .connection_timeout(config.connect_timeout.0 + GRACE)
            // The one that was used last: what the server knows of it is still at hand there.
            .queue_strategy(QueueStrategy::Lifo)
            // Whoever calls next tries again, and at once: a back-off would delay the recovery.
            .retry_connection(false)
            .build_unchecked(manager(Arc::clone(&setup), Arc::clone(&failures)));
        Ok(Self {
            setup,
            pool: Mutex::new(Some(pool)),
            slots: Arc::new(Semaphore::new(config.pool_size as usize)),
            failures,
            pool_size: config.pool_size,
            wait_max: config.connect_timeout.0,
            answer_within: config.statement_timeout.0 + GRACE,
        })
    }

    /// Makes the first connection, and with it the tables.
    ///
    /// # Errors
    ///
    /// All that [`Setup::connect`] can meet.
    pub(crate) async fn connect(&self) -> Result<()> {
        let connection = self.setup.connect().await?;
        // A pool that has no room for it has others already.
        let _ = self.pool()?.add(connection);
        Ok(())
    }

    /// A connection of one's own, free or new.
    ///
    /// # Errors
    ///
    /// Why none could be made; [`ErrorKind::Timeout`] when all were busy for too long;
    /// [`ErrorKind::Closed`].
    pub(crate) async fn session(&self) -> Result<Session> {
        let pool = self.pool()?;
        let slot = timeout(self.wait_max, Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| self.busy())?
            .map_err(|_| closed())?;
        let deadline = Instant::now() + self.wait_max + GRACE;
        let connection = loop {
            match timeout(RECHECK, self.check_out(&pool)).await {
                Ok(connection) => break connection?,
                Err(_) if Instant::now() < deadline => {}
                Err(_) => return Err(self.busy()),
            }
        };
        let answer_within = self.answer_within;
        Ok(Session { connection, answer_within, is_spent: false, _slot: slot })
    }

    async fn check_out(&self, pool: &Pool<AsyncPgConnection>) -> Result<Connection> {
        let mut failures = self.failures.subscribe();
        let mut checkout = pin!(pool.get_owned());
        loop {
            tokio::select! {
                biased;
                found = &mut checkout => return found.map_err(|_| self.busy()),
                Ok(()) = failures.changed() => {
                    // With other connections open, one of them comes free; the server may just
                    // not allow more.
                    let failure = failures.borrow_and_update().clone();
                    if let Some(failure) = failure.filter(|_| pool.state().connections == 0) {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// What makes connections.
    pub(crate) fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup)
    }

    /// Lets go of all connections, at once those that are free. Sessions keep theirs.
    pub(crate) fn close(&self) {
        self.slots.close();
        self.pool.lock().take();
    }

    fn pool(&self) -> Result<Pool<AsyncPgConnection>> {
        self.pool.lock().clone().ok_or_else(closed)
    }

    fn busy(&self) -> Error {
        let message = format!(
            "all {} connections to PostgreSQL were busy for {:?}",
            self.pool_size, self.wait_max
        );
        Error::new(ErrorKind::Timeout, message)
            .hint("look at the server's load, or raise `pool_size`")
    }
}

/// The error of every call to a tier that was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the tier was closed").hint("make a new one")
}

type Connection = PooledConnection<'static, AsyncPgConnection>;

/// One connection, and the right to have one. Goes back to the pool when it is dropped, unless it
/// is spent: a statement is unanswered, for which the next user would wait, or it has failed in a
/// way that the next one would meet again. Then it is closed.
pub(crate) struct Session {
    connection: Connection,
    answer_within: Duration,
    is_spent: bool,
    // Last, so that the connection is back before another caller is let in.
    _slot: OwnedSemaphorePermit,
}

impl Session {
    /// Runs a statement and fetches its rows.
    pub(crate) async fn load<S, Row>(&mut self, access: Access, statement: S) -> Result<Vec<Row>>
    where
        S: LoadQuery<'static, AsyncPgConnection, Row> + Send + 'static,
        Row: Send,
    {
        self.is_spent = true;
        let rows = timeout(self.answer_within, statement.load(&mut *self.connection)).await;
        self.answer(access, rows)
    }

    /// Runs a statement of which one row is expected.
    pub(crate) async fn load_one<S, Row>(&mut self, access: Access, statement: S) -> Result<Row>
    where
        S: LoadQuery<'static, AsyncPgConnection, Row> + Send + 'static,
        Row: Send,
    {
        let rows = self.load(access, statement).await?;
        rows.into_iter().next().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "PostgreSQL answered no row where there is always one")
        })
    }

    /// Runs a statement and counts the rows that it changed.
    pub(crate) async fn execute<S>(&mut self, access: Access, statement: S) -> Result<usize>
    where
        S: ExecuteDsl<AsyncPgConnection> + Send + 'static,
    {
        self.is_spent = true;
        let count = S::execute(statement, &mut *self.connection);
        let count = timeout(self.answer_within, count).await;
        self.answer(access, count)
    }

    /// Runs a statement for the upkeep of a table, which may take long and stands alone. The
    /// connection is given up after it.
    pub(crate) async fn maintain(&mut self, statement: &str, limit: Duration) -> Result<()> {
        self.is_spent = true;
        let patient = format!("SET statement_timeout TO {}", limit.as_millis());
        let done = async {
            self.connection.batch_execute(&patient).await?;
            self.connection.batch_execute(statement).await
        };
        let done = timeout(limit + GRACE, done).await;
        let done = self.answer(Access::Write, done);
        self.is_spent = true;
        done
    }

    fn answer<T>(&mut self, access: Access, done: Result<QueryResult<T>, Elapsed>) -> Result<T> {
        let Ok(done) = done else {
            let message = format!("PostgreSQL did not answer within {:?}", self.answer_within);
            let error = Error::new(ErrorKind::Timeout, message)
                .hint("see whether the server hangs, or raise `statement_timeout`");
            return Err(if access == Access::Write { error.indeterminate() } else { error });
        };
        let done = done.map_err(|e| error::statement(e, access));
        // Tables that are not as they were: a new connection looks at the schema again. A server
        // that is going: its connection may look alive for a moment, and would fail another call.
        self.is_spent = done
            .as_ref()
            .is_err_and(|e| matches!(e.kind(), ErrorKind::Incompatible | ErrorKind::Unavailable));
        done
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_spent {
            // The pool closes a connection whose transaction state is unknown.
            AnsiTransactionManager::transaction_manager_status_mut(&mut *self.connection)
                .set_in_error();
        }
    }
}

fn manager(
    setup: Arc<Setup>,
    failures: Arc<watch::Sender<Option<Error>>>,
) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    // Costs nothing, unlike asking the server, and finds every connection that is known to be dead.
    config.recycling_method =
        RecyclingMethod::CustomFunction(Box::new(|connection: &mut AsyncPgConnection| {
            let is_broken = connection.is_broken();
            let verdict =
                if is_broken { Err(DieselError::BrokenTransactionManager) } else { Ok(()) };
            futures::future::ready(verdict).boxed()
        }));
    config.custom_setup = Box::new(move |_| {
        let (setup, failures) = (Arc::clone(&setup), Arc::clone(&failures));
        async move {
            setup.connect().await.map_err(|failure| {
                let message = failure.to_string();
                failures.send_replace(Some(failure));
                ConnectionError::BadConnection(message)
            })
        }
        .boxed()
    });
    // The setup knows the address; the pool need not.
    AsyncDieselConnectionManager::new_with_config("", config)
}
