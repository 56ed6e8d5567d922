//! Judges every answer by the history of its key, in the manner of CacheLib's `ValueHistory`.
//!
//! Every write of the source and every insert is of a value that no other write is of, so a read
//! says which write it saw. The oracle knows when each value became the source's, when it was
//! replaced there, and which changes (removals, inserts, clears) the nodes were told to make, from
//! when to when. Nothing of that is taken from the caches.
//!
//! # When an answer is right
//!
//! 1. **It is a value of the key, and was the source's before the read ended.**
//! 2. **It lives** (P5, P6): since it was last loaded or inserted, its fresh time has not passed,
//!    or, where it says that it is stale, its fresh and stale time. The difference of the nodes'
//!    clocks is added.
//! 3. **It was not taken back** (P1, P2, P4, P7): no change that covers it had returned `Ok` before
//!    the read began, by more than the bound of that read.
//!
//! A change *covers* a value when a newer one was the source's before the change began, and when
//! nobody inserted the value at the same time or later: whoever inserts an old value without a
//! version has it back. With versions a removal that names a newer one, and an insert of a newer
//! one, also cover what is inserted later. Where loads may come from a replica that is behind, only
//! those two cover anything.
//!
//! A change that returned an error covers nothing: its tiers may hold the old value for as long as
//! it lives.
//!
//! # The bounds
//!
//! | the read is answered by | bound |
//! | --- | --- |
//! | the process that made the change, or one that began after it | 0 |
//! | another process, a plain `get`, out of a shared tier | 0 |
//! | another process, out of a shared tier or the source, by a flight that it may have joined | one flight |
//! | another process's near tier, while nobody hears of changes | one flight and `near_ttl` |
//! | another process's near tier, by a log that can be reached | six ways of a message |
//! | another process's near tier that is passed by when its log is silent | that silence and one reading of the log |
//!
//! What was invalidated by its tag is known to another process after a flight and what it takes to
//! hear of it, or 10 s without a log. A change that returned `Ok` because a log has it, though an
//! upper tier has missed it, is covered in its own process at once, and elsewhere when the tier was
//! repaired.
//!
//! One flight is what the settings allow it: every tier asked, the source, every tier filled.
//!
//! # Beside the values
//!
//! Of one key a process has one load at a time, unless it was told of a change, or to load anew
//! (P3). A load's failure is the only one that a reader is told of: a tier's is not (P4). Every call
//! ends within the time that its parts allow. A shutdown that returned `Ok` left no write behind,
//! and the changes whose callers had gone away are made (P11).

use std::fmt::Write;

use crate::{
    moment::Moment,
    plan::{CALL_TIMEOUT_MS, HOLD_MAX_MS, Plan, Stroke},
    process::ProcessId,
    source::Value,
};

/// How far one node's wall clock may step, in milliseconds.
pub const STEP_MAX_MS: i64 = 3_600_000;

/// For how long after it was given up an insert may be found in a tier where it arrived late: until
/// the tier was told twice.
const ARRIVES_LATE_MS: u64 = 2_500;

/// How long after the last fault a shared tier may hold what the log of the tier below it says is
/// gone, in milliseconds: a dead repairer's lease ends, and the next one reads the log.
pub const REPAIR_MS: u64 = 8_000;

/// How long a tag's generation is believed by a process that hears of no changes, in milliseconds.
const TAG_MEMO_MS: u64 = 10_000;

/// How long one reading of a log takes at most, in milliseconds.
const LOG_READ_MS: u64 = 700;

/// An operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(pub Moment);

/// A load under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadId(usize);

/// A change under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeId(usize);

/// The history of a run.
#[derive(Debug)]
pub struct Oracle {
    plan: Plan,
    now: Moment,
    rows: Vec<Row>,
    changes: Vec<Change>,
    loads: Vec<Load>,
    /// Since when nothing goes wrong any more.
    calm: Option<Moment>,
}

/// The history of one key at its source. Versions count from 1.
#[derive(Debug)]
struct Row {
    versions: Vec<Written>,
}

/// One value of one key.
#[derive(Debug)]
struct Written {
    at: Moment,
    /// When it was last loaded or begun to be inserted.
    introduced: Option<Moment>,
}

