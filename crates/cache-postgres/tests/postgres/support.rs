//! A schema for one test, a way round the tier, and a network that can be stopped.

use std::{sync::Arc, thread, time::Duration};

use bytes::Bytes;
use cache_core::{
    Clock, CodecId, Entry, Fence, Key, ManualClock, Namespace, ServerUrl, Span, Tier, Ttl,
    testkit::{service_url, unique_name},
};
use cache_postgres::{PostgresConfig, PostgresTier};
use diesel::{dsl::sql, sql_types::BigInt};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A schema that is dropped in the end, and a clock.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) clock: ManualClock,
}

impl Place {
    /// On the server of `DATABASE_URL`; nothing when there is none.
    pub(crate) fn from_env() -> Option<Self> {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let url = service_url("DATABASE_URL", &test)?;
        Some(Self { url, schema: unique_name("cache_test"), clock: ManualClock::new() })
    }

    /// Few connections, no sweeper, and patience with a busy machine.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig {
            schema: self.schema.clone(),
            pool_size: 2,
            connect_timeout: Span::secs(20),
            statement_timeout: Span::secs(20),
            sweep_interval: None,
            ..PostgresConfig::new(self.url.as_str())
        }
    }

    /// The same with another parameter in the address.
    pub(crate) fn config_with(&self, parameter: &str) -> PostgresConfig {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = ServerUrl::new(format!("{}{separator}{parameter}", self.url));
        PostgresConfig { url, ..self.config() }
    }

    pub(crate) async fn tier(&self) -> Arc<PostgresTier> {
        self.connect(&self.config()).await.unwrap()
    }

    pub(crate) async fn connect(
        &self,
        config: &PostgresConfig,
    ) -> cache_core::Result<Arc<PostgresTier>> {
        PostgresTier::connect(config, self.shared_clock()).await
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// A connection behind the tier's back, in the same schema.
    pub(crate) async fn connection(&self) -> AsyncPgConnection {
        let mut connection = AsyncPgConnection::establish(&self.url).await.unwrap();
        let search_path = format!("SET search_path TO {}", self.schema);
        connection.batch_execute(&search_path).await.unwrap();
        connection
    }

    pub(crate) async fn execute(&self, statement: &str) {
        self.connection().await.batch_execute(statement).await.unwrap();
    }

    /// The one number that `query` answers.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let number = diesel::select(sql::<BigInt>(&format!("({query})")));
        number.get_result(&mut self.connection().await).await.unwrap()
    }

    /// Returns when a statement of the application `name` waits for a lock.
    pub(crate) async fn until_a_statement_waits(&self, name: &str) {
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE application_name = '{name}' AND wait_event_type = 'Lock'"
        );
        while self.number(&waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// An entry that is fresh for a minute.
    pub(crate) fn entry(&self, payload: &str) -> Entry {
        self.entry_for(payload, Duration::from_secs(60))
    }

    pub(crate) fn entry_for(&self, payload: &str, fresh: Duration) -> Entry {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Entry::new(payload, CodecId(3), self.clock.now(), Ttl::fresh(fresh))
    }
}

impl Drop for Place {
    /// On a thread of its own, because a runtime cannot be waited for within one.
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), self.schema.clone());
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(drop_schema(&url, &schema))
        });
        let dropped = dropping.join().expect("no panic");
        assert!(dropped.is_ok() || thread::panicking(), "a schema was left behind: {dropped:?}");
    }
}

/// A test that failed may still have statements on their way, which this could lock in a ring
/// with: so it tries more than once.
async fn drop_schema(url: &str, schema: &str) -> diesel::QueryResult<()> {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    connection.batch_execute("SET client_min_messages TO warning").await?;
    let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    for _ in 0..5 {
        if connection.batch_execute(&drop).await.is_ok() {
            return Ok(());
        }
    }
    connection.batch_execute(&drop).await
}

pub(crate) fn key(text: &str) -> Key {
    namespace().key(text).unwrap()
}

pub(crate) fn namespace() -> Namespace {
    Namespace::new("test").unwrap()
}

/// The payload under a key.
pub(crate) async fn read(tier: &dyn Tier, key: &Key) -> Option<String> {
    let entry = tier.get(key).await.unwrap().entry?;
    Some(String::from_utf8(entry.payload.to_vec()).unwrap())
}

pub(crate) fn mark(fence: &Fence) -> u64 {
    fence.as_mark().unwrap()
}

/// A network between tier and server that can be frozen: no byte comes through, nothing is closed.
pub(crate) struct Network {
    frozen: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Network {
    /// In front of the server of `url`, and the address to use instead; nothing when that server
    /// is not reached over TCP.
    pub(crate) async fn before(url: &str) -> Option<(Self, String)> {
        let (begin, rest) = url.split_once('@').or_else(|| url.split_once("//"))?;
        let host = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let target = if host.contains(':') { host.to_owned() } else { format!("{host}:5432") };
        TcpStream::connect(&target).await.ok()?;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let frozen = watch::Sender::new(false);
        let state = frozen.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), state.clone()));
            }
        });
        let separator = if url.contains('@') { "@" } else { "//" };
        let through = format!("{begin}{separator}{address}{}", &rest[host.len()..]);
        Some((Self { frozen, accepting }, through))
    }

    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, target: String, frozen: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let there = forward(client_in, server_out, frozen.clone());
    let back = forward(server_in, client_out, frozen);
    tokio::join!(there, back);
}

async fn forward(
    mut from: impl io::AsyncRead + Unpin,
    mut to: impl io::AsyncWrite + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// A database of one's own, in which no transaction of another test keeps dead rows from being
/// vacuumed. Nothing when the role may not make one.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn make() -> Option<(Self, Place)> {
        let mut place = Place::from_env()?;
        let name = unique_name("cache_test_db");
        let made = place.connection().await.batch_execute(&format!("CREATE DATABASE {name}")).await;
        if let Err(fault) = made {
            eprintln!("left out: cannot make a database: {fault}");
            return None;
        }
        let database = Self { server: place.url.clone(), name: name.clone() };
        let (head, tail) = place.url.split_once('?').unwrap_or((&place.url, ""));
        let (server, _) = head.rsplit_once('/').expect("an address names its database");
        let query = if tail.is_empty() { String::new() } else { format!("?{tail}") };
        place.url = format!("{server}/{name}{query}");
        Some((database, place))
    }

    /// Drops it; to be called when the place is gone.
    pub(crate) async fn drop(self) {
        let mut connection = AsyncPgConnection::establish(&self.server).await.unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connection.batch_execute(&drop).await.unwrap();
    }
}
