//! A TCP proxy that a network's faults are made with.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::Result;
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Everything gets through.
    Good,
    /// Each way takes this long, give or take, and carries so many bytes a second at most.
    Slow { latency: Duration, jitter: Duration, bytes_per_s: u64 },
    /// Every connection is reset (RST) a moment after it was used.
    Resets,
    /// Nothing gets through, and nobody is told. What was sent arrives when it ends.
    BlackHole,
}

/// A way to one server; connections end with it.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    listening: JoinHandle<()>,
}

/// What a connection has under way: with a TCP window it is bounded as well.
const UNDER_WAY_MAX: usize = 256;
const CHUNK_LEN: usize = 16 << 10;

impl Proxy {
    /// A way to the server at this port of loopback.
    pub(super) async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (network, watching) = watch::channel(Network::Good);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, port, watching.clone()));
            }
        });
        Ok(Self { address, network, listening })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the network, for connections that are open as well.
    pub(super) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(client: TcpStream, port: u16, network: watch::Receiver<Network>) {
    let mut until_good = network.clone();
    // In a black hole not even a connection is made.
    let passes = until_good.wait_for(|network| *network != Network::BlackHole).await;
    let server = match passes.map(drop) {
        Ok(()) => TcpStream::connect(("127.0.0.1", port)).await,
        // The driver is done with this network.
        Err(_) => return,
    };
    let Ok(server) = server else {
        // As a port on which nobody listens.
        reset(&client);
        return;
    };
    // A socket that cannot be set up so is only a little slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pump(from_client, to_server, network.clone());
    let down = pump(from_server, to_client, network.clone());
    tokio::select! {
        _ = up => {}
        _ = down => {}
        () = resets(network) => {}
    }
}

/// Ends a while after the network began to reset connections: a request may have got through, and
/// its answer not.
async fn resets(mut network: watch::Receiver<Network>) {
    if network.wait_for(|network| *network == Network::Resets).await.is_ok() {
        let after = rand::rng().random_range(0..30);
        sleep(Duration::from_millis(after)).await;
    }
}

fn reset(stream: &TcpStream) {
    // Without it the connection is closed in order, which is another fault of the same kind.
    let _ = stream.set_zero_linger();
}

/// Carries one direction until an end closes. What is delayed stays in order.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    reset(to.as_ref());
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let mut until_good = network.clone();
    let read = async move {
        let mut due = Instant::now();
        loop {
            let mut chunk = vec![0; CHUNK_LEN];
            let len = from.read(&mut chunk).await?;
            if len == 0 {
                return Ok(());
            }
            chunk.truncate(len);
            due = due.max(Instant::now() + delay(*network.borrow(), len));
            if sender.send((due, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due).await;
            if until_good.wait_for(|network| *network != Network::BlackHole).await.is_err() {
                return Ok(());
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    let (read, written): (io::Result<()>, io::Result<()>) = tokio::join!(read, write);
    read.and(written)
}

fn delay(network: Network, len: usize) -> Duration {
    let Network::Slow { latency, jitter, bytes_per_s } = network else { return Duration::ZERO };
    let jitter_us = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
    let extra = rand::rng().random_range(0..=2 * jitter_us);
    let carried = Duration::from_secs_f64(len as f64 / bytes_per_s as f64);
    (latency + Duration::from_micros(extra)).saturating_sub(jitter) + carried
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let echoing = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        (port, echoing)
    }

    async fn call(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_black_hole_keeps_what_was_sent_until_it_ends_and_a_reset_ends_a_connection() {
        let (port, echoing) = echo().await;
        let proxy = Proxy::start(port).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        assert_eq!(call(&mut stream, b"hello").await.unwrap(), b"hello");

        proxy.set(Network::BlackHole);
        stream.write_all(b"lost?").await.unwrap();
        let mut answer = [0; 5];
        let unheard = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut answer));
        assert!(unheard.await.is_err());
        proxy.set(Network::Good);
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"lost?");

        proxy.set(Network::Resets);
        let ended = stream.read(&mut answer).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        echoing.abort();
    }

    #[test]
    fn a_slow_network_delays_by_its_latency_and_jitter() {
        let ms = Duration::from_millis;
        let slow = Network::Slow { latency: ms(20), jitter: ms(10), bytes_per_s: 1_000_000 };
        for _ in 0..100 {
            assert!((ms(10)..=ms(31)).contains(&delay(slow, 1_000)));
        }
        assert_eq!(delay(Network::Good, 1_000), Duration::ZERO);
    }
}