/// A change that a node was told to make.
#[derive(Debug)]
struct Change {
    what: What,
    /// Nothing: of all keys.
    key: Option<u32>,
    process: ProcessId,
    begin: Moment,
    end: Option<(Moment, Outcome)>,
    /// The newest version of the key at its source when the change began; unused by clears.
    newest: u32,
    /// The writes that had failed in this process when the change began.
    failed_before: u64,
}

/// What a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A removal.
    Remove,
    /// A removal that refuses what is older than this version.
    RemoveBefore(u32),
    /// An insert of this version.
    Insert(u32),
    /// Everything was cleared.
    Clear,
    /// All that carries the key's tag was removed.
    Tag,
    /// No change, but a load that does not join another one.
    Reload,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned `Ok`.
    Done,
    /// It returned `Ok`, and a write to a tier failed in its process meanwhile: a tier may have
    /// missed it, of which the log below tells.
    Heard,
    /// It returned an error, or its caller did not wait for it.
    Unknown,
}

#[derive(Debug)]
struct Load {
    process: ProcessId,
    keys: Vec<u32>,
    operation: OperationId,
    begin: Moment,
    end: Option<(Moment, bool)>,
}

/// An answer to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Who read.
    pub process: ProcessId,
    /// When that process began.
    pub process_began: Moment,
    /// When the read began.
    pub begin: Moment,
    /// Of which key.
    pub key: u32,
    /// What it was told.
    pub value: Value,
    /// Whether it was told that the value is stale.
    pub is_stale: bool,
    /// Where the answer came from.
    pub from: From,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The process's own near tier.
    Near,
    /// A shared tier, asked for this read alone.
    Tier,
    /// A shared tier, by a flight that others may have begun.
    SharedTier,
    /// The source, by a flight that others may have begun.
    Load,
}

impl Oracle {
    /// A history in which every key has its first value.
    #[must_use]
    pub fn new(plan: Plan, now: Moment) -> Self {
        let row = || Row { versions: vec![Written { at: now, introduced: None }] };
        let rows = (0..plan.keys).map(|_| row()).collect();
        Self { plan, now, rows, changes: Vec::new(), loads: Vec::new(), calm: None }
    }

    /// The present moment.
    pub fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    /// Nothing goes wrong from now on.
    pub fn set_calm(&mut self) {
        self.calm = Some(self.now);
    }

    /// The value of `key` as a replica that is `lag_ms` behind has it.
    #[must_use]
    pub fn row(&self, key: u32, lag_ms: u64) -> Value {
        let versions = &self.rows[key as usize].versions;
        let seen = versions.iter().filter(|written| written.at.ms + lag_ms <= self.now.ms).count();
        Value::new(key, seen.max(1) as u32)
    }

    /// The newest value of `key`.
    #[must_use]
    pub fn newest(&self, key: u32) -> Value {
        Value::new(key, self.rows[key as usize].versions.len() as u32)
    }

    /// The source gets a new value of `key`.
    pub fn write(&mut self, key: u32) -> Value {
        let written = Written { at: self.now, introduced: None };
        self.rows[key as usize].versions.push(written);
        self.newest(key)
    }

    /// A process is told to make a change. `failed_before`: its writes to tiers that had failed.
    pub fn change_begins(
        &mut self,
        process: ProcessId,
        key: Option<u32>,
        what: What,
        failed_before: u64,
    ) -> ChangeId {
        let newest = key.map_or(0, |key| self.newest(key).version());
        if let (What::Insert(version), Some(key)) = (what, key) {
            self.introduce(Value::new(key, version));
        }
        let (begin, end) = (self.now, None);
        self.changes.push(Change { what, key, process, begin, end, newest, failed_before });
        ChangeId(self.changes.len() - 1)
    }

    /// The caller of a change knows how it ended, or does not wait any more.
    /// `writes_failed`: the writes to tiers that have failed in its process so far.
    pub fn change_ends(&mut self, ChangeId(id): ChangeId, outcome: Outcome, writes_failed: u64) {
        let change = &mut self.changes[id];
        let missed = writes_failed > change.failed_before;
        let outcome = if missed && outcome == Outcome::Done { Outcome::Heard } else { outcome };
        change.end = Some((self.now, outcome));
    }

