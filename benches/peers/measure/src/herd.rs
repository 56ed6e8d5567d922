//! Callers of two nodes who want one missing key at the same moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Barrier,
    task::JoinSet,
};

use crate::{Key, Loader, Node, Peer};

/// How many processes there are.
pub const NODES: usize = 2;

/// What a node prints when it waits for keys.
pub const READY: &str = "ready";

/// How many callers each has.
const CALLERS: usize = 200;

/// How long the source takes.
const LOAD: Duration = Duration::from_millis(20);

/// What became of one key on one node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// How often this node loaded it.
    pub loads: u64,
    /// How long it took until its last caller had the value.
    pub took_ms: f64,
}

/// Is one of the nodes: has its callers want each key that comes on standard input, a line each,
/// and prints what became of it.
pub(crate) async fn serve<P: Peer>(node: &Node) -> Result<()> {
    let peer = P::open(node).await?;
    // The first load makes connections and loads scripts.
    let own = Key::new(format!("{}:of-{}", node.namespace, std::process::id()));
    wanted(&peer, own).await?;
    println!("{READY}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(key) = lines.next_line().await.context("cannot read which key is wanted")? {
        println!("{}", serde_json::to_string(&wanted(&peer, Key::new(key)).await?)?);
    }
    peer.close().await
}

async fn wanted<P: Peer>(peer: &P, key: Key) -> Result<Calls> {
    let loader = Loader::taking(LOAD);
    let start = Arc::new(Barrier::new(CALLERS + 1));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut peer, key, loader) = (peer.clone(), key.clone(), loader.clone());
        let start = Arc::clone(&start);
        callers.spawn(async move {
            start.wait().await;
            peer.load(&key, &loader).await.map(drop)
        });
    }
    start.wait().await;
    let begin = Instant::now();
    while let Some(done) = callers.join_next().await {
        done.context("a caller panicked")??;
    }
    Ok(Calls { loads: loader.calls(), took_ms: begin.elapsed().as_secs_f64() * 1e3 })
}
