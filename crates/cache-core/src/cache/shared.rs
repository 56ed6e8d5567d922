//! The state that a cache, its clones and its flights share.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::RwLock;
use tokio_util::task::TaskTracker;

use super::{
    cluster::Cluster,
    coherence::Coherence,
    flight::Copies,
    flights::Flights,
    hit::{Hit, Origin, Times},
    item::{Item, Storage, Terms},
    metrics::Metrics,
    near::{self, Near, NearFence, NearValue, Provenance},
    policy::{Dice, Policy},
    pressure::PressureWatches,
    request::Rule,
    studies::Studies,
    tag_book::TagBook,
};
use crate::{
    audit::Auditor,
    clock::{Clock, Timestamp},
    codec::Codec,
    entry::{CodecId, Entry, Ttl, Version},
    error::{Error, ErrorKind, Result},
    event::{Event, Events},
    key::{Key, Namespace},
    layers::Observed,
    load_limit::LoadLimit,
    stack::Stack,
    tags::{TAGS_MAX, TagMark, Tags},
    tier::PutOutcome,
    ttl_rule::TtlRule,
};

pub(super) struct Shared<V> {
    pub(super) namespace: Namespace,
    pub(super) codec: Arc<dyn Codec<V>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) near: Option<Near<V>>,
    pub(super) stack: Option<Arc<Stack>>,
    pub(super) tags: TagBook,
    /// The tiers of the stack as they are counted.
    pub(super) observed: Vec<Arc<Observed>>,
    pub(super) coherence: Coherence,
    /// Where processes take turns to load, if they do.
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) events: Events,
    /// Samples what the tiers hold, where that was asked for.
    pub(super) auditor: RwLock<Option<Auditor>>,
    /// Watches memory, where that was asked for.
    pub(super) pressure: PressureWatches,
    /// Hears of reads, where that was asked for.
    pub(super) studies: Studies,
    pub(super) flights: Flights<V>,
    pub(super) metrics: Metrics,
    pub(super) policy: Policy,
    pub(super) ttl_rule: Option<Arc<dyn TtlRule>>,
    pub(super) load_limit: LoadLimit,
    pub(super) dice: Dice,
    /// For how long every tier remembers its fences.
    pub(super) fence_retention: Duration,
    pub(super) payload_len_max: usize,
    /// Loads and writes under way. Closed by `shutdown`.
    pub(super) tasks: TaskTracker,
}

/// A value and its stored form.
pub(super) struct Prepared<V> {
    pub(super) value: Arc<V>,
    /// Without a payload, if the value was only measured.
    pub(super) entry: Entry,
    /// How long the payload is, or about how long it would be.
    pub(super) payload_len: usize,
}

/// What is made of a value that is inserted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A payload, for the tiers.
    Encoded,
    /// Nothing but how much it takes: there are no tiers.
    Measured,
}

/// What is known under a key: a value, or (nothing) that its source has none.
pub(super) type Kept<V> = Option<Arc<V>>;

/// How a value came to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// When its load began, or it was inserted.
    pub(super) at: Timestamp,
    /// What its load took.
    pub(super) cost: Duration,
}

impl Birth {
    /// The cost as an entry has it.
    pub(super) fn cost_us(&self) -> u32 {
        u32::try_from(self.cost.as_micros()).unwrap_or(u32::MAX)
    }
}

/// A look into the near tier.
pub(super) enum Glance<V> {
    Hit(Hit<V>),
    /// It remembers that the source has no value.
    Absent,
    Miss,
}

