//! A closed loop of many callers.

use std::{
    future::Future,
    hint::black_box,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::{Key, Loader, Peer, peer::value};

/// What callers do with a key.
pub(crate) trait Act<P: Peer>: Clone + Send + 'static {
    /// Does it.
    fn on(&self, peer: &mut P, key: &Key) -> impl Future<Output = Result<()>> + Send;
}

/// Reads what is there.
#[derive(Clone)]
pub(crate) struct Hit;

/// Writes.
#[derive(Clone)]
pub(crate) struct Set;

/// Reads, or has it loaded.
#[derive(Clone)]
pub(crate) struct Load(pub(crate) Loader);

impl<P: Peer> Act<P> for Hit {
    async fn on(&self, peer: &mut P, key: &Key) -> Result<()> {
        let hit = peer.hit(key).await?;
        black_box(hit).with_context(|| format!("{} is gone", key.as_str()))?;
        Ok(())
    }
}

impl<P: Peer> Act<P> for Set {
    async fn on(&self, peer: &mut P, key: &Key) -> Result<()> {
        peer.set(key, value()).await
    }
}

impl<P: Peer> Act<P> for Load {
    async fn on(&self, peer: &mut P, key: &Key) -> Result<()> {
        black_box(peer.load(key, &self.0).await?);
        Ok(())
    }
}

/// Has `callers` tasks act on the keys of `range`, each on its share of them, one at a time, and
/// tells how long it took until the last had done.
pub(crate) async fn together<P: Peer>(
    peer: &P,
    callers: usize,
    keys: &Arc<[Key]>,
    range: Range<usize>,
    act: impl Act<P>,
) -> Result<Duration> {
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for caller in 0..callers {
        let (mut peer, keys, act) = (peer.clone(), Arc::clone(keys), act.clone());
        let share = range.clone().skip(caller).step_by(callers);
        tasks.spawn(async move {
            for i in share {
                act.on(&mut peer, &keys[i]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a caller panicked")??;
    }
    Ok(begin.elapsed())
}