    /// A process has ended in good order: what it was told to change is changed, unless a write of
    /// it failed since.
    pub fn process_ended(&mut self, process: ProcessId, writes_failed: u64) {
        for change in self.changes.iter_mut().filter(|change| change.process == process) {
            let ended = matches!(change.end, Some((_, Outcome::Done | Outcome::Heard)));
            // An insert whose tags cannot be read fails before any write.
            let may_fail_early = self.plan.tags && matches!(change.what, What::Insert(_));
            let open = !ended && !may_fail_early;
            if open && change.failed_before == writes_failed {
                change.end = Some((self.now, Outcome::Done));
            }
        }
    }

    /// Whether a change of `key` was under way at any time since `since`.
    #[must_use]
    pub fn was_changed_since(&self, key: u32, since: Moment) -> bool {
        self.changes.iter().rev().any(|change| {
            let is_over = change.end.is_some_and(|(at, _)| at < since);
            let concerns = change.key.is_none_or(|of| of == key);
            concerns && change.what != What::Reload && !is_over
        })
    }

    /// A load begins.
    ///
    /// # Errors
    ///
    /// When the process is loading one of the keys already (P3).
    pub fn load_begins(
        &mut self,
        process: ProcessId,
        operation: OperationId,
        keys: &[u32],
    ) -> Result<LoadId, String> {
        let (begin, keys) = (self.now, keys.to_vec());
        for key in &keys {
            let open = |load: &&Load| load.process == process && load.end.is_none();
            let others = self.loads.iter().filter(open).filter(|load| load.keys.contains(key));
            for other in others {
                // Which of the two boarded first cannot be told from which loads first.
                let since = other.operation.0.min(operation.0);
                if !self.may_have_detached(process, *key, since) {
                    return Err(format!(
                        "P3: {process} begins a second load of k{key}; the first began at {} and \
                         nothing has changed since",
                        other.begin
                    ));
                }
            }
        }
        self.loads.push(Load { process, keys, operation, begin, end: None });
        Ok(LoadId(self.loads.len() - 1))
    }

    /// Whether a load of `key` may begin beside another one, where the first of their operations
    /// began at `since`: a change sends the next reader on a load of its own. Who follows logs
    /// hears of other processes' changes too, some time after they were made.
    fn may_have_detached(&self, process: ProcessId, key: u32, since: Moment) -> bool {
        let hears = self.plan.log_len.is_some();
        if hears && !self.plan.is_quiet() {
            return true;
        }
        self.changes.iter().any(|change| {
            let ended = change.end.map_or(Moment::MAX, |(at, outcome)| match outcome {
                Outcome::Done | Outcome::Heard => at,
                Outcome::Unknown => Moment::MAX,
            });
            let concerns = change.what == What::Tag || change.key.is_none_or(|of| of == key);
            let is_in_time = if hears {
                ended.ms.saturating_add(self.heard_within()) >= since.ms
            } else {
                ended >= since
            };
            concerns && is_in_time && (hears || change.process == process)
        })
    }

    /// A load brings `values`.
    pub fn load_ends(&mut self, LoadId(id): LoadId, values: &[Value]) {
        self.loads[id].end = Some((self.now, true));
        values.iter().for_each(|value| self.introduce(*value));
    }

    /// A load fails, or takes too long.
    pub fn load_fails(&mut self, LoadId(id): LoadId) {
        self.loads[id].end = Some((self.now, false));
    }

    /// Whether a reader that began at `since` may be told that the load of `key` failed.
    #[must_use]
    pub fn may_fail(&self, process: ProcessId, key: u32, since: Moment) -> bool {
        self.loads.iter().any(|load| {
            let failed = matches!(load.end, Some((at, false)) if at >= since);
            failed && load.process == process && load.keys.contains(&key)
        })
    }

    /// Judges an answer that a reader has just been given.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with the history of its key.
    pub fn judge(&self, answer: &Answer) -> Result<(), String> {
        let wrong = self
            .is_a_value(answer)
            .and_then(|()| self.lives(answer))
            .and_then(|()| self.was_not_taken_back(answer));
        wrong.map_err(|wrong| format!("{wrong}\n{}", self.history(answer.key)))
    }

    fn is_a_value(&self, Answer { key, value, .. }: &Answer) -> Result<(), String> {
        let versions = &self.rows[*key as usize].versions;
        if value.key() == *key && (1..=versions.len()).contains(&(value.version() as usize)) {
            return Ok(());
        }
        Err(format!("k{key} was never {value}"))
    }