impl<V> Glance<V> {
    pub(super) fn into_hit(self) -> Option<Hit<V>> {
        match self {
            Self::Hit(hit) => Some(hit),
            Self::Absent | Self::Miss => None,
        }
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// The fast path: what the near tier has fresh.
    pub(super) fn near_fresh(&self, text: &str) -> Glance<V> {
        self.glance(text, NearValue::is_fresh)
    }

    /// What the near tier has that may be an answer to a read under `rule`: fresh, or of a
    /// staleness that the read is content with.
    pub(super) fn near_for(&self, text: &str, rule: &Rule) -> Glance<V> {
        match rule.copies {
            Copies::All => self.glance(text, |value, now| {
                value.is_fresh(now) || (rule.at_once.is_some() && value.value().is_some())
            }),
            Copies::Shared => Glance::Miss,
        }
    }

    fn glance(&self, text: &str, takes: impl Fn(&NearValue<V>, Timestamp) -> bool) -> Glance<V> {
        let Some(near) = self.near.as_ref() else { return Glance::Miss };
        let started = Metrics::near_started();
        let now = self.clock.now();
        let found = near.read(text, now, |value| {
            (takes(value, now) && self.may_serve(value, now)).then(|| value.to_hit(now))
        });
        let Some(hit) = found else {
            self.metrics.near_miss();
            return Glance::Miss;
        };
        self.metrics.near_hit(started);
        if started.is_some() {
            self.note_sampled_read(text);
        }
        self.note_near(text, hit.as_ref());
        match hit {
            Some(hit) => Glance::Hit(hit),
            None => {
                self.metrics.negatives.add(1);
                Glance::Absent
            }
        }
    }

    /// What the near tier still has, fresh or stale, if it may answer now.
    pub(super) fn near_any(&self, key: &Key) -> Option<NearValue<V>> {
        let now = self.clock.now();
        let value = self.near.as_ref()?.get(key.text(), now)?;
        self.may_serve(&value, now).then_some(value)
    }

    /// Whether a value of the near tier may be an answer, as far as other keys' and other processes'
    /// changes go.
    fn may_serve(&self, value: &NearValue<V>, now: Timestamp) -> bool {
        let is_live = || value.tagged().is_none_or(|tagged| self.tags.is_live(tagged));
        self.coherence.allows_near(now) && is_live()
    }

    /// To be read before any lower tier is asked.
    pub(super) fn near_fence(&self, key: &Key) -> Option<NearFence> {
        self.near.as_ref().map(|near| near.fence(key))
    }

    /// Keeps a value in the near tier, unless the key has moved since the fence was read.
    pub(super) fn near_fill(
        &self,
        key: &Key,
        kept: Kept<V>,
        entry: &Entry,
        near_fence: Option<NearFence>,
        provenance: Provenance,
    ) -> PutOutcome {
        let (Some(near), Some(near_fence)) = (&self.near, near_fence) else {
            return PutOutcome::Skipped;
        };
        let provenance = self.coherence.with_digest(provenance, entry);
        self.note_priority(near, key.text(), entry);
        near.fill(key, kept, entry, near_fence, provenance)
    }

    /// Tells once that priorities are for nothing in the near tier.
    pub(super) fn note_priority(&self, near: &Near<V>, text: &str, entry: &Entry) {
        if near.is_first_to_lose_its_priority(entry) {
            let change = "set `Builder::near_engine(NearEngine::Own)`, or another `near_eviction`";
            let key = format!("{}:{text}", self.namespace).into();
            self.events.emit(Event::PriorityIgnored { key, change: change.into() });
        }
    }

    /// Decodes a stored entry; nothing, and a count of it, when the codec cannot.
    pub(super) fn decode(&self, entry: &Entry) -> Option<Kept<V>> {
        let decoded = if entry.codec == CodecId::ABSENT {
            return Some(None);
        } else if entry.codec == self.codec.id() {
            self.codec.decode(&entry.payload)
        } else {
            Err(foreign(entry.codec, self.codec.id()))
        };
        decoded
            .map(|value| Some(Arc::new(value)))
            .inspect_err(|error| self.note_undecodable(error))
            .ok()
    }

    fn note_undecodable(&self, error: &Error) {
        self.metrics.undecodable.add(1);
        tracing::warn!(namespace = %self.namespace, %error, "a stored value could not be decoded");
    }

    /// Makes an item ready to be inserted: checks its time to live, and encodes or measures it.
    pub(super) fn prepare(&self, item: Item<V>, form: Form) -> Result<Prepared<V>> {
        let Item { value, terms } = item;
        if terms.storage == Storage::Refused {
            return Err(Error::new(ErrorKind::Config, "an item says `no_store`")
                .hint("do not insert it, or let it be stored"));
        }
        let ttl = terms.ttl(&self.policy, &self.dice)?;
        let (payload, payload_len) = match form {
            Form::Encoded => self.payload(&value)?,
            Form::Measured => (Bytes::new(), self.check_len(self.codec.measure(&value)?)?),
        };
        let entry = Entry {
            version: terms.version,
            tags: tags_of(&terms.tags)?,
            priority: terms.priority,
            ..Entry::new(payload, self.codec.id(), self.clock.now(), ttl)
        };
        Ok(Prepared { value: Arc::new(value), entry, payload_len })
    }

    /// The stored form of a value with the times of its item, or the cache's.
    pub(super) fn entry(&self, value: &V, terms: &Terms, birth: Birth) -> Result<Entry> {
        let ttl = terms.ttl(&self.policy, &self.dice)?;
        let entry = self.encode(value, ttl, terms.version, tags_of(&terms.tags)?, birth)?;
        Ok(entry.with_priority(terms.priority))
    }

    /// The stored form of a value.
    pub(super) fn encode(
        &self,
        value: &V,
        ttl: Ttl,
        version: Option<Version>,
        tags: Tags,
        birth: Birth,
    ) -> Result<Entry> {
        let (payload, _) = self.payload(value)?;
        Ok(Entry::new(payload, self.codec.id(), birth.at, ttl)
            .with_version(version)
            .with_load_cost(birth.cost)
            .with_tags(tags))
    }

    /// A value's payload, and its length.
    fn payload(&self, value: &V) -> Result<(Bytes, usize)> {
        let payload = self.codec.encode(value)?;
        let len = self.check_len(payload.len())?;
        Ok((payload, len))
    }

    fn check_len(&self, len: usize) -> Result<usize> {
        let max = self.payload_len_max;
        if len <= max {
            return Ok(len);
        }
        let message = format!("the encoded value of {len} bytes is above {max}");
        Err(Error::new(ErrorKind::TooLarge, message)
            .hint("cache a smaller value, or raise `payload_len_max`"))
    }

    /// A hit in the stack, as it is answered.
    pub(super) fn tier_hit(&self, level: usize, key: &Key, entry: &Entry, value: Arc<V>) -> Hit<V> {
        let name = Arc::clone(self.observed[level].name());
        let origin = Origin::Tier { level: level + 1, name };
        let (version, cost_us) = (entry.version, entry.load_cost_us);
        let hit = Hit::new(value, origin, Times::of(entry), version, cost_us, self.clock.now());
        hit.weighing(near::weight(key.text(), entry.payload.len()))
    }

    /// Carries `work` out to its end, whether or not the caller waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.check_open()?;
        let guarded = AssertUnwindSafe(work).catch_unwind();
        self.tasks
            .spawn(guarded)
            .await
            .unwrap_or_else(|e| Ok(Err(dropped(&e))))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a cache operation panicked")))
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.tasks.is_closed() {
            let message = format!("the cache `{}` has been shut down", self.namespace);
            return Err(Error::new(ErrorKind::Closed, message));
        }
        Ok(())
    }

