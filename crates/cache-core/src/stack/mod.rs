//! Tiers on top of each other, as one tier.

mod copy;
mod debts;
mod faults;
mod search;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    bus::Log,
    clock::{Clock, Timestamp},
    entry::Entry,
    error::{Error, ErrorKind, Result},
    event::Events,
    fence::Fence,
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{
        Condition, Durability, Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage, check_batch,
    },
};
pub use copy::Copied;
use debts::{Debts, Missed, Suspicion};
use faults::Faults;
use search::Search;

/// Tiers in the order in which they are read, the fastest first.
///
/// - **Reads go down.** Each tier is asked for what the ones above did not have fresh, all keys of
///   a batch in one call. What is found is promoted to every tier above that was asked, as a fill
///   with the fence that the tier told before the lower one was read, and with the entry's own
///   deadlines.
/// - **Writes come up.** Puts, removals and clears start at the bottom. A reader that misses above
///   therefore never promotes from below what a removal has already passed by.
/// - **A tier's fault stays its own.** A read fails only when every tier fails. A write tries every
///   tier, and its error names each that failed.
/// - **A tier that missed a removal is not believed.** It is not asked for that key again until it
///   has been told, which a task does as soon as the tier answers.
pub struct Stack {
    info: TierInfo,
    tiers: Vec<Arc<dyn Tier>>,
    /// What each tier has missed.
    debts: Vec<Arc<Debts>>,
    /// Whether each tier's last read failed.
    failing: Vec<AtomicBool>,
    /// Whether each tier takes no fills yet: nobody would notice what is missed there.
    unwatched: Vec<AtomicBool>,
    clock: Arc<dyn Clock>,
    events: Events,
    readers: Readers,
}

/// Who else reads the tiers of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// Nothing is known of them.
    Unknown,
    /// Each follows the logs of the tiers.
    FollowLogs,
}

/// What [`Stack::find`] found.
#[derive(Debug)]
pub struct Found<T> {
    /// The best entry, the level of its tier (the top is 0) and what was read of it.
    pub hit: Option<(usize, Entry, T)>,
    /// The fences of the tiers, of those that had to be asked; none when the top tier had it fresh,
    /// as nobody will write then.
    pub fence: Fence,
    /// The fence of the top tier, whether or not others were asked.
    pub top: Fence,
    /// The hit, for the tiers above its own: [`Stack::promote`] takes it there.
    pub promotions: Vec<Promotion>,
}

/// A hit that a tier above its own may keep as well.
#[derive(Debug)]
pub struct Promotion {
    level: usize,
    /// A fill under the fence that the tier told before the hit was read.
    put: Put,
    /// When the first tier was about to be asked.
    looked_at: Timestamp,
}

