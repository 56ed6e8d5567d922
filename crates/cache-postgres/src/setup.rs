//! Makes a connection that is ready for the statements of [`sql`](crate::sql).

use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Connection, NoTls, Socket,
    tls::{MakeTlsConnect, TlsStream},
};

use crate::{
    address::{Address, Encryption},
    config::{PostgresConfig, PostgresDurability},
    error::{self, Access},
    migrations::{self, MIGRATION_MAX},
};

/// How far each new connection moves the counter of marks on: more than are given within the time
/// whose commits a crash may lose. The 2^53 marks last for nine thousand million connections.
const MARKS_STEP: u32 = 1_000_000;

/// What makes connections.
pub(crate) struct Setup {
    address: Address,
    #[cfg(feature = "tls")]
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    schema: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    synchronous_commit: &'static str,
}

impl Setup {
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the address or its certificates are unusable.
    pub(crate) fn new(config: &PostgresConfig) -> Result<Self> {
        let mut address = Address::parse(&config.url)?;
        if address.config.get_application_name().is_none() {
            address.config.application_name("cache-postgres");
        }
        #[cfg(not(feature = "tls"))]
        refuse_tls(&address)?;
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: match &address.encryption {
                Encryption::Off => None,
                Encryption::On(roots) => Some(crate::tls::connector(roots.as_deref())?),
            },
            address,
            schema: config.schema.clone(),
            connect_timeout: config.connect_timeout.0,
            statement_timeout: config.statement_timeout.0,
            synchronous_commit: match config.durability {
                PostgresDurability::Relaxed => "off",
                PostgresDurability::Full => "on",
            },
        })
    }

    /// A connection on a schema that is known to be of our version, migrated if need be.
    ///
    /// Each new connection looks at the schema, so a tier that was made while the server was down
    /// needs nothing else, and one whose schema was dropped mends itself.
    pub(crate) async fn connect(&self) -> Result<AsyncPgConnection> {
        let (mut connection, is_pending) = self.in_time(self.open()).await?;
        if is_pending {
            let migrated =
                timeout(MIGRATION_MAX, migrations::migrate(&mut connection, &self.schema));
            migrated.await.unwrap_or_else(|_| Err(self.too_slow(MIGRATION_MAX)))?;
        }
        self.in_time(self.finish(&mut connection)).await?;
        tracing::debug!(server = self.address.shown, "connected");
        Ok(connection)
    }

    async fn open(&self) -> Result<(AsyncPgConnection, bool)> {
        let mut connection = self.reach().await?;
        // Every statement is a look-up by key, and its plan should be the one for that from the
        // beginning: not a scan because the table was empty when the plan was made, not a new plan
        // at each call, and nothing compiled. Anything but `read committed` would turn two writers
        // of one key into an error. What the server says is understood in English.
        let session = format!(
            "SET search_path TO \"{schema}\"; \
             SET default_transaction_isolation TO 'read committed'; \
             SET enable_seqscan TO off; \
             SET plan_cache_mode TO force_generic_plan; \
             SET jit TO off; \
             SET client_min_messages TO warning; \
             DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false); \
                EXCEPTION WHEN insufficient_privilege THEN NULL; END $$; \
             SET idle_in_transaction_session_timeout TO '60s'",
            schema = self.schema
        );
        run(&mut connection, &session).await?;
        let is_pending = migrations::is_pending(&mut connection, &self.schema).await?;
        Ok((connection, is_pending))
    }

    #[cfg(feature = "tls")]
    async fn reach(&self) -> Result<AsyncPgConnection> {
        match self.tls.clone() {
            Some(tls) => self.reach_with(tls).await,
            None => self.reach_with(NoTls).await,
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn reach(&self) -> Result<AsyncPgConnection> {
        self.reach_with(NoTls).await
    }

    async fn reach_with<T>(&self, tls: T) -> Result<AsyncPgConnection>
    where
        T: MakeTlsConnect<Socket, Stream: TlsStream + Unpin + Send + 'static>,
    {
        let (client, connection): (Client, Connection<Socket, T::Stream>) = self
            .address
            .config
            .connect(tls)
            .await
            .map_err(|e| error::connecting(&e, &self.address.shown))?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await.map_err(|e| {
            let message = format!("cannot connect to {}: {e}", self.address.shown);
            Error::new(ErrorKind::Unavailable, message).hint("see the server's log")
        })
    }

    /// A connection that only listens, to `channel`. It needs no tables.
    pub(crate) async fn listen(&self, channel: &str) -> Result<AsyncPgConnection> {
        let listening = async {
            let mut connection = self.reach().await?;
            run(&mut connection, &format!("LISTEN \"{channel}\"")).await?;
            Ok(connection)
        };
        self.in_time(listening).await
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The last steps, with the tables there.
    ///
    /// With `synchronous_commit = off` a crash loses the last moments, and with them how far the
    /// counter of marks was. It would give some marks again, and a fill that saw one of them
    /// before the crash could undo a removal after it. So each connection moves the counter well
    /// on first, durably: all that are open after a crash were made after it. For the same reason
    /// it begins another life of the database when there is none. On a server that only reads,
    /// which gives no marks, both are left out.
    async fn finish(&self, connection: &mut AsyncPgConnection) -> Result<()> {
        let millis = self.statement_timeout.as_millis();
        let steps = format!(
            "BEGIN; SET LOCAL synchronous_commit TO on; \
             SELECT setval('fence_marks', nextval('fence_marks') + {MARKS_STEP}) \
             FROM pg_advisory_xact_lock(hashtextextended('cache-postgres marks {schema}', 0)) \
             WHERE current_setting('transaction_read_only') = 'off'; \
             SELECT begin_life() WHERE current_setting('transaction_read_only') = 'off'; \
             COMMIT; \
             SET synchronous_commit TO {synchronous_commit}; \
             SET statement_timeout TO {millis}; \
             SET lock_timeout TO {lock_millis}",
            schema = self.schema,
            synchronous_commit = self.synchronous_commit,
            // A little less, so that waiting for a lock is told from a slow server.
            lock_millis = (millis * 3 / 4).max(1),
        );
        run(connection, &steps).await
    }

    async fn in_time<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        let done = timeout(self.connect_timeout, step).await;
        done.unwrap_or_else(|_| Err(self.too_slow(self.connect_timeout)))
    }

    fn too_slow(&self, limit: Duration) -> Error {
        let message = format!("no connection to {} within {limit:?}", self.address.shown);
        Error::new(ErrorKind::Timeout, message)
            .hint("look at the server and the way to it, or raise `connect_timeout`")
    }
}

#[cfg(not(feature = "tls"))]
fn refuse_tls(address: &Address) -> Result<()> {
    let is_required = address.config.get_ssl_mode() == tokio_postgres::config::SslMode::Require;
    if address.encryption == Encryption::Off || !is_required {
        return Ok(());
    }
    let message = format!("{} asks for TLS, and this program was built without", address.shown);
    Err(Error::new(ErrorKind::Config, message)
        .hint("build it with the feature `tls` of cache-postgres, or drop `sslmode`"))
}

async fn run(connection: &mut AsyncPgConnection, sql: &str) -> Result<()> {
    let done = connection.batch_execute(sql).await;
    done.map_err(|e| error::statement(e, Access::Read).context("cannot set a connection up"))
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use cache_core::ServerUrl;

    use super::*;

    #[test]
    fn tls_that_was_not_built_in_is_told() {
        let made = |mode| {
            let url = ServerUrl::new(format!("postgres://h/d?sslmode={mode}"));
            Setup::new(&PostgresConfig::new(url)).map(|_| ())
        };
        assert!(made("require").unwrap_err().to_string().contains("feature `tls`"));
        made("prefer").unwrap();
    }
}