    /// Whether reads are answered now.
    pub(super) fn check_read(&self) -> Result<()> {
        self.check_open()?;
        self.coherence.check_read(|| self.clock.now())
    }
}

/// The tags of these names, whose generations are yet to be found out.
pub(super) fn tags_of(names: &[Arc<str>]) -> Result<Tags> {
    if names.is_empty() {
        return Ok(Tags::none());
    }
    let mut marks: Vec<TagMark> = Vec::new();
    for tag in names {
        if marks.iter().all(|mark| mark.tag != *tag) {
            marks.push(TagMark { tag: Arc::clone(tag), generation: 0 });
        }
    }
    // One place is taken by the note on rules.
    if marks.len() >= TAGS_MAX {
        let message = format!("{} tags on one entry are above {}", marks.len(), TAGS_MAX - 1);
        return Err(Error::new(ErrorKind::TooLarge, message).hint("use fewer"));
    }
    Tags::new(marks)
}

/// Why a payload that another codec wrote is not read.
fn foreign(found: CodecId, own: CodecId) -> Error {
    if found == CodecId::LZ4 || found == CodecId::ZSTD {
        return Error::new(
            ErrorKind::Codec,
            "it is compressed, and its tier has no layer for that",
        )
        .hint("wrap the tier in `compress`, with `Compression::off()` to read only");
    }
    Error::new(ErrorKind::Codec, format!("written by codec {}, not {}", found.0, own.0))
}

fn dropped(e: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Closed, format!("the runtime ended during a cache operation: {e}"))
}