impl Stack {
    /// A stack of `tiers`, the one that is read first in front.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when there is no tier, or two have the same name.
    pub fn new(tiers: Vec<Arc<dyn Tier>>, clock: Arc<dyn Clock>) -> Result<Self> {
        let names: Vec<&str> = tiers.iter().map(|tier| &*tier.info().name).collect();
        if names.is_empty() {
            return Err(Error::new(ErrorKind::Config, "a stack needs at least one tier"));
        }
        if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("two tiers of one stack are named `{}`", twice.1),
            ));
        }
        let infos = || tiers.iter().map(Tier::info);
        let info = TierInfo {
            name: format!("stack({})", names.join(", ")).into(),
            scope: infos().map(|info| info.scope).max().expect("there is a tier"),
            durability: infos().map(|info| info.durability).max().expect("there is a tier"),
            fence_retention: infos()
                .map(|info| info.fence_retention)
                .min()
                .expect("there is a tier"),
            payload_len_max: infos()
                .map(|info| info.payload_len_max)
                .max()
                .expect("there is a tier"),
            patience: None,
        };
        let debts = tiers.iter().map(|_| Arc::default()).collect();
        let [failing, unwatched] =
            [(); 2].map(|()| tiers.iter().map(|_| AtomicBool::new(false)).collect());
        Ok(Self {
            info,
            tiers,
            debts,
            failing,
            unwatched,
            clock,
            events: Events::new(),
            readers: Readers::Unknown,
        })
    }

    /// The same stack, of which every reader, in every process, follows the logs of its tiers, as a
    /// [`Cache`](crate::Cache) does. A change that a tier missed has then succeeded all the same
    /// where the log of a durable tier below has it: no reader believes the tier that missed it.
    #[must_use]
    pub fn with_followed_logs(self) -> Self {
        Self { readers: Readers::FollowLogs, ..self }
    }

    /// The same stack, which tells `events` of tiers that miss removals.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// How many removals and clears tiers have still to be told.
    #[must_use]
    pub fn pending_removals(&self) -> usize {
        self.debts.iter().map(|debts| debts.pending()).sum()
    }

    /// Whether the last read of the tier at `level` failed.
    pub(crate) fn is_failing(&self, level: usize) -> bool {
        self.failing[level].load(Ordering::Relaxed)
    }

    /// Has the tier at `level` take no fills until it is [`watched`](Self::watched).
    pub(crate) fn unwatched(&self, level: usize) {
        self.unwatched[level].store(true, Ordering::Relaxed);
    }

    /// From now on what the tier at `level` misses is noticed.
    pub(crate) fn watched(&self, level: usize) {
        self.unwatched[level].store(false, Ordering::Relaxed);
    }

    /// The answer of the tier at `level`, without a fence where it takes no fills.
    fn fenced(&self, level: usize, lookup: Lookup) -> Lookup {
        if self.unwatched[level].load(Ordering::Relaxed) {
            return Lookup { fence: Fence::unread(), ..lookup };
        }
        lookup
    }

    /// Remembers how a read of the tier at `level` ended.
    fn note_read(&self, level: usize, failed: bool) {
        // Nearly always it stays as it was, and the cache line is shared by all readers.
        if self.failing[level].load(Ordering::Relaxed) != failed {
            self.failing[level].store(failed, Ordering::Relaxed);
        }
    }

    /// Does not believe the tier at `level` for `keys` until the answer is dropped.
    pub(crate) fn suspect(&self, level: usize, keys: Vec<Key>) -> Suspicion {
        self.debts[level].suspect(keys)
    }

    /// Has the tier at `level` told of `removals` before it is believed again for those keys.
    pub(crate) fn owe(&self, level: usize, removals: impl IntoIterator<Item = Removal>) {
        self.debts[level].owe(&self.tiers[level], removals, Missed::Removal, &self.events);
    }

    /// Has the tier at `level` cleared before it is believed again for keys of `namespace`.
    pub(crate) fn owe_clear(&self, level: usize, namespace: &Namespace) {
        self.debts[level].owe_clear(&self.tiers[level], namespace, &self.events);
    }

    /// The tiers, top first.
    #[must_use]
    pub fn tiers(&self) -> &[Arc<dyn Tier>] {
        &self.tiers
    }

    /// Looks up one key. `read` judges each entry before it is taken: one that it answers with
    /// nothing (bytes that its codec cannot read) counts as missing in its tier, and the next tier
    /// is asked.
    ///
    /// The answer is the first fresh entry, else the one that was fresh longest. Whoever has it may
    /// have it promoted, and need not wait for that.
    ///
    /// # Errors
    ///
    /// Only when every tier failed: the error names them all.
    pub async fn find<T>(
        &self,
        key: &Key,
        read: impl Fn(&Entry) -> Option<T> + Send,
    ) -> Result<Found<T>> {
        let mut search = Search::new(self.clock.now());
        let mut faults = Faults::default();
        for (level, tier) in self.tiers.iter().enumerate() {
            if self.debts[level].blocks(key) {
                search.pass();
                continue;
            }
            let answer = tier.get(key).await;
            self.note_read(level, answer.is_err());
            match answer {
                Ok(lookup) => search.take(level, self.fenced(level, lookup), &read),
                Err(error) => {
                    search.pass();
                    faults.note(tier, error);
                }
            }
            if search.is_over() {
                break;
            }
        }
        faults.fail_if_all(self.tiers.len(), "get")?;
        Ok(search.finish(key))
    }

    /// Looks up many keys, each as [`find`](Self::find) does, with one call a tier.
    ///
    /// # Errors
    ///
    /// When every tier failed, or the batch is above its limit.
    pub async fn find_many<T>(
        &self,
        keys: &[Key],
        read: impl Fn(&Entry) -> Option<T> + Send,
    ) -> Result<Vec<Found<T>>> {
        check_batch(keys.len())?;
        let now = self.clock.now();
        let mut searches: Vec<_> = keys.iter().map(|_| Search::new(now)).collect();
        let mut faults = Faults::default();
        for (level, tier) in self.tiers.iter().enumerate() {
            let open: Vec<usize> = (0..keys.len()).filter(|&i| !searches[i].is_over()).collect();
            let (blocked, open): (Vec<usize>, Vec<usize>) =
                open.into_iter().partition(|&i| self.debts[level].blocks(&keys[i]));
            blocked.into_iter().for_each(|i| searches[i].pass());
            if open.is_empty() {
                continue;
            }
            let asked: Vec<Key> = open.iter().map(|&i| keys[i].clone()).collect();
            let answer = tier.get_many(&asked).await;
            self.note_read(level, answer.is_err());
            match answer {
                Ok(lookups) => {
                    for (i, lookup) in open.into_iter().zip(lookups) {
                        searches[i].take(level, self.fenced(level, lookup), &read);
                    }
                }
                Err(error) => {
                    open.into_iter().for_each(|i| searches[i].pass());
                    faults.note(tier, error);
                }
            }
        }
        faults.fail_if_all(self.tiers.len(), "get")?;
        Ok(keys.iter().zip(searches).map(|(key, search)| search.finish(key)).collect())
    }

    /// Offers hits to the tiers above their own, with one call a tier, the lowest first.
    ///
    /// This is a favour to later readers: what fails is only counted, by whatever observes the tier.
    /// Hits of a look that began longer ago than the tiers remember their fences are not offered:
    /// nobody could tell any more whether they were removed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves some tiers without the hits.
    pub async fn promote(&self, promotions: impl IntoIterator<Item = Promotion>) {
        let now = self.clock.now();
        let mut puts: BTreeMap<usize, Vec<Put>> = BTreeMap::new();
        for Promotion { level, put, looked_at } in promotions {
            if now.since(looked_at) <= self.info.fence_retention {
                puts.entry(level).or_default().push(put);
            }
        }
        for (level, puts) in puts.into_iter().rev() {
            if let Err(error) = self.tiers[level].put_many(&puts).await {
                tracing::debug!(tier = %self.tiers[level].info().name, %error, "promotion failed");
            }
        }
    }

    /// Writes to every tier, from the bottom up, and goes on where one fails: the outcome of each
    /// put over all tiers that answered, and what failed.
    ///
    /// A put that a lower tier refused as superseded is not offered to the tiers above. An insert
    /// that was is removed from them instead: what they hold may be older still, and whoever wrote
    /// the newer value may never come to them.
    pub async fn put_up(&self, puts: &[Put]) -> (Vec<PutOutcome>, Result<()>) {
        let mut outcomes = vec![PutOutcome::Skipped; puts.len()];
        let mut faults = Faults::default();
        let mut logged = false;
        for (level, tier) in self.tiers.iter().enumerate().rev() {
            let refused: Vec<Removal> = puts
                .iter()
                .zip(&outcomes)
                .filter(|(put, outcome)| {
                    put.condition == Condition::Always && **outcome == PutOutcome::Superseded
                })
                .map(|(put, _)| Removal { key: put.key.clone(), version: put.entry.version })
                .collect();
            if !refused.is_empty()
                && let Err(error) = tier.remove_many(&refused).await
            {
                self.owe(level, refused);
                if !logged {
                    faults.note(tier, error);
                }
            }
            let (at, batch): (Vec<usize>, Vec<Put>) = puts
                .iter()
                .enumerate()
                .filter(|(i, _)| outcomes[*i] != PutOutcome::Superseded)
                .filter_map(|(i, put)| Some((i, for_tier(put, level)?)))
                .unzip();
            if batch.is_empty() {
                continue;
            }
            match tier.put_many(&batch).await {
                Ok(answers) => {
                    logged |= self.is_heard(&**tier);
                    for (i, answer) in at.into_iter().zip(answers) {
                        outcomes[i] = over_all(outcomes[i], answer);
                    }
                }
                Err(error) => {
                    // What was to be replaced may still be there. A fill replaces nothing wrong.
                    let inserts = batch.into_iter().filter(|p| p.condition == Condition::Always);
                    let missed = inserts.map(|p| Removal { version: p.entry.version, key: p.key });
                    self.debts[level].owe(tier, missed, Missed::Insert, &self.events);
                    if !logged {
                        faults.note(tier, error);
                    }
                }
            }
        }
        (outcomes, faults.into_result("put").map_err(Error::indeterminate))
    }

    /// Inserts into the lowest tier, and removes from those above: what comes late to one of them
    /// does not bring an older entry back there.
    ///
    /// # Errors
    ///
    /// What the lowest tier said; [`ErrorKind::Overloaded`] when it knows a newer version. A tier
    /// above that fails is not believed until it was told.
    pub(crate) async fn replace(&self, put: Put) -> Result<()> {
        let removal = Removal { key: put.key.clone(), version: put.entry.version };
        let (lowest, above) = self.tiers.split_last().expect("there is a tier");
        if lowest.put_many(&[put]).await.map_err(Error::indeterminate)? != [PutOutcome::Stored] {
            let message = format!("`{}` was changed at the same time", removal.key.text());
            return Err(Error::new(ErrorKind::Overloaded, message).hint("try again"));
        }
        for (level, tier) in above.iter().enumerate().rev() {
            if let Err(error) = tier.remove_many(std::slice::from_ref(&removal)).await {
                tracing::debug!(tier = %tier.info().name, %error, "it is told later");
                self.owe(level, [removal.clone()]);
            }
        }
        Ok(())
    }

    /// Carries a removal out in every tier, from the bottom up, and goes on where one fails.
    async fn remove_from_each<'a, F: Future<Output = Result<()>>>(
        &'a self,
        operation: &str,
        change: impl Fn(&'a Arc<dyn Tier>) -> F,
        owe: impl Fn(usize),
    ) -> Result<()> {
        let mut faults = Faults::default();
        let mut logged = false;
        for (level, tier) in self.tiers.iter().enumerate().rev() {
            match change(tier).await {
                Ok(()) => logged |= self.is_heard(&**tier),
                Err(error) => {
                    owe(level);
                    // Every process that reads this tier hears of it from the log below.
                    if !logged {
                        faults.note(tier, error);
                    }
                }
            }
        }
        faults.into_result(operation).map_err(Error::indeterminate)
    }

    /// Whether every reader is sure to hear what was changed in `tier`.
    fn is_heard(&self, tier: &dyn Tier) -> bool {
        self.readers == Readers::FollowLogs
            && tier.info().durability > Durability::Volatile
            && tier.log().is_some()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Stack {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let mut found = self.find(key, |_| Some(())).await?;
        self.promote(found.promotions.drain(..)).await;
        Ok(found.into_lookup())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let mut found = self.find_many(keys, |_| Some(())).await?;
        self.promote(found.iter_mut().flat_map(|found| found.promotions.drain(..))).await;
        Ok(found.into_iter().map(Found::into_lookup).collect())
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        let (outcomes, result) = self.put_up(puts).await;
        result.map(|()| outcomes)
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        let owe = |level| self.owe(level, removals.iter().cloned());
        self.remove_from_each("remove", |tier| tier.remove_many(removals), owe).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let owe = |level| self.owe_clear(level, namespace);
        self.remove_from_each("clear", |tier| tier.clear(namespace), owe).await
    }

    async fn ping(&self) -> Result<()> {
        let mut faults = Faults::default();
        for tier in &self.tiers {
            faults.note_result(tier, tier.ping().await);
        }
        faults.into_result("ping")
    }

    /// Of the lowest tier: it holds what the others hold copies of.
    async fn usage(&self) -> Result<Usage> {
        self.tiers[self.tiers.len() - 1].usage().await
    }

    /// Of the lowest tier: what is changed in the stack is changed there first.
    fn log(&self) -> Option<Arc<dyn Log>> {
        self.tiers[self.tiers.len() - 1].log()
    }

    /// Of the highest tier that gives them.
    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.tiers.iter().find_map(Tier::leases)
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        None
    }

    async fn close(&self) -> Result<()> {
        let mut faults = Faults::default();
        for tier in self.tiers.iter().rev() {
            faults.note_result(tier, tier.close().await);
        }
        faults.into_result("close")
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stack").field(&self.tiers).finish()
    }
}

