//! Deliberate bugs, each of which the simulation must find: the proof that it would find others.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    Change, Clock, CodecId, Condition, Entry, Fence, Key, Leases, Log, Lookup, Namespace, Page,
    Position, Put, PutOutcome, Removal, Result, TTL_MAX, Tags, Tier, TierExt, TierInfo, TierRoom,
    Ttl, Usage, generation_key,
};

use crate::plan::Plan;

/// A bug in what the nodes are built of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Fills are carried out whatever has happened since the fence was read.
    NoFence,
    /// A removal does not move the fence of its key.
    NoTombstone,
    /// The fence is read when the fill is made, not before the load.
    LateFence,
    /// An error of a removal counts as success.
    SwallowedError,
    /// A promotion begins the entry's life anew.
    LongerLife,
    /// A server that comes back with old data is believed.
    UnnoticedLoss,
    /// A removal reaches the first tier only.
    OneTierOnly,
    /// A removal tells its caller that it is done before it is.
    EarlyAnswer,
    /// A log leaves changes out, and says nothing of a gap.
    LossyLog,
    /// The tags of what was loaded are read when it is kept, not when its load began.
    LateTags,
    /// What is copied from one tier to another replaces what is there, whatever has happened since
    /// it was read.
    UncheckedCopy,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoFence,
        Self::NoTombstone,
        Self::LateFence,
        Self::SwallowedError,
        Self::LongerLife,
        Self::UnnoticedLoss,
        Self::OneTierOnly,
        Self::EarlyAnswer,
        Self::LossyLog,
        Self::LateTags,
        Self::UncheckedCopy,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::NoTombstone => "no-tombstone",
            Self::LateFence => "late-fence",
            Self::SwallowedError => "swallowed-error",
            Self::LongerLife => "longer-life",
            Self::UnnoticedLoss => "unnoticed-loss",
            Self::OneTierOnly => "one-tier-only",
            Self::EarlyAnswer => "early-answer",
            Self::LossyLog => "lossy-log",
            Self::LateTags => "late-tags",
            Self::UncheckedCopy => "unchecked-copy",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| defect.name() == name)
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tier `tier` at `level` with the plan's defect built into it, if it has one that fits there.
#[must_use]
pub fn build_in(
    plan: &Plan,
    level: usize,
    tier: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Tier> {
    match plan.defect {
        Some(Defect::OneTierOnly) if level == 0 => tier,
        Some(
            defect @ (Defect::NoFence
            | Defect::LateFence
            | Defect::SwallowedError
            | Defect::LongerLife
            | Defect::OneTierOnly
            | Defect::EarlyAnswer
            | Defect::LossyLog
            | Defect::LateTags),
        ) => Arc::new(Broken::new(defect, clock, tier)),
        Some(Defect::NoTombstone | Defect::UnnoticedLoss | Defect::UncheckedCopy) | None => tier,
    }
}

/// A tier with a bug. One whose bug is not a tier's passes everything on.
pub struct Broken {
    defect: Defect,
    clock: Arc<dyn Clock>,
    inner: Arc<dyn Tier>,
}

impl Broken {
    /// `inner` with `defect`.
    #[must_use]
    pub fn new(defect: Defect, clock: Arc<dyn Clock>, inner: Arc<dyn Tier>) -> Self {
        Self { defect, clock, inner }
    }

    async fn spoil(&self, put: &Put) -> Put {
        let mut put = put.clone();
        if put.condition == Condition::Always {
            return put;
        }
        match self.defect {
            Defect::NoFence => put.condition = Condition::Always,
            Defect::LateFence => {
                if let Ok(lookup) = self.inner.get(&put.key).await {
                    put.condition = Condition::Unmoved(lookup.fence);
                }
            }
            Defect::LongerLife => {
                let entry = &mut put.entry;
                let (fresh, stale) = (
                    entry.fresh_until.since(entry.created_at),
                    entry.expires_at.since(entry.fresh_until),
                );
                entry.created_at = self.clock.now();
                entry.fresh_until = entry.created_at.after(fresh);
                entry.expires_at = entry.fresh_until.after(stale);
            }
            Defect::LateTags => put.entry.tags = self.present(&put.key, &put.entry.tags).await,
            _ => {}
        }
        put
    }

    /// The tags with the generations that they have now.
    async fn present(&self, key: &Key, tags: &Tags) -> Tags {
        let namespace = Namespace::from_escaped(key.namespace()).expect("a key's namespace is one");
        let mut marks = tags.marks().to_vec();
        for mark in &mut marks {
            // The cache's own note on rules is no tag's.
            let Ok(key) = generation_key(&namespace, &mark.tag) else { continue };
            if let Ok(lookup) = self.inner.get(&key).await {
                mark.generation = match lookup.entry {
                    Some(entry) => number(&entry).unwrap_or(mark.generation),
                    None => self.make(key, lookup.fence, mark.generation + 1).await,
                };
            }
        }
        Tags::new(marks).expect("there are as many as before")
    }

    /// Makes a generation where there is none, as whoever reads one does.
    async fn make(&self, key: Key, fence: Fence, generation: u64) -> u64 {
        let payload = generation.to_be_bytes().to_vec().into();
        let entry = Entry::new(payload, CodecId(4), self.clock.now(), Ttl::fresh(TTL_MAX));
        // Where it cannot be made, the entry is dead, and the bug does no harm this time.
        let _ = self.inner.fill(key, entry, fence).await;
        generation
    }
}

fn number(entry: &Entry) -> Option<u64> {
    entry.payload.first_chunk().copied().map(u64::from_be_bytes)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Broken {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.inner.get_many(keys).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut spoiled = Vec::with_capacity(puts.len());
        for put in puts {
            spoiled.push(self.spoil(put).await);
        }
        self.inner.put_many(&spoiled).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        match self.defect {
            Defect::OneTierOnly => Ok(()),
            Defect::EarlyAnswer => {
                let (inner, removals) = (Arc::clone(&self.inner), removals.to_vec());
                tokio::spawn(async move { inner.remove_many(&removals).await });
                Ok(())
            }
            Defect::SwallowedError => {
                // That nobody hears of it is the bug.
                let _ = self.inner.remove_many(removals).await;
                Ok(())
            }
            _ => self.inner.remove_many(removals).await,
        }
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.inner.clear(namespace).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        let log = self.inner.log()?;
        let is_lossy = self.defect == Defect::LossyLog;
        Some(if is_lossy { Arc::new(Lossy(log)) } else { log })
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A log that leaves out every other change.
#[derive(Debug)]
struct Lossy(Arc<dyn Log>);

#[async_trait]
impl Log for Lossy {
    fn tier(&self) -> &Arc<str> {
        self.0.tier()
    }

    async fn end(&self) -> Result<Position> {
        self.0.end().await
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let mut after = after.clone();
        loop {
            let mut page = self.0.read(&after, wait).await?;
            let told = page.notices.len();
            page.notices.retain(|notice| notice.change == Change::Beat || notice.mark % 2 == 0);
            if told == 0 || page.gap || !page.notices.is_empty() {
                return Ok(page);
            }
            // An empty page would say that nothing has happened, and have the reader come at once.
            after = page.next;
        }
    }

    async fn beat(&self) -> Result<()> {
        self.0.beat().await
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broken").field(&self.defect).field(&self.inner).finish()
    }
}
