//! The generations of a cache's tags.
//!
//! A tag's generation is a random number, kept as an entry of the cache's own tiers in a namespace
//! beside the cache's. Everything that holds for entries holds for it: it is promoted, its copies
//! in other processes are dropped when it changes, a tier that missed a change is not believed.
//! An entry is live while each of its tags has the generation that it had when the entry's load
//! began; so a generation that is lost, and made anew, kills and never resurrects.

mod rules;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;

use super::near::{Near, NearConfig, NearEngine, Provenance};
use crate::{
    clock::{Clock, Timestamp},
    entry::{CodecId, Entry, TTL_MAX, Ttl},
    error::Result,
    eviction::Eviction,
    fence::Fence,
    key::{Key, Namespace},
    stack::Stack,
    tags::{TagMark, Tags, generation_key, horizon_key},
    tier::{Condition, Put, PutOutcome, Removal, Tier},
};
use rules::Rules;

/// What wrote a tag's generation: eight bytes, big-endian.
const CODEC: CodecId = CodecId(4);

/// How much the generations that this process knows may take, and how long they are believed where
/// no log tells of changes.
const MEMO: NearConfig = NearConfig {
    bytes_max: 4 * 1024 * 1024,
    entries_max: None,
    ttl_max: Duration::from_secs(10),
    eviction: Eviction::S3Fifo,
    engine: NearEngine::Own,
    seed: None,
};

/// How long the horizon is used before it is read anew.
const HORIZON_TTL: Duration = Duration::from_secs(1);

/// How often a generation is looked for while others make it too.
const TRIES: usize = 3;

/// What this process knows of the tags of one cache.
pub(super) struct TagBook {
    stack: Arc<Stack>,
    clock: Arc<dyn Clock>,
    /// Of whose entries these are the tags.
    namespace: Namespace,
    /// Where every change of any tag leaves its mark.
    horizon: Key,
    memo: Near<u64>,
    rules: Rules,
    /// Grows with each change that is heard of: what was checked since need not be checked again.
    epoch: AtomicU64,
    known_horizon: Mutex<Option<Horizon>>,
    /// Whether an entry of this cache was ever seen to have tags.
    is_used: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Horizon {
    mark: u64,
    read_at: Timestamp,
}

/// The tags of a value in the near tier.
#[derive(Debug)]
pub(super) struct Tagged {
    tags: Tags,
    /// The epoch in which the tags were last found live.
    checked: AtomicU64,
}

/// What is known of an entry's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Live,
    Dead,
    /// A generation must be looked up first.
    Unknown,
}

/// What was known of tags when a load began.
#[derive(Debug, Default)]
pub(super) struct TagStart {
    /// The generations of the tags that the caller named.
    declared: Vec<TagMark>,
    /// Where changes of all other tags stood; nothing when tags were not in use.
    horizon: Option<u64>,
    rules: Option<u64>,
}

impl TagBook {
    /// Keeps the generations in `stack`.
    pub(super) fn new(
        namespace: &Namespace,
        stack: Arc<Stack>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Ok(Self {
            namespace: namespace.clone(),
            horizon: horizon_key(namespace),
            memo: Near::new(MEMO, Arc::clone(&clock)),
            rules: Rules::new(namespace.reserved("tagged").key("rules")?),
            epoch: AtomicU64::new(1),
            known_horizon: Mutex::new(None),
            is_used: AtomicBool::new(false),
            stack,
            clock,
        })
    }

    /// The namespaces of which this is to [`hear`](Self::hear).
    pub(super) fn owns(&self, key: &Key) -> bool {
        let purpose = key.namespace().strip_prefix(self.namespace.as_str());
        matches!(purpose, Some("~tags" | "~tagged"))
    }

