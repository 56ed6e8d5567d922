//! What the tier asks of the server: reads and changes of records, in batches.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bb8_redis::redis::{self, Value};
use bytes::Bytes;
use cache_core::{
    Clock, Error, ErrorKind, Fence, Key, Lookup, Namespace, Put, PutOutcome, Removal, Result,
    TierInfo, Timestamp, wire,
};

use crate::{
    connection::Server,
    error::{Access, expect},
    layout::{Control, Layout},
    scripts,
    write::{self, Change, Circumstances},
};

/// The largest mark that a namespace starts with. It leaves room for more changes than there will
/// be.
const SEED_MAX: u64 = Fence::MARK_MAX - (1 << 40);

/// How far ahead of our clock a mark may be, in microseconds, and still be believed: a day. Other
/// nodes' clocks differ by less, and what is further ahead was not written by this cache.
const AHEAD_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// The records of one tier.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) info: TierInfo,
    pub(crate) layout: Layout,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) server: Arc<Server>,
    /// The largest mark that this tier has met, so that a Redis that lost its data starts above it
    /// even within the same millisecond.
    mark_met: AtomicU64,
}

impl Store {
    pub(crate) fn new(
        info: TierInfo,
        layout: Layout,
        clock: Arc<dyn Clock>,
        server: Arc<Server>,
    ) -> Self {
        Self { info, layout, clock, server, mark_met: AtomicU64::new(0) }
    }

    /// Looks up `keys` in one command, which sees them all as they are at one moment.
    pub(crate) async fn look_up(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        let mut namespaces = Vec::new();
        let mut places = Vec::with_capacity(keys.len());
        let mut known = HashMap::new();
        for namespace in keys.iter().map(Key::namespace) {
            // Nearly all batches are of one namespace.
            let place = match namespaces.last() {
                Some(last) if *last == namespace => namespaces.len() - 1,
                _ => *known.entry(namespace).or_insert_with(|| {
                    namespaces.push(namespace);
                    namespaces.len() - 1
                }),
            };
            places.push(place);
        }
        let (controls, records) = self.read(&namespaces, keys).await?;
        let controls = self.controls(&namespaces, &controls).await?;
        let now = self.clock.now();
        let found = places.into_iter().zip(records);
        Ok(found.map(|(place, record)| self.judge(controls[place], record, now)).collect())
    }

    /// Carries out `puts` in their order.
    pub(crate) async fn put(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut outcomes = vec![PutOutcome::Skipped; puts.len()];
        let (mut places, mut changes) = (Vec::new(), Vec::new());
        for (place, put) in puts.iter().enumerate() {
            match Change::put(put, self.info.payload_len_max) {
                Ok(change) => {
                    places.push(place);
                    changes.push(change);
                }
                Err(outcome) => outcomes[place] = outcome,
            }
        }
        for (place, outcome) in places.into_iter().zip(self.carry_out(&changes).await?) {
            outcomes[place] = outcome;
        }
        Ok(outcomes)
    }

    /// Carries out `removals` in their order.
    pub(crate) async fn remove(&self, removals: &[Removal]) -> Result<()> {
        let changes: Vec<Change<'_>> = removals.iter().map(Change::remove).collect();
        self.carry_out(&changes).await?;
        Ok(())
    }

    /// Carries out `changes` in their order, in as many calls as it takes.
    async fn carry_out(&self, changes: &[Change<'_>]) -> Result<Vec<PutOutcome>> {
        let circumstances = Circumstances {
            layout: &self.layout,
            info: &self.info,
            now: self.clock.now(),
            seed: self.seed(),
        };
        let mut outcomes = Vec::with_capacity(changes.len());
        for call in write::calls(changes) {
            let command = write::command(call, &circumstances);
            let answer = scripts::WRITE.run(&self.server, &command).await;
            let answer = answer.and_then(|answer| write::outcomes(call, answer));
            // Earlier calls of the batch have done their part.
            let partial = !outcomes.is_empty();
            outcomes.extend(answer.map_err(|e| if partial { e.indeterminate() } else { e })?);
        }
        Ok(outcomes)
    }

    pub(crate) async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let mut call = scripts::CLEAR.call(1);
        call.arg(self.layout.control(namespace.as_str())).arg(self.seed());
        scripts::CLEAR.run(&self.server, &call).await?;
        Ok(())
    }

