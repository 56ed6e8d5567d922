//! The in-process tier of encoded entries, on moka.

mod record;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::RwLock;

use self::record::{MemoryRecord, OVERHEAD_BYTES};
use crate::{
    bus::{Author, Change, Log, MemoryLog, Notice},
    clock::Clock,
    engine::{Engine, EngineConfig, EvictionCounts, Terms},
    entry::{Entry, PAYLOAD_LEN_MAX, Version},
    error::{Error, ErrorKind, Result},
    eviction::Eviction,
    fence_table::FenceTable,
    key::{Key, Namespace},
    lease::{Leases, MemoryLeases},
    pressure::{Admission, Shrink, TierRoom, share},
    tier::{
        Condition, Durability, Lookup, Put, PutOutcome, Removal, Scope, Tier, TierInfo, Usage,
        check_batch,
    },
    units::ByteSize,
};

/// How many changes the log keeps.
const LOG_LEN_MAX: usize = 4_096;

/// The most namespaces with a quota.
const QUOTAS_MAX: usize = 32;

/// A tier in this process's memory, bounded in bytes and, if asked for, in entries.
///
/// The front's near tier keeps decoded values and is faster; this one keeps encoded entries, is a
/// [`Tier`] like any other, and stands in where a tier is wanted without a server. Caches of one
/// process that share it hear of each other's changes through its [`log`](Tier::log), which keeps
/// the last 4,096 of them and costs nothing before somebody asks for it.
pub struct MemoryTier {
    info: TierInfo,
    clock: Arc<dyn Clock>,
    config: EngineConfig,
    records: Engine<MemoryRecord>,
    /// The namespaces that have a quota: the group of the first is 1.
    quotas: Vec<Namespace>,
    fences: FenceTable,
    /// The marks at which namespaces were last cleared. Records below are dead.
    floors: RwLock<HashMap<String, u64>>,
    /// Nothing until somebody asks for it: before that there is nobody to tell.
    log: OnceLock<Arc<MemoryLog>>,
    /// Whether everything that changes is told to the log.
    log_complete: Once,
    leases: Arc<MemoryLeases>,
    admission: Admission,
}

impl MemoryTier {
    /// A tier that holds at most `bytes_max`, keys and bookkeeping included.
    #[must_use]
    pub fn new(bytes_max: ByteSize, clock: Arc<dyn Clock>) -> Self {
        let config = EngineConfig {
            capacity: bytes_max.as_u64(),
            entries_max: None,
            eviction: Eviction::default(),
            quotas: Vec::new(),
            seed: None,
        };
        Self {
            info: TierInfo {
                name: "memory".into(),
                scope: Scope::Process,
                durability: Durability::Volatile,
                fence_retention: Duration::MAX,
                payload_len_max: PAYLOAD_LEN_MAX,
                patience: None,
            },
            clock,
            records: Engine::new(&config),
            config,
            quotas: Vec::new(),
            fences: FenceTable::new(),
            floors: RwLock::new(HashMap::new()),
            log: OnceLock::new(),
            log_complete: Once::new(),
            leases: Arc::new(MemoryLeases::new()),
            admission: Admission::default(),
        }
    }

