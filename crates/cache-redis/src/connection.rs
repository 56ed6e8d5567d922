//! Connections to the server: few, each shared by any number of requests, replaced when they die,
//! and never waited for longer than is configured.
//!
//! A request takes a connection out of the pool, clones its handle and puts it back before it
//! sends anything, so that requests pipeline instead of queueing for the pool.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bb8_redis::{
    bb8::{self, ManageConnection, Pool},
    redis::{
        self, AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo,
        IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
        aio::{MultiplexedConnection, PubSub},
        io::tcp::{TcpSettings, socket2::TcpKeepalive},
    },
};
use cache_core::{Error, ErrorKind, Result, ServerUrl};
use futures::{
    FutureExt,
    future::{Either, select},
};
use tokio::sync::watch;

use crate::{
    config::RedisConfig,
    error::{Access, Address, Fault, text},
    health::Health,
};

/// How many requests may wait to be written to one connection before callers wait themselves.
const QUEUE_LEN: usize = 1_024;
/// How many bytes of requests are gathered before they are written.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// How long a connection idles before the operating system asks whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The server, as one tier reaches it.
pub(crate) struct Server {
    address: Address,
    pool: Pool<Connector>,
    /// Makes the connections that are not the pool's.
    connector: Connector,
    /// The last attempt to connect that failed.
    failures: watch::Receiver<Option<RedisError>>,
    closed: Arc<AtomicBool>,
    /// The same, for those who wait for it.
    closing: watch::Sender<bool>,
}

impl Server {
    /// Parses the address. Connects when it is first needed.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
        let address = Address {
            url: config.url.clone(),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
        };
        let closed = Arc::new(AtomicBool::new(false));
        let info = connection_info(config, &address)?;
        let connector = Connector::new(info, config, Arc::clone(&closed));
        let (sink, failures) = watch::channel(None);
        let pool = Pool::builder()
            .max_size(config.pool_size)
            .connection_timeout(config.connect_timeout.0)
            // A failed attempt fails those who wait for it. bb8 would go on by itself, at growing
            // intervals, and let them wait.
            .retry_connection(false)
            // A PING before each request would halve the throughput. Dead connections are told by
            // their `Health`.
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .error_sink(Box::new(Sink(Arc::new(sink))))
            .build_unchecked(connector.clone());
        let closing = watch::Sender::new(false);
        Ok(Self { address, pool, connector, failures, closed, closing })
    }

    /// Sends a command and waits for its answer.
    ///
    /// When this is dropped, the command may or may not be carried out, and the connection stays
    /// usable.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Fault> {
        let Link { mut connection, health } = self.link().await?;
        let answer = command.query_async(&mut connection).await;
        match &answer {
            Err(error) if error.is_timeout() => {
                // A silence that lasts is not a slow server but a cut line.
                health.missed_an_answer(3 * self.address.response_timeout.0);
            }
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => health.die(),
            _ => health.answered(),
        }
        answer.map_err(Fault::Answer)
    }

    /// Sends a command of this `access`, with faults explained.
    pub(crate) async fn query(&self, command: &Cmd, access: Access) -> Result<Value> {
        self.send(command).await.map_err(|fault| self.explain(&fault, access))
    }

    pub(crate) fn explain(&self, fault: &Fault, access: Access) -> Error {
        self.address.explain(fault, access)
    }

    /// A connection of the caller's own, for requests that hold up those behind them.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Fault> {
        self.dedicated(self.connector.connect()).await.map(|link| link.connection)
    }

    /// A connection that hears what is told on `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, Fault> {
        self.dedicated(async {
            let mut hearing =
                self.connector.client(ProtocolVersion::RESP2)?.get_async_pubsub().await?;
            hearing.subscribe(channel).await?;
            Ok(hearing)
        })
        .await
    }

    async fn dedicated<T>(
        &self,
        connecting: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Fault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Fault::Closed);
        }
        match tokio::time::timeout(self.address.connect_timeout.0, connecting).await {
            Ok(connected) => connected.map_err(Fault::Connect),
            Err(_) => Err(Fault::NoConnection(None)),
        }
    }

    pub(crate) fn url(&self) -> &ServerUrl {
        &self.address.url
    }

    /// How long to wait for an answer.
    pub(crate) fn response_timeout(&self) -> Duration {
        self.address.response_timeout.0
    }

    /// Waits until the tier is closed.
    pub(crate) async fn closing(&self) {
        // The sender is ours, so there is no other end.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Gives up all connections. Requests that are under way finish.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.send_replace(true);
        // From now on each connection counts as broken, so what is taken out is dropped.
        while self.pool.state().idle_connections > 0 {
            drop(self.pool.get().await);
        }
    }

    async fn link(&self) -> Result<Link, Fault> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(Fault::Closed);
            }
            // At nearly all times there is an idle connection, and no need to watch for failures.
            let taken = match self.pool.get().now_or_never() {
                Some(Ok(taken)) => taken,
                _ => self.wait_for_connection().await?,
            };
            if taken.health.is_alive() {
                return Ok(taken.clone());
            }
            // Dropping a dead one makes room in the pool for another.
        }
    }

    /// Waits for a connection, but not after an attempt to make the first one has failed.
    async fn wait_for_connection(&self) -> Result<bb8::PooledConnection<'_, Connector>, Fault> {
        let mut failures = self.failures.clone();
        let mut failure = None;
        loop {
            failures.mark_unchanged();
            let taken = std::pin::pin!(self.pool.get());
            let failed = std::pin::pin!(failures.changed());
            match select(taken, failed).await {
                Either::Left((Ok(taken), _)) => return Ok(taken),
                Either::Left((Err(bb8::RunError::User(cause)), _)) => {
                    return Err(Fault::Connect(cause));
                }
                Either::Left((Err(bb8::RunError::TimedOut), _)) => {
                    return Err(Fault::NoConnection(failure));
                }
                Either::Right(_) => failure.clone_from(&self.failures.borrow()),
            }
            if self.pool.state().connections == 0
                && let Some(failure) = failure
            {
                return Err(Fault::Connect(failure));
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.address.url).finish_non_exhaustive()
    }
}

