//! The operations, each on one connection of the pool.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cache_core::{
    Clock, Evictions, Key, Lookup, Namespace, Put, PutOutcome, Removal, Result, Timestamp, Usage,
    Version,
};
use tokio::sync::Notify;

use crate::{
    connection::{Connections, Session},
    error::Access,
    puts::{self, Plan, Round, millis, ordered},
    room::{self, Room},
    sql,
};

/// The tables behind a tier.
pub(crate) struct Store {
    pub(crate) connections: Connections,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fence_retention: Duration,
    pub(crate) payload_len_max: usize,
    pub(crate) sweep_batch: u32,
    /// The length of the records that were read lately, in bytes.
    pub(crate) record_len: AtomicUsize,
    /// Of keys in a batch.
    pub(crate) hasher: ahash::RandomState,
    /// Whether changes are told in the log.
    pub(crate) tell: bool,
    pub(crate) log_retention: Duration,
    pub(crate) log_len_max: u32,
    pub(crate) room: Room,
    /// Wakes [`wake`](crate::wake).
    pub(crate) changed: Notify,
}

/// A row of [`sql::GetMany`]: whether it is a floor, the key or the namespace, the mark, a record.
type Row = (bool, Vec<u8>, i64, Option<Vec<u8>>);

impl Store {
    /// One statement, whatever the number of keys.
    pub(crate) async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let mut session = self.connections.session().await?;
        if let [key] = keys {
            return Ok(vec![self.get(&mut session, key).await?]);
        }
        let namespaces: BTreeSet<&str> = keys.iter().map(Key::namespace).collect();
        let statement = sql::GetMany {
            keys: keys.iter().map(|key| key.encoded().into()).collect(),
            namespaces: namespaces.into_iter().map(str::to_owned).collect(),
        };
        let rows: Vec<Row> = session.load(Access::Read, statement).await?;
        drop(session);
        self.note_lengths(rows.iter().filter_map(|(.., record)| record.as_deref()));