    /// The same, ready to be put into a stack.
    #[must_use]
    pub fn shared(bytes_max: ByteSize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self::new(bytes_max, clock))
    }

    /// The same tier, empty, under another policy of eviction.
    #[must_use]
    pub fn with_eviction(self, eviction: Eviction) -> Self {
        self.rebuilt(|config| config.eviction = eviction)
    }

    /// The same tier, empty, with at most so many entries, tombstones included.
    #[must_use]
    pub fn with_entries_max(self, entries_max: u64) -> Self {
        self.rebuilt(|config| config.entries_max = Some(entries_max))
    }

    /// The same tier, empty, with a share of its room guaranteed to `namespace`, where several
    /// caches share it.
    ///
    /// A namespace may hold more while there is room; when there is none, those above their quotas
    /// give way first, and those without one count as above theirs. So what others do evicts nothing
    /// of a namespace that is within its quota.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when all quotas together are above the tier's room, the namespace has
    /// one already, or there are more than 32.
    pub fn with_quota(mut self, namespace: &Namespace, quota: ByteSize) -> Result<Self> {
        let sum = self.config.quotas.iter().sum::<u64>().saturating_add(quota.as_u64());
        let fault = if self.quotas.contains(namespace) {
            "it has one already".to_owned()
        } else if self.quotas.len() == QUOTAS_MAX {
            format!("there are {QUOTAS_MAX} already")
        } else if sum > self.config.capacity {
            let capacity = self.config.capacity;
            format!("all quotas together would be {sum} bytes, and the tier has {capacity}")
        } else {
            self.quotas.push(namespace.clone());
            return Ok(self.rebuilt(|config| config.quotas.push(quota.as_u64())));
        };
        let message = format!("`{namespace}` cannot have a quota of {quota}: {fault}");
        Err(Error::new(ErrorKind::Config, message).hint("lower the quotas, or enlarge the tier"))
    }

    fn rebuilt(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.config);
        self.records = Engine::new(&self.config);
        self
    }

    /// How many entries went without having been removed, and why.
    #[must_use]
    pub fn evictions(&self) -> EvictionCounts {
        self.records.counts()
    }

    /// The tier's log as what it is, for tests that trim it or lose it. Whoever has asked for it is
    /// told of changes from then on.
    #[must_use]
    pub fn memory_log(&self) -> &Arc<MemoryLog> {
        let log = self.log.get_or_init(|| {
            Arc::new(MemoryLog::new(&self.info.name, LOG_LEN_MAX, Arc::clone(&self.clock)))
        });
        // A change that began before there was a log must not end, untold, after a reader has asked
        // for the log's end.
        self.log_complete.call_once(|| {
            drop(self.floors.write());
            self.fences.settle();
        });
        log
    }

    /// The tier's leases as what they are, for tests that lose them.
    #[must_use]
    pub fn memory_leases(&self) -> &Arc<MemoryLeases> {
        &self.leases
    }

    /// The same tier under another name, where a stack has two.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.info.name = name.into();
        self
    }

    /// The same tier, which says of itself that others share it and that it keeps what it has: in
    /// tests it stands in for a server.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn as_server(mut self) -> Self {
        self.info.scope = Scope::Network;
        self.info.durability = Durability::Relaxed;
        self
    }

    fn look_up(&self, key: &Key) -> Lookup {
        // The fence is read first: if the key moves in between, the older fence only makes a fill
        // fail that might have been allowed.
        let floor = self.floor(key.namespace());
        let absent = Lookup::absent(self.fences.read(key.encoded()).max(floor));
        let now = self.clock.now();
        let live = |record: &MemoryRecord| {
            let is_live = record.mark >= floor && now < record.expires_at();
            if is_live { record.entry.clone() } else { None }
        };
        let entry = self.records.get(self.hash(key), |record| record.key == *key, live);
        Lookup { entry, ..absent }
    }

    fn put(&self, put: &Put) -> PutOutcome {
        let Put { key, entry, condition } = put;
        match condition {
            Condition::Always => self.fences.advance(key.encoded(), |mark| {
                let outcome = self.store(put, mark);
                match outcome {
                    PutOutcome::Stored => self.note_key(key, mark, || entry.digest()),
                    // The old value has gone.
                    PutOutcome::TooLarge => self.note_key(key, mark, || 0),
                    PutOutcome::Superseded | PutOutcome::Skipped => {}
                }
                outcome
            }),
            Condition::Unmoved(fence) => {
                let Some(seen) = fence.as_mark() else { return PutOutcome::Skipped };
                if !self.admission.admits(|| self.is_new(key)) {
                    return PutOutcome::Skipped;
                }
                if self.floor(key.namespace()) > seen {
                    return PutOutcome::Superseded;
                }
                // A clear between the check above and the store raises the floor above `seen`, the
                // record's mark: it is dead on arrival.
                self.fences
                    .unmoved(key.encoded(), seen, || {
                        if self.fits(key, entry) {
                            self.store(put, seen)
                        } else {
                            PutOutcome::TooLarge
                        }
                    })
                    .unwrap_or(PutOutcome::Superseded)
            }
        }
    }

    /// Writes under the key's stripe lock.
    fn store(&self, Put { key, entry, .. }: &Put, mark: u64) -> PutOutcome {
        if entry.is_older_than(self.known_version(key)) {
            return PutOutcome::Superseded;
        }
        if !self.fits(key, entry) {
            self.drop_record(key);
            return PutOutcome::TooLarge;
        }
        if self.keep(MemoryRecord::value(key, mark, entry)) {
            PutOutcome::Stored
        } else {
            PutOutcome::TooLarge
        }
    }

    fn remove(&self, Removal { key, version }: &Removal) {
        self.fences.advance(key.encoded(), |mark| {
            let version = self.known_version(key).max(*version);
            match version {
                Some(version) => {
                    let now = self.clock.now();
                    self.keep(MemoryRecord::tombstone(key, mark, version, now));
                }
                None => self.drop_record(key),
            }
            self.note_key(key, mark, || 0);
        });
    }

    /// Tells the log, if there is one, of a change of `key`. Under the key's stripe lock.
    fn note_key(&self, key: &Key, mark: u64, digest: impl FnOnce() -> u32) {
        if let Some(log) = self.log.get() {
            log.append(self.notice(Change::Key(key.clone()), mark, digest()));
        }
    }

    fn notice(&self, change: Change, mark: u64, digest: u32) -> Notice {
        Notice { change, mark, at: self.clock.now(), author: Author::Cache, digest }
    }

    /// The newest version that the key is known to have had since the last clear.
    fn known_version(&self, key: &Key) -> Option<Version> {
        let (floor, now) = (self.floor(key.namespace()), self.clock.now());
        let known = |record: &MemoryRecord| {
            let counts = record.mark >= floor && now < record.reclaim_at();
            if counts { record.version } else { None }
        };
        self.records.peek(self.hash(key), |record| record.key == *key, known).flatten()
    }

    fn is_new(&self, key: &Key) -> bool {
        self.records.peek(self.hash(key), |record| record.key == *key, |_| ()).is_none()
    }

    /// Puts a record in the place of the one of its key; answers whether there can be room for it.
    fn keep(&self, record: MemoryRecord) -> bool {
        let key = record.key.clone();
        let terms = Terms {
            weight: record.weight(),
            expires_at: record.expires_at(),
            reclaim_at: record.reclaim_at(),
            priority: record.priority(),
            group: self.group(key.namespace()),
        };
        let (hash, now) = (self.hash(&key), self.clock.now());
        self.records.insert(hash, |other| other.key == key, record, terms, now)
    }

    fn drop_record(&self, key: &Key) {
        self.records.remove(self.hash(key), |record| record.key == *key);
    }

    fn hash(&self, key: &Key) -> u64 {
        self.records.hash(key.encoded().as_bytes())
    }

    fn group(&self, namespace: &str) -> usize {
        let place = self.quotas.iter().position(|quota| quota.as_str() == namespace);
        place.map_or(0, |place| place + 1)
    }

    fn fits(&self, key: &Key, entry: &Entry) -> bool {
        let weight = key.encoded().len() + entry.payload.len() + OVERHEAD_BYTES;
        entry.payload.len() <= self.info.payload_len_max && weight as u64 <= self.config.capacity
    }

    fn floor(&self, namespace: &str) -> u64 {
        self.floors.read().get(namespace).copied().unwrap_or(0)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for MemoryTier {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        Ok(self.look_up(key))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        Ok(keys.iter().map(|key| self.look_up(key)).collect())
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        check_batch(puts.len())?;
        Ok(puts.iter().map(|put| self.put(put)).collect())
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        check_batch(removals.len())?;
        removals.iter().for_each(|removal| self.remove(removal));
        Ok(())
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let mut floors = self.floors.write();
        let floor = self.fences.next();
        floors.insert(namespace.as_str().to_owned(), floor);
        if let Some(log) = self.log.get() {
            log.append(self.notice(Change::Clear(namespace.clone()), floor, 0));
        }
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn usage(&self) -> Result<Usage> {
        self.records.sweep(self.clock.now());
        let counts = self.records.counts();
        Ok(Usage {
            entries: Some(self.records.len()),
            bytes: Some(self.records.weight()),
            bytes_max: Some(self.config.capacity),
            evictions: Some(counts.evicted()),
            evicted: Some(counts.by_bound()),
        })
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::clone(self.memory_log()) as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::clone(&self.leases) as Arc<dyn Leases>)
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        Some(TierRoom::shrunk_by(self))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTier").field("config", &self.config).finish_non_exhaustive()
    }
}

