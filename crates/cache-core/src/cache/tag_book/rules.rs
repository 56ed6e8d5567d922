//! Invalidations of what carries all of several tags.
//!
//! They cannot be counters of single tags. So they are a list, one for the cache, and an entry with
//! more than one tag remembers how long the list was when its load began: later rules are tried on
//! it. The list has a random epoch, and an entry of another epoch is dead.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::{
    clock::{Clock, Timestamp},
    entry::{CodecId, Entry, TTL_MAX, Ttl, Version},
    error::{Error, ErrorKind, Result},
    fence::Fence,
    key::Key,
    stack::Stack,
    tags::{TagMark, Tags},
    tier::{Condition, Put, PutOutcome, Tier},
};

/// The name under which an entry keeps how many rules there were. No caller's tag has it: it is a
/// control character.
const NAME: &str = "\u{1}";

/// What wrote a list of rules: JSON.
const CODEC: CodecId = CodecId(5);

/// The most rules that are kept. Beyond, a new epoch begins: every entry with several tags is dead.
const RULES_MAX: usize = 1_000;

/// How long a list is believed where no log tells of changes.
const MEMO_TTL: Duration = Duration::from_secs(10);

/// For how long whoever adds a rule keeps others from doing so.
const LEASE_PERIOD: Duration = Duration::from_secs(5);

/// How often a rule is tried to be added.
const TRIES: usize = 20;

/// The rules, as this process knows them.
#[derive(Debug)]
pub(super) struct Rules {
    key: Key,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    list: Option<(Arc<List>, Timestamp)>,
    /// How often the list was forgotten, so that one that was read before is not kept after.
    forgotten: u64,
}

/// What is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct List {
    /// Drawn at random, below 2^43.
    epoch: u64,
    rules: Vec<BTreeSet<String>>,
}

/// The tags of an entry without the note on rules.
pub(super) fn plain(tags: &Tags) -> impl Iterator<Item = &TagMark> {
    tags.marks().iter().filter(|mark| &*mark.tag != NAME)
}

/// The note that there were so many rules.
pub(super) fn mark(count: u64) -> TagMark {
    TagMark { tag: NAME.into(), generation: count }
}

impl Rules {
    pub(super) fn new(key: Key) -> Self {
        Self { key, known: Mutex::default() }
    }

    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn forget(&self) {
        let mut known = self.known.lock();
        known.list = None;
        known.forgotten += 1;
    }

    /// Whether a rule that is younger than the entry applies to it.
    pub(super) fn check(&self, tags: &Tags) -> Verdict {
        let Some(seen) = tags.marks().iter().find(|mark| &*mark.tag == NAME) else {
            return Verdict::Live;
        };
        match &self.known.lock().list {
            Some((list, _)) if list.applies(seen.generation, tags) => Verdict::Dead,
            Some(_) => Verdict::Live,
            None => Verdict::Unknown,
        }
    }

    /// How many rules there are, as an entry is to remember it.
    pub(super) async fn read(&self, stack: &Stack, clock: &dyn Clock) -> Option<u64> {
        let forgotten = {
            let known = self.known.lock();
            if let Some((list, read_at)) = &known.list
                && clock.now().since(*read_at) < MEMO_TTL
            {
                return Some(list.count());
            }
            known.forgotten
        };
        let found = stack.find(&self.key, decode).await.ok()?;
        stack.promote(found.promotions).await;
        let list = match found.hit {
            Some((_, _, list)) => list,
            None => {
                let lowest = stack.tiers().len() - 1;
                if found.fence.part(lowest) == Fence::unread() {
                    return None;
                }
                let list = List::empty();
                let put = self.put(&list, clock, Condition::Unmoved(found.fence));
                let (outcomes, _) = stack.put_up(&[put]).await;
                if outcomes != [PutOutcome::Stored] {
                    return None;
                }
                list
            }
        };
        let count = list.count();
        let mut known = self.known.lock();
        if known.forgotten == forgotten {
            known.list = Some((Arc::new(list), clock.now()));
        }
        Some(count)
    }

    /// Adds a rule: one process at a time, as a list cannot be added to by two.
    pub(super) async fn add(
        &self,
        stack: &Stack,
        clock: &dyn Clock,
        names: &[Arc<str>],
    ) -> Result<()> {
        let leases = stack.tiers().iter().rev().find_map(Tier::leases);
        let Some(leases) = leases else {
            let message = "no tier of the cache gives leases, which `all of` needs";
            return Err(Error::new(ErrorKind::Config, message)
                .hint("add a tier that does, or invalidate one tag"));
        };
        for _ in 0..TRIES {
            let Some(token) = leases.acquire(&self.key, LEASE_PERIOD).await? else {
                leases.wait(&self.key, LEASE_PERIOD).await?;
                continue;
            };
            let added = self.add_alone(stack, clock, names).await;
            // A lease that cannot be given up ends by itself.
            let _ = leases.release(&self.key, token).await;
            self.forget();
            return added;
        }
        let message = "others were adding rules all the time";
        Err(Error::new(ErrorKind::Overloaded, message).hint("try again"))
    }

    async fn add_alone(&self, stack: &Stack, clock: &dyn Clock, names: &[Arc<str>]) -> Result<()> {
        let lowest = &stack.tiers()[stack.tiers().len() - 1];
        let known = lowest.get(&self.key).await?.entry;
        let mut list = known.as_ref().and_then(decode).unwrap_or_else(List::empty);
        if list.rules.len() == RULES_MAX {
            list = List::empty();
        }
        list.rules.push(names.iter().map(ToString::to_string).collect());
        // Its version keeps a list away that an earlier owner of the lease wrote, and that comes
        // late.
        let before = known.and_then(|entry| entry.version).map_or(0, |version| version.0);
        let version = Version(clock.now().as_millis().max(before + 1));
        let mut put = self.put(&list, clock, Condition::Always);
        put.entry.version = Some(version);
        stack.replace(put).await
    }

    fn put(&self, list: &List, clock: &dyn Clock, condition: Condition) -> Put {
        let payload = serde_json::to_vec(list).expect("a list of texts has a JSON form");
        let entry = Entry::new(payload.into(), CODEC, clock.now(), Ttl::fresh(TTL_MAX));
        Put { key: self.key.clone(), entry, condition }
    }
}

impl List {
    fn empty() -> Self {
        Self { epoch: rand::rng().random_range(0..1 << 43), rules: Vec::new() }
    }

    /// The epoch and the length in one number.
    fn count(&self) -> u64 {
        (self.epoch << 20) | self.rules.len() as u64
    }

    fn applies(&self, seen: u64, tags: &Tags) -> bool {
        let seen_rules = usize::try_from(seen & ((1 << 20) - 1)).unwrap_or(usize::MAX);
        if seen >> 20 != self.epoch || seen_rules > self.rules.len() {
            return true;
        }
        let has = |name: &String| plain(tags).any(|mark| *mark.tag == **name);
        self.rules[seen_rules..].iter().any(|rule| rule.iter().all(has))
    }
}

fn decode(entry: &Entry) -> Option<List> {
    let list: Option<List> =
        (entry.codec == CODEC).then(|| serde_json::from_slice(&entry.payload).ok()).flatten();
    list.filter(|list| list.rules.len() <= RULES_MAX && list.epoch < 1 << 43)
}