        let mut floors: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut records: HashMap<Vec<u8>, (u64, Option<Bytes>), _> =
            HashMap::with_capacity_and_hasher(rows.len(), self.hasher.clone());
        for (is_floor, name, mark, record) in rows {
            if is_floor {
                floors.insert(name, mark_of(mark));
            } else {
                records.insert(name, (mark_of(mark), record.map(Bytes::from)));
            }
        }
        let now = self.clock.now();
        self.note_reads(
            records.iter().filter_map(|(key, row)| Some(&**row.1.as_ref().and(Some(key))?)),
            now,
        );
        let lookups = keys.iter().map(|key| {
            let floor = floors.get(key.namespace().as_bytes()).copied().unwrap_or(0);
            let row = records.get(key.encoded().as_bytes());
            self.lookup(row.map(|(mark, record)| (*mark, record.clone())), floor, now)
        });
        Ok(lookups.collect())
    }

    /// One statement for all inserts and one for all fills, unless keys repeat or the payloads are
    /// very large, or much of the room.
    pub(crate) async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut outcomes = Vec::with_capacity(puts.len());
        while outcomes.len() < puts.len() {
            let rest = &puts[outcomes.len()..];
            let part = &rest[..puts::within(rest, self.room.stride())];
            let done = self.put_part(part).await;
            outcomes
                .extend(done.map_err(|e| if outcomes.is_empty() { e } else { e.indeterminate() })?);
        }
        Ok(outcomes)
    }

    async fn put_part(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut plan = Plan::new(puts, self.payload_len_max);
        let rounds = std::mem::take(&mut plan.rounds);
        if rounds.is_empty() {
            return Ok(plan.outcomes);
        }
        self.wait_for_room().await;
        let mut session = self.connections.session().await?;
        let mut statements_done = 0;
        let mut written = room::Put::default();
        for round in &rounds {
            let size = puts::size(puts, &round.inserts);
            let filled = puts::size(puts, &round.fills);
            written.bytes += size.bytes + filled.bytes;
            written.rows += size.rows + filled.rows;
            let done = self.put_round(&mut session, puts, round, &mut plan, &mut statements_done);
            // What was done before stays done.
            done.await.map_err(|e| if statements_done > 0 { e.indeterminate() } else { e })?;
        }
        drop(session);
        // What was written is written; the next count includes it.
        if let Err(error) = self.wrote(written).await {
            tracing::debug!(%error, "could not count what was put");
        }
        Ok(plan.outcomes)
    }

    /// One statement. A key that occurs twice is removed once, at the newer version.
    pub(crate) async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        let mut versions: BTreeMap<&str, (&str, Option<Version>)> = BTreeMap::new();
        for Removal { key, version } in removals {
            let known = versions.entry(key.encoded()).or_insert((key.namespace(), None));
            known.1 = known.1.max(*version);
        }
        let now = millis(self.clock.now());
        let statement = sql::Remove {
            removed_at: now,
            retain_until: millis(self.retain_until()),
            keys: versions.keys().map(|key| (*key).into()).collect(),
            namespaces: versions.values().map(|(namespace, _)| (*namespace).to_owned()).collect(),
            versions: versions.values().map(|(_, version)| ordered(*version)).collect(),
            at: now,
            tell: self.tell,
        };
        let mut session = self.connections.session().await?;
        session.execute(Access::Write, statement).await?;
        drop(session);
        self.changed.notify_one();
        Ok(())
    }

    /// One statement, however much the namespace holds: its rows are dead from now on, and the
    /// sweeper deletes them.
    pub(crate) async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let mut session = self.connections.session().await?;
        let at = millis(self.clock.now());
        let statement =
            sql::Clear { namespace: namespace.as_str().to_owned(), at, tell: self.tell };
        session.execute(Access::Write, statement).await?;
        drop(session);
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        let mut session = self.connections.session().await?;
        session.load_one::<_, (i32,)>(Access::Read, sql::Ping {}).await.map(|_| ())
    }

    pub(crate) async fn usage(&self) -> Result<Usage> {
        let mut session = self.connections.session().await?;
        let (rows, bytes, for_bytes, for_entries, for_pressure): (f32, i64, i64, i64, i64) =
            session.load_one(Access::Read, sql::Usage {}).await?;
        let evicted = Evictions {
            bytes: for_bytes.unsigned_abs(),
            entries: for_entries.unsigned_abs(),
            pressure: for_pressure.unsigned_abs(),
        };
        Ok(Usage {
            entries: (rows >= 0.0).then_some(rows as u64),
            bytes: u64::try_from(bytes).ok(),
            bytes_max: self.room.bytes_max,
            evictions: Some(evicted.total()),
            evicted: Some(evicted),
        })
    }

    async fn get(&self, session: &mut Session, key: &Key) -> Result<Lookup> {
        let statement =
            sql::Get { namespace: key.namespace().to_owned(), key: key.encoded().into() };
        let (floor, mark, record): (i64, Option<i64>, Option<Vec<u8>>) =
            session.load_one(Access::Read, statement).await?;
        self.note_lengths(record.as_deref());
        if record.is_some() {
            self.note_reads([key.encoded().as_bytes()].into_iter(), self.clock.now());
        }
        let row = mark.map(|mark| (mark_of(mark), record.map(Bytes::from)));
        Ok(self.lookup(row, mark_of(floor), self.clock.now()))
    }

    /// Moves the length that the next records are expected to have an eighth of the way.
    fn note_lengths<'a>(&self, records: impl IntoIterator<Item = &'a [u8]>) {
        let (count, bytes) = records
            .into_iter()
            .fold((0_usize, 0_usize), |(count, bytes), record| (count + 1, bytes + record.len()));
        if let Some(len) = bytes.checked_div(count) {
            // Two that do this at once lose one of their notes, which does not matter.
            let before = self.record_len.load(Ordering::Relaxed);
            self.record_len.store((before * 7 + len) / 8, Ordering::Relaxed);
        }
    }

    /// What a row says, in a namespace that was last cleared at `floor`.
    fn lookup(&self, row: Option<(u64, Option<Bytes>)>, floor: u64, now: Timestamp) -> Lookup {
        match row {
            None => Lookup::absent(floor),
            Some((mark, None)) => Lookup::absent(mark.max(floor)),
            Some((mark, Some(record))) => {
                Lookup::from_record(&record, Some(mark), floor, now, self.payload_len_max)
            }
        }
    }

    /// Keys differ within a round, so the order of its statements does not matter.
    async fn put_round(
        &self,
        session: &mut Session,
        batch: &[Put],
        round: &Round,
        plan: &mut Plan,
        statements_done: &mut usize,
    ) -> Result<()> {
        let moves = self.room.ranking.moves_what_is_written();
        for positions in puts::statements(batch, &round.inserts) {
            let now = self.clock.now();
            let retain_until = now.after(self.fence_retention);
            let statement = plan.insert(batch, positions, retain_until, now, moves, self.tell);
            let keys = session.load(Access::Write, statement).await?;
            self.changed.notify_one();
            plan.stored(batch, positions, keys);
            *statements_done += 1;
        }
        for positions in puts::statements(batch, &round.fills) {
            let statement = puts::fill(batch, positions, self.clock.now(), moves);
            let keys = session.load(Access::Write, statement).await?;
            plan.stored(batch, positions, keys);
            *statements_done += 1;
        }
        Ok(())
    }

    pub(crate) fn retain_until(&self) -> Timestamp {
        self.clock.now().after(self.fence_retention)
    }
}

/// A mark as the server keeps it. It gives none below 0; a hand that wrote one gets the oldest.
pub(crate) fn mark_of(mark: i64) -> u64 {
    u64::try_from(mark).unwrap_or(0)
}