    /// Learns that another process, or this one, has changed `key`.
    pub(super) fn hear(&self, key: &Key, mark: u64, digest: u32) {
        if *key == self.horizon {
            *self.known_horizon.lock() = None;
        } else if *key == *self.rules.key() {
            self.rules.forget();
        } else if !self.memo.hear(key, mark, digest) {
            return;
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives up everything that is known: changes may have been missed.
    pub(super) fn forget(&self) {
        self.memo.clear();
        self.rules.forget();
        *self.known_horizon.lock() = None;
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a value of the near tier is live, as far as this process knows.
    pub(super) fn is_live(&self, tagged: &Tagged) -> bool {
        // Read before the tags are checked: what changes meanwhile is checked once more.
        let epoch = self.epoch.load(Ordering::Acquire);
        if tagged.checked.load(Ordering::Acquire) == epoch {
            return true;
        }
        let live = self.check(&tagged.tags) == Verdict::Live;
        if live {
            tagged.checked.store(epoch, Ordering::Release);
        }
        live
    }

    /// Whether an entry with `tags` is live, by what this process knows.
    pub(super) fn check(&self, tags: &Tags) -> Verdict {
        if tags.is_empty() {
            return Verdict::Live;
        }
        self.note_use();
        let now = self.clock.now();
        let mut verdict = self.rules.check(tags);
        for TagMark { tag, generation } in rules::plain(tags) {
            match self.known(tag, now) {
                Some(known) if known == *generation => {}
                Some(_) => return Verdict::Dead,
                None if verdict == Verdict::Live => verdict = Verdict::Unknown,
                None => {}
            }
        }
        verdict
    }

    /// Looks up what is not known of `tags`. What cannot be found out stays unknown.
    pub(super) async fn learn(&self, tags: &[Tags]) {
        let plain = tags.iter().flat_map(rules::plain);
        let mut names: Vec<Arc<str>> = plain.map(|mark| Arc::clone(&mark.tag)).collect();
        names.sort_unstable();
        names.dedup();
        self.present(&names).await;
        if tags.iter().any(|tags| rules::plain(tags).count() < tags.marks().len()) {
            self.rules.read(&self.stack, &*self.clock).await;
        }
    }

    /// To be asked before a load begins, with the tags that its caller has named.
    pub(super) async fn start(&self, declared: &[Arc<str>]) -> TagStart {
        if !declared.is_empty() {
            self.note_use();
        }
        if !self.is_used.load(Ordering::Acquire) {
            return TagStart::default();
        }
        let generations = self.present(declared).await;
        let mark = |(tag, generation): (&Arc<str>, Option<u64>)| {
            Some(TagMark { tag: Arc::clone(tag), generation: generation? })
        };
        TagStart {
            declared: declared.iter().zip(generations).filter_map(mark).collect(),
            horizon: self.read_horizon().await,
            rules: self.rules.read(&self.stack, &*self.clock).await,
        }
    }

    /// The tags `names` with their generations as of `start`; nothing when one of them has changed
    /// since, or it cannot be found out: such a value is not kept.
    pub(super) async fn stamp(&self, start: &TagStart, names: &[Arc<str>]) -> Option<Tags> {
        if names.is_empty() {
            return Some(Tags::none());
        }
        self.note_use();
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let is_declared = |name: &Arc<str>| start.declared.iter().any(|mark| mark.tag == *name);
        let (known, other): (Vec<_>, Vec<_>) = names.into_iter().partition(is_declared);
        let mut marks: Vec<TagMark> =
            start.declared.iter().filter(|mark| known.contains(&mark.tag)).cloned().collect();
        if !other.is_empty() {
            let generations = self.unchanged_since(start.horizon?, &other).await?;
            let mark = |(tag, generation)| TagMark { tag, generation };
            marks.extend(other.into_iter().zip(generations).map(mark));
        }
        if marks.len() > 1 {
            marks.push(rules::mark(start.rules?));
        }
        Tags::new(marks).ok()
    }

    /// Gives up the generation of each of `names`: every entry that carries one of them is dead, and
    /// whoever needs it next makes another.
    ///
    /// A removal, because removals may come late and in any order. A new generation that reached an
    /// upper tier late would bring an older one back there.
    pub(super) async fn invalidate(&self, names: &[Arc<str>]) -> Result<()> {
        self.note_use();
        let keys: Result<Vec<Key>> =
            names.iter().map(|name| generation_key(&self.namespace, name)).collect();
        let mut removals: Vec<Removal> = keys?.into_iter().map(Removal::from).collect();
        // Last, so that its mark is above those of the tags.
        removals.push(Removal::from(self.horizon.clone()));
        let result = self.stack.remove_many(&removals).await;
        for Removal { key, .. } in &removals {
            self.memo.remove(key.text(), None);
        }
        *self.known_horizon.lock() = None;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        result
    }

    /// Has every entry that carries all of `names` dead.
    pub(super) async fn invalidate_all_of(&self, names: &[Arc<str>]) -> Result<()> {
        self.note_use();
        let result = self.rules.add(&self.stack, &*self.clock, names).await;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        result
    }

    fn known(&self, name: &str, now: Timestamp) -> Option<u64> {
        self.memo.get(name, now).and_then(|known| known.value().map(|value| **value))
    }

    fn note_use(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Release);
        }
    }

    /// The present generations of `names`, made where there is none; nothing for what cannot be
    /// found out.
    async fn present(&self, names: &[Arc<str>]) -> Vec<Option<u64>> {
        let now = self.clock.now();
        let known = |name: &Arc<str>| self.known(name, now);
        let mut generations: Vec<Option<u64>> = names.iter().map(known).collect();
        for _ in 0..TRIES {
            let open: Vec<usize> = (0..names.len()).filter(|&i| generations[i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            for (i, generation) in self.look_up(names, open).await {
                generations[i] = generation;
            }
        }
        generations
    }

    async fn look_up(&self, names: &[Arc<str>], open: Vec<usize>) -> Vec<(usize, Option<u64>)> {
        let keyed = |i: usize| generation_key(&self.namespace, &names[i]).ok().map(|key| (i, key));
        let (places, keys): (Vec<usize>, Vec<Key>) = open.into_iter().filter_map(keyed).unzip();
        let near_fences: Vec<_> = keys.iter().map(|key| self.memo.fence(key)).collect();
        let Ok(mut found) = self.stack.find_many(&keys, decode).await else { return Vec::new() };
        self.stack.promote(found.iter_mut().flat_map(|found| found.promotions.drain(..))).await;
        let mut generations = Vec::with_capacity(keys.len());
        for ((i, key), (near_fence, found)) in
            places.into_iter().zip(keys).zip(near_fences.into_iter().zip(found))
        {
            let generation = match found.hit {
                Some((_, entry, generation)) => {
                    let value = Some(Arc::new(generation));
                    self.memo.fill(&key, value, &entry, near_fence, Provenance::default());
                    Some(generation)
                }
                None => self.make(key, found.fence).await,
            };
            generations.push((i, generation));
        }
        generations
    }

    /// Makes a generation where the lowest tier is known to have none. It is not remembered: when
    /// two make one, that of the last is found next time, by both.
    async fn make(&self, key: Key, fence: Fence) -> Option<u64> {
        let lowest = self.stack.tiers().len() - 1;
        if fence.part(lowest) == Fence::unread() {
            return None;
        }
        let generation = random();
        let put = self.put(key, generation, Condition::Unmoved(fence));
        let (outcomes, _) = self.stack.put_up(&[put]).await;
        (outcomes == [PutOutcome::Stored]).then_some(generation)
    }

    /// The generations of `names`, if none of them has changed since `horizon`. Only the lowest
    /// tier is asked, which every change reaches first and whose marks can be compared.
    async fn unchanged_since(&self, horizon: u64, names: &[Arc<str>]) -> Option<Vec<u64>> {
        let keys: Vec<Key> = names
            .iter()
            .map(|name| generation_key(&self.namespace, name).ok())
            .collect::<Option<_>>()?;
        let lookups = self.lowest().get_many(&keys).await.ok()?;
        let mut generations = Vec::with_capacity(keys.len());
        for (key, lookup) in keys.into_iter().zip(lookups) {
            if lookup.fence.as_mark()? > horizon {
                return None;
            }
            let generation = match lookup.entry.as_ref().and_then(decode) {
                Some(generation) => generation,
                None => {
                    let mut fences = vec![Fence::unread(); self.stack.tiers().len() - 1];
                    fences.push(lookup.fence);
                    self.make(key, Fence::stack(fences)).await?
                }
            };
            generations.push(generation);
        }
        Some(generations)
    }

    /// A mark in the lowest tier that is not above that of any later change of a tag. One that was
    /// read a while ago will do: it only has more changes count as later than they are.
    async fn read_horizon(&self) -> Option<u64> {
        let now = self.clock.now();
        let known = *self.known_horizon.lock();
        if let Some(known) = known.filter(|known| now.since(known.read_at) < HORIZON_TTL) {
            return Some(known.mark);
        }
        let mut lookup = self.lowest().get(&self.horizon).await.ok()?;
        if lookup.entry.is_none() {
            // An entry keeps its mark for good; the mark of a missing one is forgotten in time.
            let put = self.put(self.horizon.clone(), random(), Condition::Always);
            self.lowest().put_many(&[put]).await.ok()?;
            lookup = self.lowest().get(&self.horizon).await.ok()?;
            lookup.entry.as_ref()?;
        }
        let mark = lookup.fence.as_mark()?;
        *self.known_horizon.lock() = Some(Horizon { mark, read_at: now });
        Some(mark)
    }

    fn lowest(&self) -> &Arc<dyn Tier> {
        &self.stack.tiers()[self.stack.tiers().len() - 1]
    }

    fn put(&self, key: Key, generation: u64, condition: Condition) -> Put {
        let payload = Bytes::copy_from_slice(&generation.to_be_bytes());
        let entry = Entry::new(payload, CODEC, self.clock.now(), Ttl::fresh(TTL_MAX));
        Put { key, entry, condition }
    }
}

/// The names that a caller gave, of an entry's tags.
pub(super) fn names(tags: &Tags) -> impl Iterator<Item = Arc<str>> {
    rules::plain(tags).map(|mark| Arc::clone(&mark.tag))
}

impl Tagged {
    pub(super) const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The tags of a value that is about to be kept; nothing when it has none.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let tagged = || Self { tags: entry.tags.clone(), checked: AtomicU64::new(0) };
        (!entry.tags.is_empty()).then(tagged)
    }
}

impl fmt::Debug for TagBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagBook").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn decode(entry: &Entry) -> Option<u64> {
    let bytes = (entry.codec == CODEC).then(|| entry.payload.first_chunk())??;
    Some(u64::from_be_bytes(*bytes))
}

/// Generations are never compared but for equality.
fn random() -> u64 {
    rand::rng().random()
}
