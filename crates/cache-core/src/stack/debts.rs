//! What a tier has missed: the removals that it still has to be told.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    entry::Version,
    error::Result,
    event::{Event, Events},
    key::{Key, Namespace},
    tier::{Removal, Tier},
};

/// The most keys that are remembered for one tier. Beyond, their namespaces are cleared instead.
const KEYS_MAX: usize = 10_000;

/// The most removals of one repair.
const PART_LEN: usize = 1_000;

/// How soon a tier is told again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(400);

/// The removals that one tier has missed.
///
/// While a key is among them the tier is not asked for it: it may still hold the value that was to
/// be removed. A task tells the tier as soon as it answers again.
#[derive(Debug, Default)]
pub(super) struct Debts {
    /// How many keys and namespaces are blocked, so that a tier without costs a read no lock.
    blocked: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A number for each debt, by which one that was made anew meanwhile is told from a paid one.
    last: u64,
    keys: BTreeMap<Key, Debt>,
    clears: BTreeMap<Namespace, u64>,
    /// Keys that are being compared with the tier below, and how often at the same time.
    suspects: BTreeMap<Key, usize>,
    repairing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    number: u64,
    version: Option<Version>,
    missed: Missed,
    /// From when on the tier is to be told.
    due: Instant,
}

/// What a tier has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missed {
    Removal,
    /// An insert, which was given up and may still arrive, later than what came after it: the tier
    /// is told a second time.
    Insert,
}

/// How long after the tier was told an insert that was given up may still arrive there.
const LATE: Duration = Duration::from_secs(1);

/// Some debts, as they were at one moment.
struct Part {
    clears: Vec<(Namespace, u64)>,
    keys: Vec<(Key, Debt)>,
}

impl Debts {
    /// Whether the tier may hold something under `key` that it should not.
    pub(super) fn blocks(&self, key: &Key) -> bool {
        self.blocked.load(Ordering::Acquire) > 0 && self.state.lock().blocks(key)
    }

    /// How many removals and clears the tier has still to be told.
    pub(super) fn pending(&self) -> usize {
        self.state.lock().pending()
    }

    /// Blocks `keys` until the answer is dropped: while it is found out whether the tier has missed
    /// a change of them.
    pub(super) fn suspect(self: &Arc<Self>, keys: Vec<Key>) -> Suspicion {
        let mut state = self.state.lock();
        for key in &keys {
            *state.suspects.entry(key.clone()).or_default() += 1;
        }
        self.note_blocked(&state);
        Suspicion { debts: Arc::clone(self), keys }
    }

    fn note_blocked(&self, state: &State) {
        self.blocked.store(state.pending() + state.suspects.len(), Ordering::Release);
    }

    /// Remembers that `tier` has missed `removals`, and sees to it that it is told.
    pub(super) fn owe(
        self: &Arc<Self>,
        tier: &Arc<dyn Tier>,
        removals: impl IntoIterator<Item = Removal>,
        missed: Missed,
        events: &Events,
    ) {
        self.add(tier, events, |state| removals.into_iter().for_each(|r| state.owe(r, missed)));
    }

    /// Remembers that `tier` has missed a clear.
    pub(super) fn owe_clear(
        self: &Arc<Self>,
        tier: &Arc<dyn Tier>,
        namespace: &Namespace,
        events: &Events,
    ) {
        self.add(tier, events, |state| state.owe_clear(namespace.clone()));
    }

    fn add(
        self: &Arc<Self>,
        tier: &Arc<dyn Tier>,
        events: &Events,
        change: impl FnOnce(&mut State),
    ) {
        let mut state = self.state.lock();
        change(&mut state);
        let pending = state.pending();
        self.note_blocked(&state);
        if pending > 0 && !std::mem::replace(&mut state.repairing, true) {
            drop(state);
            events.emit(Event::TierSuspect { tier: Arc::clone(&tier.info().name), pending });
            tokio::spawn(repair(Arc::clone(tier), Arc::downgrade(self), events.clone()));
        }
    }