/// In this process's memory a tier can be made smaller at once.
#[async_trait]
impl Shrink for MemoryTier {
    async fn shrink_to(&self, fraction: f64) -> Result<u64> {
        self.admission.shrunk_to(fraction);
        Ok(self.records.resize(share(self.config.capacity, fraction), self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        ManualClock,
        entry::{CodecId, Ttl},
        fence::Fence,
        tier::TierExt,
    };

    #[tokio::test]
    async fn the_bytes_stay_within_the_bound() {
        let clock = ManualClock::new();
        let tier = MemoryTier::new(ByteSize::kib(64), Arc::new(clock.clone()));
        let namespace = Namespace::new("n").unwrap();
        for i in 0..1_000 {
            let key = namespace.key(&format!("k{i}")).unwrap();
            let entry = Entry::new(
                Bytes::from(vec![0; 1_000]),
                CodecId(3),
                clock.now(),
                Ttl::fresh(Duration::from_secs(60)),
            );
            tier.put(&Put { key, entry, condition: Condition::Always });
        }
        let usage = tier.usage().await.unwrap();
        assert!(usage.bytes.unwrap() <= 64 * 1024, "{usage:?}");
        assert!(usage.evictions.unwrap() > 900, "{usage:?}");
    }

    #[tokio::test]
    async fn an_insert_that_does_not_fit_removes_the_old_value() {
        let clock = ManualClock::new();
        let tier = MemoryTier::new(ByteSize::kib(4), Arc::new(clock.clone()));
        let key = Namespace::new("n").unwrap().key("k").unwrap();
        let entry = |len| {
            let ttl = Ttl::fresh(Duration::from_secs(60));
            Entry::new(Bytes::from(vec![0; len]), CodecId(3), clock.now(), ttl)
        };
        assert_eq!(TierExt::put(&tier, key.clone(), entry(10)).await.unwrap(), PutOutcome::Stored);
        let before = tier.look_up(&key).fence.as_mark();
        let outcome = TierExt::put(&tier, key.clone(), entry(5_000)).await.unwrap();
        assert_eq!(outcome, PutOutcome::TooLarge);
        assert_eq!(tier.look_up(&key).entry, None);
        assert!(tier.look_up(&key).fence.as_mark() > before);
        let late = tier.fill(key, entry(10), Fence::mark(before.unwrap())).await.unwrap();
        assert_eq!(late, PutOutcome::Superseded);
    }
}
