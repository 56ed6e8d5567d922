//! A way to a server on which requests are counted: a proxy in this process. It allocates while
//! connections are made and not afterwards, so that the allocations of an operation are its own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use super::{
    Counter,
    requests::{Protocol, Requests},
};

const CHUNK_LEN: usize = 64 << 10;

/// The proxy, and what it has counted.
#[derive(Debug)]
pub(super) struct Way {
    protocol: Protocol,
    /// The server's URL, by this way.
    url: String,
    counts: Arc<Counts>,
    listening: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    round_trips: AtomicU64,
}

impl Way {
    /// A way to the server at `url`, which must be one of TCP.
    pub(super) async fn open(protocol: Protocol, url: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (url, server) = detoured(url, protocol.port(), listener.local_addr()?)?;
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), protocol, Arc::clone(&counting)));
            }
        });
        Ok(Self { protocol, url, counts, listening })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) const fn counters(&self) -> [Counter; 2] {
        match self.protocol {
            Protocol::Redis => [Counter::RedisCommands, Counter::RedisRoundTrips],
            Protocol::Postgres => [Counter::PostgresStatements, Counter::PostgresRoundTrips],
        }
    }

    /// In the order of [`counters`](Self::counters).
    pub(super) fn now(&self) -> [u64; 2] {
        let Counts { requests, round_trips } = &*self.counts;
        [requests, round_trips].map(|count| count.load(Ordering::Acquire))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// The URL with another address of its server, and the server's own.
fn detoured(url: &str, port: u16, way: SocketAddr) -> Result<(String, String)> {
    let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    if host.is_empty() || path.contains("host=") || scheme.contains("unix") {
        bail!("requests can be counted on the way to a server of TCP only");
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let server = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    Ok((format!("{scheme}://{user}{way}{path}"), server))
}

async fn carry(client: TcpStream, server: String, protocol: Protocol, counts: Arc<Counts>) {
    // Nobody listens: the client sees a connection that ends, as it would without this.
    let Ok(server) = TcpStream::connect(server).await else { return };
    // A socket that cannot be set up so is only a little slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_answered = AtomicBool::new(true);
    tokio::select! {
        _ = up(from_client, to_server, protocol, &counts, &is_answered) => {}
        _ = down(from_server, to_client, &is_answered) => {}
    }
}

/// Counts before it forwards: an answer is proof that its request was counted.
async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    protocol: Protocol,
    counts: &Counts,
    is_answered: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut requests = Requests::new(protocol);
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        if is_answered.swap(false, Ordering::AcqRel) {
            counts.round_trips.fetch_add(1, Ordering::AcqRel);
        }
        counts.requests.fetch_add(requests.take(&chunk[..len]), Ordering::AcqRel);
        to.write_all(&chunk[..len]).await?;
    }
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_answered: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        is_answered.store(true, Ordering::Release);
        to.write_all(&chunk[..len]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn a_url_is_led_by_the_way_and_keeps_the_rest() {
        let (url, server) = detoured("redis://:a@b@cache.example/0", 6379, way()).unwrap();
        assert_eq!(
            (url.as_str(), server.as_str()),
            ("redis://:a@b@127.0.0.1:9/0", "cache.example:6379")
        );
        let (url, server) = detoured("postgres://u@localhost:5/d?x=1", 5432, way()).unwrap();
        assert_eq!(
            (url.as_str(), server.as_str()),
            ("postgres://u@127.0.0.1:9/d?x=1", "localhost:5")
        );
    }

    #[test]
    fn a_server_without_tcp_is_refused() {
        for url in ["postgres://u@/d?host=/run", "redis+unix:///run/redis.sock", "nothing"] {
            assert!(detoured(url, 1, way()).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_after_an_answer_is_another_round_trip_and_what_is_sent_together_is_not() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 28];
            // One answer to two commands, twice.
            for _ in 0..2 {
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(b"+OK\r\n").await.unwrap();
            }
        });
        let way = Way::open(Protocol::Redis, &url).await.unwrap();
        let address = way.url().strip_prefix("redis://").unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut answer = [0; 5];
        for _ in 0..2 {
            client.write_all(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
        }
        assert_eq!(way.now(), [4, 2]);
        server.await.unwrap();
    }
}
