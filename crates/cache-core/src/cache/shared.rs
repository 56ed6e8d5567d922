//! The state that a cache, its clones and its flights share.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio_util::task::TaskTracker;

use super::{
    coherence::Coherence,
    flights::Flights,
    hit::{Hit, Origin},
    item::Item,
    metrics::Metrics,
    near::{Near, NearFence, NearValue},
};
use crate::{
    clock::Clock,
    codec::Codec,
    entry::{Entry, Ttl},
    error::{Error, ErrorKind, Result},
    event::Events,
    fence::Fence,
    key::{Key, Namespace},
    layers::Observed,
    stack::Stack,
};

pub(super) struct Shared<V> {
    pub(super) namespace: Namespace,
    pub(super) codec: Arc<dyn Codec<V>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) near: Option<Near<V>>,
    pub(super) stack: Option<Stack>,
    /// The tiers of the stack as they are counted.
    pub(super) observed: Vec<Arc<Observed>>,
    pub(super) coherence: Coherence,
    pub(super) events: Events,
    pub(super) flights: Flights<V>,
    pub(super) metrics: Metrics,
    pub(super) ttl: Ttl,
    pub(super) load_timeout: Duration,
    pub(super) payload_len_max: usize,
    /// Loads and writes under way. Closed by `shutdown`.
    pub(super) tasks: TaskTracker,
}

/// A value and its stored form.
pub(super) struct Prepared<V> {
    pub(super) value: Arc<V>,
    pub(super) entry: Entry,
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// The fast path: a fresh value of the near tier.
    pub(super) fn near_fresh(&self, text: &str) -> Option<Hit<V>> {
        let near = self.near.as_ref()?;
        let started = Metrics::near_started();
        let now = self.clock.now();
        let found = near.get(text, now).filter(|value| value.is_fresh(now));
        match found.filter(|_| self.coherence.allows_near(now)) {
            Some(value) => {
                self.metrics.near_hit(started);
                Some(value.into_hit(now))
            }
            None => {
                self.metrics.near_miss();
                None
            }
        }
    }

    /// What the near tier still has, fresh or stale.
    pub(super) fn near_any(&self, key: &Key) -> Option<NearValue<V>> {
        self.near.as_ref()?.get(key.text(), self.clock.now())
    }

    /// To be read before any lower tier is asked.
    pub(super) fn near_fence(&self, key: &Key) -> Option<NearFence> {
        self.near.as_ref().map(|near| near.fence(key))
    }

    /// Keeps a value in the near tier, unless the key has moved since the fence was read.
    pub(super) fn near_fill(
        &self,
        key: &Key,
        value: &Arc<V>,
        entry: &Entry,
        near_fence: Option<NearFence>,
        fence: &Fence,
    ) {
        if let (Some(near), Some(near_fence)) = (&self.near, near_fence) {
            let provenance = self.coherence.provenance(fence);
            near.fill(key, Arc::clone(value), entry, near_fence, provenance);
        }
    }

    /// Decodes a stored entry; nothing, and a count of it, when the codec cannot.
    pub(super) fn decode(&self, entry: &Entry) -> Option<Arc<V>> {
        let decoded = if entry.codec == self.codec.id() {
            self.codec.decode(&entry.payload)
        } else {
            let message = format!("written by codec {}, not {}", entry.codec.0, self.codec.id().0);
            Err(Error::new(ErrorKind::Codec, message))
        };
        decoded.map(Arc::new).inspect_err(|error| self.note_undecodable(error)).ok()
    }

    fn note_undecodable(&self, error: &Error) {
        self.metrics.undecodable.add(1);
        tracing::warn!(namespace = %self.namespace, %error, "a stored value could not be decoded");
    }

    /// Makes an item ready to be stored: checks its time to live and encodes it.
    pub(super) fn prepare(
        &self,
        item: Item<V>,
        load_cost: Duration,
    ) -> std::result::Result<Prepared<V>, (Arc<V>, Error)> {
        let (ttl, version) = (item.ttl_or(self.ttl), item.version);
        let value = Arc::new(item.value);
        let encoded = ttl.and_then(|ttl| Ok((ttl, self.codec.encode(&value)?)));
        match encoded {
            Ok((ttl, payload)) if payload.len() <= self.payload_len_max => {
                let entry = Entry::new(payload, self.codec.id(), self.clock.now(), ttl)
                    .with_version(version)
                    .with_load_cost(load_cost);
                Ok(Prepared { value, entry })
            }
            Ok((_, payload)) => {
                let (len, max) = (payload.len(), self.payload_len_max);
                let message = format!("the encoded value of {len} bytes is above {max}");
                Err((
                    value,
                    Error::new(ErrorKind::TooLarge, message)
                        .hint("cache a smaller value, or raise `payload_len_max`"),
                ))
            }
            Err(error) => Err((value, error)),
        }
    }

    /// A hit in the stack, as it is answered.
    pub(super) fn tier_hit(&self, level: usize, entry: &Entry, value: Arc<V>) -> Hit<V> {
        let now = self.clock.now();
        let name = Arc::clone(self.observed[level].name());
        Hit {
            value,
            origin: Origin::Tier { level: level + 1, name },
            age: now.since(entry.created_at),
            fresh_for: entry.fresh_until.since(now),
            version: entry.version,
        }
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

fn dropped(e: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Closed, format!("the runtime ended during a cache operation: {e}"))
}
