//! What a node does all the time, and what it does when it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use cache_core::{Cache, Hit, Item, LoadError, Origin, Version};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, time::sleep};

use super::super::{
    history::{Act, Line, Place, Record},
    moment::now_us,
};
use super::{
    Journal, Load, Service, Settings, Value,
    table::{self, End, SQL},
};

/// Shared keys that any node invalidates. Those with an even number have versions.
const SHARED_KEYS: u32 = 60;
/// Keys for inserts, of each node: a key's inserts must not overlap, and so have one writer.
const OWN_KEYS: usize = 5;
/// Keys with a tag, which are invalidated by it and not by themselves.
const TAGS: u64 = 4;
const KEYS_OF_TAG: u64 = 3;
/// Keys that nobody changes, to see whether L1 answers.
const PROBE_KEYS: u32 = 3;
const READERS: u64 = 4;
const WRITERS: u64 = 2;

/// The tasks of a node. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct Workload(Arc<Inner>);

struct Inner {
    service: Service,
    journal: Journal,
    node: usize,
    nodes: usize,
    load: Load,
    /// Tells the tasks to end.
    running: watch::Sender<bool>,
    cold_keys: AtomicU64,
}

impl Workload {
    pub(super) fn new(service: Service, journal: Journal, settings: &Settings) -> Self {
        let Settings { node, nodes, load, .. } = *settings;
        let (running, cold_keys) = (watch::Sender::new(true), AtomicU64::new(0));
        Self(Arc::new(Inner { service, journal, node, nodes, load, running, cold_keys }))
    }

    /// Begins the readers and writers.
    pub(super) fn begin(&self) {
        if self.0.load == Load::None {
            return;
        }
        let ms = Duration::from_millis;
        for reader in 0..READERS {
            self.repeat(ms(1), reader, |this, rng| async move {
                let key = this.any_key(rng);
                this.read_as(Act::Read, &key).await;
            });
        }
        for writer in 0..WRITERS {
            self.repeat(ms(15), 100 + writer, move |this, rng| async move {
                match (writer, rng % 4) {
                    (0, 0) => {
                        let key = own_key(this.0.node, (rng >> 8) as usize % OWN_KEYS);
                        this.insert(&key).await;
                    }
                    (0, 1) => this.invalidate_tag((rng >> 8) % TAGS).await,
                    _ => this.invalidate(&shared_key(rng)).await,
                }
            });
        }
        self.repeat(ms(2), 200, |this, _| async move { this.read_as(Act::Hot, "hot").await });
        self.repeat(ms(4), 201, |this, rng| async move {
            let probe = format!("probe-{}", rng % u64::from(PROBE_KEYS));
            this.read_as(Act::Below, &probe).await;
            let key = this.any_key(rng / 7);
            this.read_as(Act::Below, &key).await;
        });
        self.repeat(ms(10), 202, |this, _| async move {
            let number = this.0.cold_keys.fetch_add(1, Ordering::Relaxed);
            // Of this process, so that a node that was started again has keys of its own.
            let key = format!("cold-{}-{}-{number}", this.0.node, std::process::id());
            this.read_as(Act::Cold, &key).await;
        });
    }

    /// Has the tasks end after what they are doing.
    pub(super) fn end(&self) {
        self.0.running.send_replace(false);
    }