    /// The content of the control keys of `namespaces`, and of the records of `keys`.
    async fn read(&self, namespaces: &[&str], keys: &[Key]) -> Result<(Vec<Value>, Vec<Value>)> {
        let mut command = redis::cmd("MGET");
        for namespace in namespaces {
            command.arg(self.layout.control(namespace));
        }
        for key in keys {
            command.arg(self.layout.record(key));
        }
        match self.server.query(&command, Access::Read).await? {
            Value::Array(mut contents) if contents.len() == namespaces.len() + keys.len() => {
                let records = contents.split_off(namespaces.len());
                Ok((contents, records))
            }
            _ => Err(Error::new(ErrorKind::Internal, "Redis answered MGET in another form")),
        }
    }

    /// Reads the content of control keys, and makes those that are missing. Nothing where they are
    /// missing and cannot be made.
    async fn controls(
        &self,
        namespaces: &[&str],
        contents: &[Value],
    ) -> Result<Vec<Option<Control>>> {
        let mut controls: Vec<_> = contents.iter().map(Control::parse).collect();
        if controls.iter().any(Option::is_none) {
            controls = self.make_controls(namespaces).await?;
        }
        for control in controls.iter().flatten() {
            self.meet(control.last);
        }
        Ok(controls)
    }

    async fn make_controls(&self, namespaces: &[&str]) -> Result<Vec<Option<Control>>> {
        let mut call = scripts::OPEN.call(namespaces.len());
        for namespace in namespaces {
            call.arg(self.layout.control(namespace));
        }
        call.arg(self.seed());
        match scripts::OPEN.run(&self.server, &call).await {
            Ok(answer) => {
                let contents: Vec<Value> = expect(answer)?;
                Ok(contents.iter().map(Control::parse).collect())
            }
            // A full server or a replica still answers reads, only there is nothing to be had.
            Err(error) if matches!(error.kind(), ErrorKind::Full | ErrorKind::ReadOnly) => {
                Ok(vec![None; namespaces.len()])
            }
            Err(error) => Err(error),
        }
    }

    /// What a record of a namespace with this `control` amounts to.
    fn judge(&self, control: Option<Control>, record: Value, now: Timestamp) -> Lookup {
        let Some(control) = control else {
            return Lookup { fence: Fence::unread(), ..Lookup::absent(0) };
        };
        let absent = Lookup::absent(control.floor);
        let Value::BulkString(bytes) = record else { return absent };
        let bytes = Bytes::from(bytes);
        let payload_len_max = self.info.payload_len_max;
        match wire::fence_mark(&bytes) {
            Some(mark) if !control.is_live(mark) => {
                Lookup { corrupt: wire::decode(&bytes, payload_len_max).err(), ..absent }
            }
            mark => Lookup::from_record(&bytes, mark, control.floor, now, payload_len_max),
        }
    }

    /// Where a namespace without a control key starts: above all marks that were given out before,
    /// since those were fewer than one a microsecond.
    fn seed(&self) -> u64 {
        self.clock_us().max(self.mark_met.load(Ordering::Relaxed) + 1).min(SEED_MAX)
    }

    fn meet(&self, mark: u64) {
        // Read first: all lookups share this word, and it seldom changes.
        if self.mark_met.load(Ordering::Relaxed) < mark && mark <= self.clock_us() + AHEAD_MAX {
            self.mark_met.fetch_max(mark, Ordering::Relaxed);
        }
    }

    fn clock_us(&self) -> u64 {
        self.clock.now().as_millis().saturating_mul(1_000).min(SEED_MAX)
    }
}