impl<T> Found<T> {
    /// Nothing, as when nobody could be asked.
    pub(crate) const fn nothing() -> Self {
        Self { hit: None, fence: Fence::unread(), top: Fence::unread(), promotions: Vec::new() }
    }

    /// The fence of the tier at `level`, unread when it was not asked.
    pub(crate) fn fence_at(&self, level: usize) -> Fence {
        if level == 0 { self.top.clone() } else { self.fence.part(level) }
    }

    fn into_lookup(self) -> Lookup {
        Lookup { entry: self.hit.map(|(_, entry, _)| entry), fence: self.fence, corrupt: None }
    }
}

fn for_tier(put: &Put, level: usize) -> Option<Put> {
    let condition = match &put.condition {
        Condition::Always => Condition::Always,
        Condition::Unmoved(fence) => {
            let part = fence.part(level);
            if part == Fence::unread() {
                return None;
            }
            Condition::Unmoved(part)
        }
    };
    Some(Put { condition, ..put.clone() })
}

/// What became of a put over two tiers: a refusal by either counts, then a success.
const fn over_all(one: PutOutcome, other: PutOutcome) -> PutOutcome {
    use PutOutcome::{Skipped, Stored, Superseded, TooLarge};
    match (one, other) {
        (Superseded, _) | (_, Superseded) => Superseded,
        (Stored, _) | (_, Stored) => Stored,
        (TooLarge, _) | (_, TooLarge) => TooLarge,
        (Skipped, Skipped) => Skipped,
    }
}