/// A connection and how it is.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    health: Arc<Health>,
}

/// Makes connections.
#[derive(Clone)]
struct Connector {
    info: ConnectionInfo,
    /// Whether to talk RESP3, in which redis-rs tells when a connection ends: until the server
    /// turns out not to understand it.
    resp3: Arc<AtomicBool>,
    protocol_is_fixed: bool,
    connect_timeout: Duration,
    response_timeout: Duration,
    closed: Arc<AtomicBool>,
}

impl Connector {
    fn new(info: ConnectionInfo, config: &RedisConfig, closed: Arc<AtomicBool>) -> Self {
        let protocol_is_fixed = config.url.expose().contains("protocol=");
        let redis = info.redis_settings();
        let resp3 = !protocol_is_fixed || redis.protocol() != ProtocolVersion::RESP2;
        let redis = redis.clone().set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
        Self {
            info: info.set_tcp_settings(tcp).set_redis_settings(redis),
            resp3: Arc::new(AtomicBool::new(resp3)),
            protocol_is_fixed,
            connect_timeout: config.connect_timeout.0,
            response_timeout: config.response_timeout.0,
            closed,
        }
    }

    async fn dial(&self, protocol: ProtocolVersion) -> Result<Link, RedisError> {
        let health = Arc::new(Health::new());
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(QUEUE_LEN)
            .set_write_backpressure_boundary(WRITE_BUFFER_BYTES);
        if protocol != ProtocolVersion::RESP2 {
            let health = Arc::clone(&health);
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    health.die();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let client = self.client(protocol)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link { connection, health })
    }

    fn client(&self, protocol: ProtocolVersion) -> Result<Client, RedisError> {
        let redis = self.info.redis_settings().clone().set_protocol(protocol);
        Client::open(self.info.clone().set_redis_settings(redis))
    }
}

impl ManageConnection for Connector {
    type Connection = Link;
    type Error = RedisError;

    async fn connect(&self) -> Result<Link, RedisError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        }
        if !self.resp3.load(Ordering::Relaxed) {
            return self.dial(ProtocolVersion::RESP2).await;
        }
        match self.dial(ProtocolVersion::RESP3).await {
            Err(error) if !self.protocol_is_fixed && is_unknown_protocol(&error) => {
                self.resp3.store(false, Ordering::Relaxed);
                self.dial(ProtocolVersion::RESP2).await
            }
            dialled => dialled,
        }
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), RedisError> {
        redis::cmd("PING").exec_async(&mut link.connection).await
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        self.closed.load(Ordering::Acquire) || !link.health.is_alive()
    }
}

/// Where bb8 reports attempts to connect that failed.
#[derive(Clone, Debug)]
struct Sink(Arc<watch::Sender<Option<RedisError>>>);

impl bb8::ErrorSink<RedisError> for Sink {
    fn sink(&self, error: RedisError) {
        tracing::debug!(error = text(&error), "an attempt to connect to Redis failed");
        self.0.send_replace(Some(error));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}

/// Whether a server is too old for RESP3 (Redis below version 6).
fn is_unknown_protocol(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::RESP3NotSupported
        || error.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}

/// Parses the address, once, and reads what it takes to trust the server.
fn connection_info(config: &RedisConfig, address: &Address) -> Result<ConnectionInfo> {
    let unusable = |cause: RedisError| address.unusable(&cause);
    let info = config.url.expose().into_connection_info().map_err(unusable)?;
    let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    match &config.ca_file {
        Some(ca_file) if is_tls => tls::with_authority(info, ca_file),
        Some(_) => Err(Error::new(ErrorKind::Config, "`redis.ca_file` is set, but not for TLS")
            .hint("write rediss:// in `redis.url`, or leave `redis.ca_file` out")),
        None => {
            if is_tls {
                tls::choose_provider();
            }
            Ok(info)
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::{fs, path::Path};

    use bb8_redis::redis::{Client, ConnectionInfo, TlsCertificates};
    use cache_core::{Error, ErrorKind, Result};

    use crate::error::text;

    /// Settles which cryptography rustls uses. Left open, it panics where a program brings two.
    pub(super) fn choose_provider() {
        // It fails when the program has made its choice, which then stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    /// Has only certificates trusted that one in `ca_file` has signed.
    pub(super) fn with_authority(info: ConnectionInfo, ca_file: &Path) -> Result<ConnectionInfo> {
        choose_provider();
        let fault = |cause: String| {
            let message = format!("cannot use `redis.ca_file` = {}: {cause}", ca_file.display());
            Error::new(ErrorKind::Config, message).hint("name a file of certificates in PEM form")
        };
        let root_cert = Some(fs::read(ca_file).map_err(|cause| fault(cause.to_string()))?);
        let certificates = TlsCertificates { client_tls: None, root_cert };
        let client =
            Client::build_with_tls(info, certificates).map_err(|cause| fault(text(&cause)))?;
        Ok(client.get_connection_info().clone())
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use std::path::Path;

    use bb8_redis::redis::ConnectionInfo;
    use cache_core::{Error, ErrorKind, Result};

    pub(super) fn choose_provider() {}

    pub(super) fn with_authority(_: ConnectionInfo, _: &Path) -> Result<ConnectionInfo> {
        Err(Error::new(ErrorKind::Config, "this program was built without TLS")
            .hint("switch on the feature `tls` of cache-redis"))
    }
}