    /// The next debts to be paid; nothing, and the repair is over, when there are none.
    fn part(&self) -> Option<Part> {
        let mut state = self.state.lock();
        state.repairing = state.pending() > 0;
        let now = Instant::now();
        let due = state.keys.iter().filter(|(_, debt)| debt.due <= now);
        let keys = due.take(PART_LEN).map(|(key, debt)| (key.clone(), *debt));
        let clears = state.clears.iter().map(|(namespace, number)| (namespace.clone(), *number));
        state.repairing.then(|| Part { clears: clears.collect(), keys: keys.collect() })
    }

    /// Forgets debts that were paid, unless they were made again meanwhile.
    fn settle(&self, part: Part) {
        let mut state = self.state.lock();
        for (key, paid) in part.keys {
            let Entry::Occupied(mut debt) = state.keys.entry(key) else { continue };
            if debt.get().number != paid.number {
                continue;
            }
            if paid.missed == Missed::Insert {
                let due = Instant::now() + LATE;
                debt.insert(Debt { missed: Missed::Removal, due, ..paid });
            } else {
                debt.remove();
            }
        }
        for (namespace, paid) in part.clears {
            if state.clears.get(&namespace) == Some(&paid) {
                state.clears.remove(&namespace);
            }
        }
        self.note_blocked(&state);
    }
}

/// Keys for which a tier is not believed meanwhile.
#[derive(Debug)]
pub(crate) struct Suspicion {
    debts: Arc<Debts>,
    keys: Vec<Key>,
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        let mut state = self.debts.state.lock();
        for key in &self.keys {
            if let Entry::Occupied(mut times) = state.suspects.entry(key.clone()) {
                *times.get_mut() -= 1;
                if *times.get() == 0 {
                    times.remove();
                }
            }
        }
        self.debts.note_blocked(&state);
    }
}

impl State {
    fn pending(&self) -> usize {
        self.keys.len() + self.clears.len()
    }

    fn blocks(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
            || self.suspects.contains_key(key)
            || self.clears.keys().any(|n| n.as_str() == key.namespace())
    }

    fn owe(&mut self, Removal { key, version }: Removal, missed: Missed) {
        self.last += 1;
        let known = self.keys.get(&key);
        let version = version.max(known.and_then(|debt| debt.version));
        // A removal does not make an insert arrive that is still on its way.
        let missed = known.map_or(missed, |debt| debt.missed.max(missed));
        let debt = Debt { number: self.last, version, missed, due: Instant::now() };
        self.keys.insert(key, debt);
        if self.keys.len() > KEYS_MAX {
            for key in std::mem::take(&mut self.keys).into_keys() {
                if !self.clears.keys().any(|n| n.as_str() == key.namespace()) {
                    let namespace = Namespace::from_escaped(key.namespace());
                    self.owe_clear(namespace.expect("a key's namespace is one"));
                }
            }
        }
    }

    fn owe_clear(&mut self, namespace: Namespace) {
        self.last += 1;
        self.clears.insert(namespace, self.last);
    }
}

/// Tells `tier` what it has missed, again and again until it has been told all of it, or the stack
/// is gone.
async fn repair(tier: Arc<dyn Tier>, debts: Weak<Debts>, events: Events) {
    let mut delay = RETRY_FIRST;
    let mut told = 0;
    while let Some(part) = debts.upgrade().and_then(|debts| debts.part()) {
        if part.keys.is_empty() && part.clears.is_empty() {
            // What is left is to be told a second time, and not yet.
            sleep(RETRY_FIRST).await;
            continue;
        }
        match pay(&*tier, &part).await {
            Ok(()) => {
                told += part.keys.len() + part.clears.len();
                delay = RETRY_FIRST;
                let Some(debts) = debts.upgrade() else { return };
                debts.settle(part);
            }
            Err(error) => {
                tracing::debug!(tier = %tier.info().name, %error, "a tier cannot be repaired yet");
                sleep(delay).await;
                delay = (2 * delay).min(RETRY_MAX);
            }
        }
    }
    events.emit(Event::TierRepaired { tier: Arc::clone(&tier.info().name), removals: told });
}

async fn pay(tier: &dyn Tier, part: &Part) -> Result<()> {
    for (namespace, _) in &part.clears {
        tier.clear(namespace).await?;
    }
    let removal = |(key, debt): &(Key, Debt)| Removal { key: key.clone(), version: debt.version };
    let removals: Vec<Removal> = part.keys.iter().map(removal).collect();
    if removals.is_empty() { Ok(()) } else { tier.remove_many(&removals).await }
}
