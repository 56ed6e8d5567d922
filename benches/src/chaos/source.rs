//! The source of truth: keys with versions, in the driver's memory, asked over TCP.
//!
//! It is no part of what fails, so it is not in PostgreSQL, and nodes reach it directly.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{moment::now_us, oracle::Writes};

/// How long a load takes.
pub(super) const LOAD: Duration = Duration::from_millis(3);

/// How long a load takes of a key that begins with [`SLOW`].
pub(super) const SLOW_LOAD: Duration = Duration::from_millis(500);

/// What a key begins with whose load is slow.
pub(super) const SLOW: &str = "slow";

/// The source, while this is kept.
#[derive(Debug)]
pub(super) struct Source {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    writes: Writes,
    loads: HashMap<String, Vec<u64>>,
}

impl Source {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A connection ends when its node does.
                tokio::spawn(async move { drop(answer(stream, &state).await) });
            }
        });
        Ok(Self { address, state, listening })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has been written so far.
    pub(super) fn writes(&self) -> Writes {
        lock(&self.state).writes.clone()
    }

    /// When which keys were loaded.
    pub(super) fn loads(&self) -> HashMap<String, Vec<u64>> {
        lock(&self.state).loads.clone()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A panic leaves it as it was.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let version = match line.trim_end().split_once(' ') {
            Some(("load", key)) => {
                // The value is that of the beginning: the longer it is under way, the more likely
                // it is to be superseded when it arrives.
                let version = begin_load(state, key);
                let takes = if key.starts_with(SLOW) { SLOW_LOAD } else { LOAD };
                tokio::time::sleep(takes).await;
                version
            }
            Some(("write", key)) => write(state, key),
            _ => bail!("`{line}` is no request"),
        };
        stream.write_all(format!("{version}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

fn begin_load(state: &Mutex<State>, key: &str) -> u64 {
    let mut state = lock(state);
    state.loads.entry(key.to_owned()).or_default().push(now_us());
    state.writes.get(key).map_or(0, |writes| writes.len() as u64)
}

fn write(state: &Mutex<State>, key: &str) -> u64 {
    let mut state = lock(state);
    let writes = state.writes.entry(key.to_owned()).or_default();
    writes.push(now_us());
    writes.len() as u64
}

/// A node's way to the source.
#[derive(Debug)]
pub(super) struct SourceClient {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl SourceClient {
    pub(super) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, idle: Mutex::default() })
    }

    /// Loads `key`: its version.
    pub(super) async fn load(&self, key: &str) -> Result<u64> {
        self.ask("load", key).await
    }

    /// Writes `key`: its new version.
    pub(super) async fn write(&self, key: &str) -> Result<u64> {
        self.ask("write", key).await
    }

    /// A dropped call drops its connection, and with that an answer that nobody waits for.
    async fn ask(&self, verb: &str, key: &str) -> Result<u64> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("no source")?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.write_all(format!("{verb} {key}\n").as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let version = line.trim_end().parse().context("the source does not answer")?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_brings_what_was_written_and_is_counted() {
        let source = Source::start().await.unwrap();
        let client = SourceClient::new(source.address());
        assert_eq!(client.load("k").await.unwrap(), 0);
        assert_eq!(client.write("k").await.unwrap(), 1);
        assert_eq!(client.load("k").await.unwrap(), 1);
        assert_eq!((source.writes()["k"].len(), source.loads()["k"].len()), (1, 2));
    }
}
