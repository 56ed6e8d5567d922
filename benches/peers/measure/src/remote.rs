//! Operations that go to Redis.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::{
    Key, Loader, Node, Pace, Peer,
    callers::{Act, Hit, Load, Set, together},
    comparison::median,
    keys::keys,
};

/// Where operations are measured, and how much.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// What instances are opened by.
    pub(crate) node: Node,
    /// Keys that are in Redis.
    pub(crate) keys: Arc<[Key]>,
    pub(crate) pace: Pace,
}

impl Ground {
    /// How many keys `callers` have in a window.
    const fn count(&self, callers: usize) -> usize {
        if callers == 1 { self.pace.alone() } else { self.pace.together() }
    }
}

/// How long `callers` take for a hit of Redis each, in seconds: all of them in a window, divided by
/// the hits.
///
/// Each window has an instance of its own, whose near tier is empty.
pub(crate) async fn hits<P: Peer>(ground: &Ground, callers: usize) -> Result<f64> {
    let (keys, count) = (&ground.keys, ground.count(callers));
    let mut took_s = Vec::new();
    for _ in 0..ground.pace.windows() {
        let peer = P::open(&ground.node).await?;
        // Connections are made and scripts loaded before the clock runs.
        together(&peer, callers.min(64), keys, count..count + 640, Hit).await?;
        let took = together(&peer, callers, keys, 0..count, Hit).await?;
        took_s.push(took.as_secs_f64() / count as f64);
        peer.close().await?;
    }
    Ok(median(&took_s))
}

/// As [`hits`], for writes: of keys that are there already, as most writes are.
pub(crate) async fn sets<P: Peer>(ground: &Ground, callers: usize) -> Result<f64> {
    let peer = P::open(&ground.node).await?;
    let there = |_| (Arc::clone(&ground.keys), ground.count(callers));
    let took_s = windows(&peer, callers, there, Set, ground.pace).await?;
    peer.close().await?;
    Ok(took_s)
}

/// As [`hits`], for loads of keys that nobody has.
pub(crate) async fn loads<P: Peer>(ground: &Ground) -> Result<f64> {
    let Ground { node, pace, .. } = ground;
    let peer = P::open(node).await?;
    let loader = Loader::instant();
    let count = ground.count(1);
    let missing = |window| (keys(&format!("{}:missing-{window}", node.namespace), count), count);
    let took_s = windows(&peer, 1, missing, Load(loader.clone()), *pace).await?;
    peer.close().await?;
    let expected = (count * (pace.windows() + 1)) as u64;
    ensure!(
        loader.calls() == expected,
        "of {expected} missing keys {} were loaded",
        loader.calls()
    );
    Ok(took_s)
}

/// The median of windows, after one that does not count.
async fn windows<P: Peer>(
    peer: &P,
    callers: usize,
    keys_of: impl Fn(usize) -> (Arc<[Key]>, usize),
    act: impl Act<P>,
    pace: Pace,
) -> Result<f64> {
    let mut took_s = Vec::new();
    for window in 0..=pace.windows() {
        let (keys, count) = keys_of(window);
        let took = together(peer, callers, &keys, 0..count, act.clone()).await?;
        took_s.push(took.as_secs_f64() / count as f64);
    }
    Ok(median(&took_s[1..]))
}
