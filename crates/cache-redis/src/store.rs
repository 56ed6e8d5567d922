//! What the tier asks of the server: reads and changes of records, in batches.

use std::{collections::HashMap, sync::Arc};

use bb8_redis::redis::{self, Cmd, RedisWrite, Value};
use bytes::Bytes;
use cache_core::{
    Clock, Error, ErrorKind, Fence, Key, Lookup, Namespace, Put, PutOutcome, Removal, Result,
    TierInfo, Timestamp, wire,
};

use crate::{
    connection::Server,
    error::{Access, expect},
    layout::{Control, Layout},
    log::{Scribe, write_name},
    marks::Marks,
    scripts::{self, Script},
    tracker::Tracker,
    write::{self, Answer, Change, Circumstances, Left},
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
    scribe: Scribe,
    marks: Marks,
    /// Nothing where the server evicts.
    pub(crate) tracker: Option<Tracker>,
}

impl Store {
    pub(crate) fn new(
        info: TierInfo,
        layout: Layout,
        clock: Arc<dyn Clock>,
        server: Arc<Server>,
        scribe: Scribe,
        tracker: Option<Tracker>,
    ) -> Self {
        Self { info, layout, clock, server, scribe, marks: Marks::default(), tracker }
    }

    /// Looks up `keys` in one command, which sees them all as they are at one moment.
    pub(crate) async fn look_up(&self, keys: &[&Key]) -> Result<Vec<Lookup>> {
        let mut namespaces = Vec::new();
        let mut places = Vec::with_capacity(keys.len());
        let mut known = HashMap::new();
        for namespace in keys.iter().map(|key| key.namespace()) {
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
        let met: Vec<u64> = namespaces.iter().map(|namespace| self.marks.of(namespace)).collect();
        let (controls, records) = self.read(&namespaces, keys).await?;
        let controls = self.controls(&namespaces, &met, &controls).await?;
        let now = self.clock.now();
        let found = places.into_iter().zip(records);
        let found: Vec<Lookup> =
            found.map(|(place, record)| self.judge(controls[place], record, now)).collect();
        if let Some(tracker) = &self.tracker {
            let read = keys.iter().zip(&found).filter(|(_, lookup)| lookup.entry.is_some());
            tracker.note(read.map(|(key, _)| *key), now);
        }
        Ok(found)
    }

    /// Carries out `puts` in their order.
    pub(crate) async fn put(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        if let Some(tracker) = &self.tracker {
            self.tend(tracker).await;
        }
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
            scribe: &self.scribe,
            marks: &self.marks,
            tracker: self.tracker.as_ref(),
            seed: self.seed(),
        };
        let mut outcomes = Vec::with_capacity(changes.len());
        for call in write::calls(changes) {
            let answer = self.make(&write::call(call, &circumstances)).await;
            // Earlier calls of the batch have done their part.
            let partial = !outcomes.is_empty();
            outcomes.extend(answer.map_err(|e| if partial { e.indeterminate() } else { e })?);
        }
        Ok(outcomes)
    }

    async fn make(&self, call: &write::Call<'_>) -> Result<Vec<PutOutcome>> {
        let answer = call.script.run(&self.server, &call.command).await?;
        match call.answer(answer)? {
            Answer::Done(outcomes, marks, left) => {
                for (namespace, mark) in marks {
                    self.meet(namespace, mark);
                }
                if let (Left::Evict, Some(tracker)) = (left, &self.tracker) {
                    // What was written is written; the next write goes on with it.
                    if let Err(error) = self.evict(tracker).await {
                        tracing::warn!(%error, "could not evict in Redis");
                    }
                }
                Ok(outcomes)
            }
            Answer::LostData => Err(self.lost_data()),
        }
    }

    pub(crate) async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let namespace = namespace.as_str();
        let mut call = self.call_on(&scripts::CLEAR, namespace, self.marks.of(namespace));
        let mut name = Vec::new();
        write_name(&mut name, namespace, 0);
        call.arg(name);
        let mark: Vec<u8> = expect(scripts::CLEAR.run(&self.server, &call).await?)?;
        self.meet(namespace, write::mark_of(&mark));
        Ok(())
    }

    /// The start of a call on one namespace, in which its caller has met the mark `met`.
    fn call_on(&self, script: &Script, namespace: &str, met: u64) -> Cmd {
        let mut call = script.call(3);
        call.arg(&self.layout.log()).arg(self.layout.control(namespace));
        self.sign(&mut call);
        call.arg(met);
        call
    }

    /// Writes the arguments that are the log's.
    pub(crate) fn sign(&self, call: &mut Cmd) {
        self.scribe.write_to(call, self.seed(), self.clock.now());
    }

    /// The content of the control keys of `namespaces`, and of the records of `keys`.
    async fn read(&self, namespaces: &[&str], keys: &[&Key]) -> Result<(Vec<Value>, Vec<Value>)> {
        let mut command = redis::cmd("MGET");
        let prefix_len = self.layout.prefix().len() + 1;
        let names = namespaces.iter().copied().chain(keys.iter().map(|key| key.encoded()));
        command.reserve_space_for_args(names.map(|name| prefix_len + name.len()));
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
        met: &[u64],
        contents: &[Value],
    ) -> Result<Vec<Option<Control>>> {
        let mut controls: Vec<_> = contents.iter().map(Control::parse).collect();
        let marks = controls.iter().map(|control| control.map_or(0, |control| control.last));
        let behind = marks.zip(met).position(|(mark, met)| mark < *met);
        if let Some(place) = behind {
            return Err(self.give_up(namespaces[place], met[place]).await);
        }
        if controls.iter().any(Option::is_none) {
            controls = self.make_controls(namespaces).await?;
        }
        for (namespace, control) in namespaces.iter().zip(&controls) {
            if let Some(control) = control {
                self.meet(namespace, control.last);
            }
        }
        Ok(controls)
    }

    /// Has `namespace` given up, which was found below the mark `met`: unless somebody has done so
    /// in the meantime, which only the server can tell. Answers why its caller fails.
    async fn give_up(&self, namespace: &str, met: u64) -> Error {
        let call = self.call_on(&scripts::CHECK, namespace, met);
        match scripts::CHECK.run(&self.server, &call).await.and_then(expect::<Vec<u8>>) {
            Ok(mark) => {
                self.meet(namespace, write::mark_of(&mark));
                self.lost_data()
            }
            // It is met as it is by whoever comes next, and found again.
            Err(error) => error.context("could not give up what Redis has left after a loss"),
        }
    }

    fn lost_data(&self) -> Error {
        let message = format!(
            "Redis at {} has lost data since this process last saw it, and what is left of the \
             namespace was given up",
            self.server.url()
        );
        Error::new(ErrorKind::LostData, message).hint(
            "nothing needs to be done; it comes from a restart with an old snapshot or none, from \
             a failover to a replica that was behind, or from an eviction of control keys",
        )
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
        self.clock_us().max(self.marks.largest() + 1).min(SEED_MAX)
    }

    fn meet(&self, namespace: &str, mark: u64) {
        if mark <= self.clock_us() + AHEAD_MAX {
            self.marks.meet(namespace, mark);
        }
    }

    fn clock_us(&self) -> u64 {
        self.clock.now().as_millis().saturating_mul(1_000).min(SEED_MAX)
    }
}
