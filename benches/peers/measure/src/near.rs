//! Hits of the near tier.

use std::{hint::black_box, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::{Key, Pace, Peer, comparison::median, keys::walk, peer::value};

/// What a hit takes over `keys`, all of which are in the near tier, in nanoseconds.
///
/// One task makes one call after the other, on a thread of the runtime, as a request does.
pub(crate) async fn hit<P: Peer>(peer: &mut P, keys: &[Key], pace: Pace) -> Result<f64> {
    let (windows, hits) = pace.near();
    let mut walk = walk(keys);
    let mut took_ns = Vec::with_capacity(windows);
    // A round first, for the caches of the processor.
    for key in walk.by_ref().take(keys.len()) {
        let hit = peer.hit(key).await?.context("a key is not in the near tier")?;
        ensure!(P::text(&hit) == &*value(), "another value came back than was stored");
    }
    for _ in 0..windows {
        let begin = Instant::now();
        for key in walk.by_ref().take(hits) {
            let hit = peer.hit(black_box(key)).await?;
            ensure!(black_box(&hit).is_some(), "a key is not in the near tier any more");
        }
        took_ns.push(begin.elapsed().as_nanos() as f64 / hits as f64);
    }
    Ok(median(&took_ns))
}