    fn lives(&self, answer: &Answer) -> Result<(), String> {
        let Answer { value, is_stale, from, begin, .. } = answer;
        let Some(introduced) = self.written(*value).introduced else {
            return Err(format!("P1: nobody has loaded or inserted {value}"));
        };
        let stale = if *is_stale { self.plan.stale_ms } else { 0 };
        let joined =
            if matches!(from, From::SharedTier | From::Load) { self.plan.flight_ms() } else { 0 };
        let until = introduced.ms + self.plan.fresh_ms + stale + self.plan.skew() + joined;
        if begin.ms <= until {
            return Ok(());
        }
        let state = if *is_stale { "stale" } else { "fresh" };
        Err(format!(
            "P6: {value} was answered as {state} at {begin}; it was last loaded or inserted at \
             {introduced} and lived until {until} ms"
        ))
    }

    fn was_not_taken_back(&self, answer: &Answer) -> Result<(), String> {
        if self.comes_from_the_replica(answer) {
            return Ok(());
        }
        for change in self.changes.iter().filter(|change| self.covers(change, answer.value)) {
            let Some((end, outcome)) = change.end else { continue };
            let bound = match outcome {
                Outcome::Heard if change.process != answer.process => match self.calm {
                    Some(calm) => calm.ms_since(end) + REPAIR_MS + self.bound(change, end, answer),
                    None => continue,
                },
                _ => self.bound(change, end, answer),
            };
            let late = match bound {
                0 => answer.begin > end,
                bound => answer.begin.ms > end.ms + bound,
            };
            if late && !self.came_late(answer) {
                return Err(format!(
                    "P1: {} was answered {} ({:?}) to a read that began at {}; {:?} by {} had \
                     returned Ok at {end}, when the source had v{} already, and the bound is \
                     {bound} ms",
                    answer.process,
                    answer.value,
                    answer.from,
                    answer.begin,
                    change.what,
                    change.process,
                    change.newest.max(answer.value.version() + 1),
                ));
            }
        }
        Ok(())
    }

    /// A load may be as far behind as the replica that it came from: only what the cache keeps is
    /// its own affair.
    fn comes_from_the_replica(&self, Answer { value, from, begin, .. }: &Answer) -> bool {
        let newer = self.rows[value.key() as usize].versions.get(value.version() as usize);
        let behind = self.plan.lag_ms + self.plan.flight_ms();
        *from == From::Load
            && self.plan.lag_ms > 0
            && newer.is_none_or(|newer| begin.ms <= newer.at.ms + behind)
    }

    /// Whether `value` is not to be answered any more once `change` has returned.
    fn covers(&self, change: &Change, value: Value) -> bool {
        let (key, version) = (value.key(), value.version());
        if change.key.is_some_and(|of| of != key)
            || !matches!(change.end, Some((_, Outcome::Done | Outcome::Heard)))
            || change.what == What::Reload
        {
            return false;
        }
        let was_newer = match self.rows[key as usize].versions.get(version as usize) {
            Some(newer) => newer.at < change.begin,
            None => false,
        };
        let names_newer = match change.what {
            What::RemoveBefore(named) | What::Insert(named) => named > version,
            What::Remove | What::Clear | What::Tag | What::Reload => false,
        };
        if !was_newer || (self.plan.lag_ms > 0 && !names_newer) {
            return false;
        }
        // An insert of an older value, too, is a change, but takes nothing newer back.
        if matches!(change.what, What::Insert(inserted) if inserted <= version) {
            return false;
        }
        let refused_later = self.plan.versions && names_newer && !self.plan.forgets_versions();
        self.changes.iter().all(|insert| {
            if insert.key != Some(key) || insert.what != What::Insert(version) {
                return true;
            }
            match insert.end {
                // What failed may still be on its way.
                Some((at, Outcome::Unknown)) => {
                    at.ms + HOLD_MAX_MS + 4 * CALL_TIMEOUT_MS < change.begin.ms
                }
                Some((at, Outcome::Done)) => at < change.begin || refused_later,
                Some((at, Outcome::Heard)) => at < change.begin,
                None => false,
            }
        })
    }