    /// Does `step` again and again, with a random number and a pause in between.
    fn repeat<F, Fut>(&self, pause: Duration, seed: u64, step: F)
    where
        F: Fn(Self, u64) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let (this, mut running) = (self.clone(), self.0.running.subscribe());
        let mut rng = SmallRng::seed_from_u64(seed ^ ((self.0.node as u64) << 32));
        tokio::spawn(async move {
            while *running.borrow_and_update() {
                step(this.clone(), rng.random()).await;
                sleep(pause).await;
            }
        });
    }

    fn any_key(&self, random: u64) -> String {
        let (node, number) = ((random >> 8) as usize, (random >> 16) as usize);
        match random % 4 {
            0 => own_key(node % self.0.nodes, number % OWN_KEYS),
            1 => tagged_key((random >> 8) % TAGS, (random >> 16) % KEYS_OF_TAG),
            _ => shared_key(random >> 8),
        }
    }

    pub(super) async fn read(&self, key: &str) {
        self.read_as(Act::Read, key).await;
    }

    async fn read_as(&self, act: Act, key: &str) {
        let load_us = Arc::new(AtomicU64::new(0));
        let cache = if act == Act::Below { &self.0.service.below } else { &self.0.service.cache };
        let begin_us = now_us();
        let answer = self.get_or_load(cache, key, &load_us).await;
        let end_us = now_us();
        let mut record = Record {
            act,
            key: key.to_owned(),
            version: None,
            begin_us,
            end_us,
            place: None,
            stale: false,
            load_us: load_us.load(Ordering::Relaxed),
            error: None,
        };
        match answer {
            Ok(hit) => {
                // Another key's value is a version that nobody wrote.
                let version = if hit.key == key { hit.version } else { u64::MAX };
                record.version = Some(version);
                record.stale = hit.is_stale();
                record.place = Some(match hit.origin() {
                    Origin::Near => Place::Near,
                    Origin::Tier { level: 1, .. } => Place::Redis,
                    Origin::Tier { .. } => Place::Postgres,
                    _ => Place::Load,
                });
            }
            Err(error) => record.error = Some(error.to_string()),
        }
        self.0.journal.write(Line::Did(record));
    }

    async fn get_or_load(
        &self,
        cache: &Cache<Value>,
        key: &str,
        load_us: &Arc<AtomicU64>,
    ) -> Result<Hit<Value>, LoadError<anyhow::Error>> {
        let (source, load_us) = (Arc::clone(&self.0.service.source), Arc::clone(load_us));
        let (asked, url) = (key.to_owned(), self.0.service.postgres_url.clone());
        let load = move || async move {
            let begin_us = now_us();
            let version = match asked.starts_with(SQL) {
                true => table::load(&url, &asked).await?,
                false => source.load(&asked).await?,
            };
            load_us.store(now_us() - begin_us, Ordering::Relaxed);
            anyhow::Ok(item(asked, version))
        };
        match tag_of(key) {
            Some(tag) => {
                let read = cache.read(key).tags([tag]).load(|_| load()).await?;
                Ok(read.expect("the source has a version of every key"))
            }
            None => cache.get_or_load(key, load).await,
        }
    }

    /// Writes the source, then tells the cache.
    pub(super) async fn invalidate(&self, key: &str) {
        let Ok(version) = self.0.service.source.write(key).await else { return };
        let begin_us = now_us();
        let done = self.0.service.cache.invalidate(key).await;
        self.wrote(Act::Invalidate, key, version, begin_us, done.err());
    }

    /// Writes every key of a tag at the source, then tells the cache of the tag.
    async fn invalidate_tag(&self, tag: u64) {
        let mut written = Vec::new();
        for number in 0..KEYS_OF_TAG {
            let key = tagged_key(tag, number);
            let Ok(version) = self.0.service.source.write(&key).await else { return };
            written.push((key, version));
        }
        let begin_us = now_us();
        let error = self.0.service.cache.invalidate_tag(&format!("tag-{tag}")).await.err();
        for (key, version) in written {
            self.wrote(Act::Invalidate, &key, version, begin_us, error.clone());
        }
    }

    /// Changes the source that is a table, as a program does that knows no cache but its SQL.
    pub(super) async fn change(&self, key: &str, end: End) -> Result<()> {
        let Service { cache, postgres_url, .. } = &self.0.service;
        table::change(postgres_url, cache.namespace().as_str(), key, end).await
    }

    /// Writes the source, then gives the cache the new value.
    pub(super) async fn insert(&self, key: &str) {
        let Ok(version) = self.0.service.source.write(key).await else { return };
        let begin_us = now_us();
        let done = self.0.service.cache.insert(key, item(key.to_owned(), version)).await;
        self.wrote(Act::Insert, key, version, begin_us, done.err());
    }

    fn wrote(
        &self,
        act: Act,
        key: &str,
        version: u64,
        begin_us: u64,
        error: Option<cache_core::Error>,
    ) {
        self.0.journal.write(Line::Did(Record {
            act,
            key: key.to_owned(),
            version: Some(version),
            begin_us,
            end_us: now_us(),
            place: None,
            stale: false,
            load_us: 0,
            error: error.map(|error| error.to_string()),
        }));
    }

    /// Has so many callers ask for one key at the same moment; tells how many were answered.
    pub(super) async fn storm(&self, key: &str, callers: usize) -> String {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (this, key) = (self.clone(), key.to_owned());
            tasks.spawn(async move {
                let load_us = Arc::new(AtomicU64::new(0));
                this.get_or_load(&this.0.service.cache, &key, &load_us).await.is_ok()
            });
        }
        let answered = tasks.join_all().await.into_iter().filter(|answered| *answered).count();
        answered.to_string()
    }

    /// Looks at the near tier without a pause until the change to `version` is seen there: the old
    /// value is gone, or the new one is there. Tells when that was.
    pub(super) async fn watch(&self, key: &str, version: u64) {
        while self.0.service.cache.peek(key).is_some_and(|hit| hit.version < version) {
            // Shorter than a timer's tick, and others get their turn.
            tokio::task::yield_now().await;
        }
        self.0.journal.write(Line::Answer(now_us().to_string()));
    }

    /// What the cache counted: for a person who wants to know why.
    pub(super) async fn counts(&self) -> Vec<(String, u64)> {
        let stats = self.0.service.cache.stats().await;
        let mut counts = vec![
            ("loads".to_owned(), stats.loads),
            ("superseded_fills".to_owned(), stats.superseded_fills),
            ("stale_served".to_owned(), stats.stale_served),
            ("undecodable".to_owned(), stats.undecodable),
        ];
        let events = self.0.service.events.counts().into_iter();
        counts.extend(events.map(|(name, count)| (name.to_owned(), count)));
        counts.retain(|(_, count)| *count > 0);
        counts
    }
}

/// Half of the keys have versions: they are protected twice, and the others show the fences alone.
fn item(key: String, version: u64) -> Item<Value> {
    let has_version = key.ends_with(['0', '2', '4', '6', '8']);
    let item = Item::new(Value { key, version });
    if has_version { item.version(Version(version)) } else { item }
}

fn shared_key(random: u64) -> String {
    // The product of two: some keys are read far more often than others.
    let half = |bits: u64| (bits & 0xffff) as f64 / f64::from(0x1_0000);
    let place = half(random) * half(random >> 16);
    format!("key-{}", (place * f64::from(SHARED_KEYS)) as u32)
}

fn tagged_key(tag: u64, number: u64) -> String {
    format!("tag-{tag}-{number}")
}

/// `tag-2` of `tag-2-0`.
fn tag_of(key: &str) -> Option<&str> {
    key.strip_prefix("tag-")?;
    Some(key.rsplit_once('-')?.0)
}

fn own_key(node: usize, number: usize) -> String {
    format!("own-{node}-{number}")
}
