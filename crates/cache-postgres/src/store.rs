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
    Clock, Key, Lookup, Namespace, Put, PutOutcome, Removal, Result, Timestamp, Usage, Version,
};
use tokio::sync::Notify;

use crate::{
    connection::{Connections, Session},
    error::Access,
    puts::{self, Plan, Round, millis, ordered},
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
    /// Whether changes are told in the log.
    pub(crate) tell: bool,
    pub(crate) log_retention: Duration,
    pub(crate) log_len_max: u32,
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
        let mut records: HashMap<Vec<u8>, (u64, Option<Bytes>)> =
            HashMap::with_capacity(rows.len());
        for (is_floor, name, mark, record) in rows {
            if is_floor {
                floors.insert(name, mark_of(mark));
            } else {
                records.insert(name, (mark_of(mark), record.map(Bytes::from)));
            }
        }
        let now = self.clock.now();
        let lookups = keys.iter().map(|key| {
            let floor = floors.get(key.namespace().as_bytes()).copied().unwrap_or(0);
            let row = records.get(key.encoded().as_bytes());
            self.lookup(row.map(|(mark, record)| (*mark, record.clone())), floor, now)
        });
        Ok(lookups.collect())
    }

    /// One statement for all inserts and one for all fills, unless keys repeat or the payloads are
    /// very large.
    pub(crate) async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut plan = Plan::new(puts, self.payload_len_max);
        let rounds = std::mem::take(&mut plan.rounds);
        if rounds.is_empty() {
            return Ok(plan.outcomes);
        }
        let mut session = self.connections.session().await?;
        let mut statements_done = 0;
        for round in &rounds {
            let done = self.put_round(&mut session, puts, round, &mut plan, &mut statements_done);
            // What was done before stays done.
            done.await.map_err(|e| if statements_done > 0 { e.indeterminate() } else { e })?;
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
        let (rows, bytes): (f32, i64) = session.load_one(Access::Read, sql::Usage {}).await?;
        Ok(Usage {
            entries: (rows >= 0.0).then_some(rows as u64),
            bytes: u64::try_from(bytes).ok(),
            ..Usage::default()
        })
    }

    async fn get(&self, session: &mut Session, key: &Key) -> Result<Lookup> {
        let statement =
            sql::Get { namespace: key.namespace().to_owned(), key: key.encoded().into() };
        let (floor, mark, record): (i64, Option<i64>, Option<Vec<u8>>) =
            session.load_one(Access::Read, statement).await?;
        self.note_lengths(record.as_deref());
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
        for positions in puts::statements(batch, &round.inserts) {
            let now = self.clock.now();
            let retain_until = now.after(self.fence_retention);
            let statement = plan.insert(batch, positions, retain_until, now, self.tell);
            let keys = session.load(Access::Write, statement).await?;
            self.changed.notify_one();
            plan.stored(batch, positions, keys);
            *statements_done += 1;
        }
        for positions in puts::statements(batch, &round.fills) {
            let keys = session.load(Access::Write, puts::fill(batch, positions)).await?;
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