    /// Whether the answer may be of an insert that was given up on its way to an upper tier, and
    /// arrived there after later changes. Whoever gave it up has the tier told of it a second time.
    fn came_late(&self, answer: &Answer) -> bool {
        let (key, version) = (answer.value.key(), answer.value.version());
        self.changes.iter().any(|change| {
            let is_its = change.key == Some(key) && change.what == What::Insert(version);
            let given_up = matches!(change.end, Some((at, Outcome::Heard | Outcome::Unknown))
                if answer.begin.ms <= at.ms + ARRIVES_LATE_MS);
            is_its && given_up
        })
    }

    /// For how long after `change` returned, at `end`, this answer may still be an older value, in
    /// milliseconds.
    fn bound(&self, change: &Change, end: Moment, answer: &Answer) -> u64 {
        let own = change.process == answer.process;
        // The near tier of a process that was not told which version is old takes what a replica
        // brings when no shared tier is there to refuse it.
        let began_later =
            answer.process_began > end && (self.plan.lag_ms == 0 || answer.from != From::Near);
        let joined = match answer.from {
            From::Tier => 0,
            From::Near | From::SharedTier | From::Load => self.plan.flight_ms(),
        };
        match answer.from {
            _ if own || began_later => 0,
            _ if change.what == What::Tag => joined + self.heard_within().min(TAG_MEMO_MS),
            From::Tier | From::SharedTier | From::Load => joined,
            From::Near => {
                let near_ttl = self.plan.near_ttl_ms.unwrap_or(0);
                let kept = joined + near_ttl + self.plan.lag_ms;
                if self.plan.lag_ms == 0 { kept.min(self.passed_by_within()) } else { kept }
            }
        }
    }

    /// How long it takes at most until another process has heard of a change, where nothing goes
    /// wrong: a beat, a reading that is under way, and the next one.
    fn heard_within(&self) -> u64 {
        let hears = self.plan.log_len.is_some() && self.plan.is_quiet();
        if hears { 6 * self.plan.way_ms + 10 } else { u64::MAX / 4 }
    }

    /// How long it takes at most until another process's near tier is up to date or passed by.
    fn passed_by_within(&self) -> u64 {
        let silence = self.plan.log_len.and(self.plan.bypass_after_ms);
        let passed_by = silence.map_or(u64::MAX / 4, |after| after + LOG_READ_MS + 10);
        passed_by.min(self.heard_within())
    }

    fn written(&self, value: Value) -> &Written {
        &self.rows[value.key() as usize].versions[value.version() as usize - 1]
    }

    fn introduce(&mut self, value: Value) {
        let now = self.now;
        let versions = &mut self.rows[value.key() as usize].versions;
        versions[value.version() as usize - 1].introduced = Some(now);
    }

    /// What was done to `key`, in the order in which it began.
    fn history(&self, key: u32) -> String {
        let mut lines = Vec::new();
        for (index, written) in self.rows[key as usize].versions.iter().enumerate() {
            lines.push((written.at, format!("the source writes v{}", index + 1)));
        }
        for change in self.changes.iter().filter(|change| change.key.is_none_or(|of| of == key)) {
            let end = match change.end {
                Some((at, outcome)) => format!("{outcome:?} at {at}"),
                None => "not ended".to_owned(),
            };
            lines.push((
                change.begin,
                format!("{} begins {:?}: {end}", change.process, change.what),
            ));
        }
        lines.sort_by_key(|(at, _)| *at);
        let mut text = format!("the history of k{key}:\n");
        for (at, line) in lines {
            writeln!(text, "{:>6}  {line}", at.ms).expect("a string takes everything");
        }
        text
    }
}

impl Plan {
    /// How far the clocks of two processes may be apart, in milliseconds.
    fn skew(&self) -> u64 {
        let steps = self.nemesis.strokes.contains(&Stroke::ClockStep);
        2 * (self.skew_ms + if steps { STEP_MAX_MS.unsigned_abs() } else { 0 })
    }

    /// Whether something in this run makes servers forget the versions of what was removed.
    fn forgets_versions(&self) -> bool {
        let lose = |stroke: &Stroke| matches!(stroke, Stroke::RestartEmpty | Stroke::RestartOld);
        self.clears || self.nemesis.strokes.iter().any(lose)
    }
}
