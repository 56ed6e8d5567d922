//! What uses a process's cache: a task that reads and changes, and has each answer judged.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use cache_core::{Condition, Error, Hit, Item, Key, LoadError, Origin, Put, Version};
use rand::{Rng, rngs::SmallRng};

use crate::{
    broken::Defect,
    moment::{Moment, millis},
    oracle::{Answer, ChangeId, From, OperationId, Outcome, What},
    plan::{Mix, Plan},
    process::Process,
    source::Value,
    world::World,
};

/// A task that uses the cache of one process.
#[derive(Debug)]
pub struct Client {
    process: Arc<Process>,
    rng: SmallRng,
}

/// What a loader fails with.
type Failed = String;

impl Client {
    /// A task of `process` whose choices `rng` makes.
    #[must_use]
    pub fn new(process: Arc<Process>, rng: SmallRng) -> Self {
        Self { process, rng }
    }

    /// Does one thing after another, until `left` are done.
    pub async fn work(mut self, left: Arc<parking_lot::Mutex<usize>>) {
        loop {
            let think = self.rng.random_range(0..=self.world().plan().think_ms);
            tokio::time::sleep(millis(think)).await;
            self.process.life.sends().await;
            {
                let mut left = left.lock();
                if *left == 0 {
                    return;
                }
                *left -= 1;
            }
            self.world().count_operation();
            self.act().await;
        }
    }

    /// Reads every key once, in both ways.
    pub async fn read_all(&mut self) {
        for key in 0..self.world().plan().keys {
            self.get(key).await;
            self.get_or_load(key).await;
        }
    }

    async fn act(&mut self) {
        let plan = self.world().plan();
        let (inserts, clears, versions) = (plan.inserts, plan.clears, plan.versions);
        let (tags, tiers, mix) = (plan.tags, plan.tiers, plan.mix);
        let key = self.rng.random_range(0..plan.keys);
        if mix == Mix::Copies {
            return self.copy_or_write(key).await;
        }
        match self.rng.random_range(0..100) {
            0..=39 => self.get_or_load(key).await,
            40..=41 if tiers > 1 => self.copy().await,
            42..=43 => self.warm().await,
            40..=54 => self.get(key).await,
            55..=62 => self.get_many_or_load().await,
            63..=67 => self.refresh(key).await,
            68..=73 if inserts => self.write_and_insert(key).await,
            74..=75 if clears => self.write_and_clear(key).await,
            76..=83 if versions => self.write_and_invalidate(key, What::RemoveBefore(0)).await,
            84..=87 => self.invalidate(key, What::Remove).await,
            88..=93 if tags => self.write_and_invalidate(key, What::Tag).await,
            _ => self.write_and_invalidate(key, What::Remove).await,
        }
    }

    /// What a client does that copies and warms against writes.
    async fn copy_or_write(&mut self, key: u32) {
        let versions = self.world().plan().versions;
        match self.rng.random_range(0..100) {
            0..=39 => self.copy().await,
            40..=54 => self.warm().await,
            55..=64 => self.get(key).await,
            65..=69 => self.get_or_load(key).await,
            70..=83 => self.write_and_insert(key).await,
            84..=90 if versions => self.write_and_invalidate(key, What::RemoveBefore(0)).await,
            _ => self.write_and_invalidate(key, What::Remove).await,
        }
    }

    async fn get(&mut self, key: u32) {
        let begin = self.begins(|| format!("get k{key}"));
        let cache = self.process.cache.clone();
        let name = name(key);
        let Some(read) = self.limited(async move { cache.get(&name).await }).await else { return };
        match read {
            Ok(Some(hit)) => {
                let from = match hit.origin() {
                    Origin::Near => From::Near,
                    _ => From::Tier,
                };
                self.judge(begin, key, &hit, from);
            }
            Ok(None) => self.tell(|| format!("get k{key} -> nothing")),
            Err(error) => self.tell(|| format!("get k{key} -> {:?}", error.kind())),
        }
    }

    async fn get_or_load(&mut self, key: u32) {
        let begin = self.begins(|| format!("get_or_load k{key}"));
        let (cache, name, loader) =
            (self.process.cache.clone(), name(key), self.loader(begin, key));
        let read = self.limited(async move { cache.get_or_load(&name, loader).await }).await;
        if let Some(read) = read {
            self.loaded(begin, key, read);
        }
    }

    async fn refresh(&mut self, key: u32) {
        let begin = self.begins(|| format!("refresh k{key}"));
        let change = self.change_begins(Some(key), What::Reload);
        let (cache, name, loader) =
            (self.process.cache.clone(), name(key), self.loader(begin, key));
        let read = self.limited(async move { cache.refresh(&name, loader).await }).await;
        let outcome = if read.is_some() { Outcome::Done } else { Outcome::Unknown };
        self.change_ends(change, outcome);
        if let Some(read) = read {
            self.loaded(begin, key, read);
        }
    }

    async fn get_many_or_load(&mut self) {
        let keys: Vec<u32> = (0..self.world().plan().keys).collect();
        let begin = self.begins(|| format!("get_many_or_load {keys:?}"));
        let names: Vec<String> = keys.iter().map(|&key| name(key)).collect();
        let (cache, loader) = (self.process.cache.clone(), self.batch_loader(begin));
        let reads = self.limited(async move { cache.get_many_or_load(names, loader).await }).await;
        for (key, read) in keys.into_iter().zip(reads.into_iter().flatten()) {
            match read {
                Ok(Some(hit)) => self.loaded(begin, key, Ok(hit)),
                Ok(None) => self.wrong(begin, &format!("the source has k{key}, and was not asked")),
                Err(error) => self.loaded(begin, key, Err(error)),
            }
        }
    }

    /// Looks at every key as a warmer does, and loads what is missing or about to be.
    async fn warm(&mut self) {
        let names: Vec<String> = (0..self.world().plan().keys).map(name).collect();
        let begin = self.begins(|| "warm".to_owned());
        let cache = self.process.cache.clone();
        let survey = self.limited(async move { cache.survey(names).await }).await;
        let Some(Ok(hits)) = survey else { return };
        let mut due = Vec::new();
        for (key, hit) in (0..self.world().plan().keys).zip(hits) {
            let Some(hit) = hit else {
                due.push(key);
                continue;
            };
            let from = if hit.origin() == &Origin::Near { From::Near } else { From::Tier };
            self.judge(begin, key, &hit, from);
            if hit.fresh_for() < hit.age() {
                due.push(key);
            }
        }
        self.reload(&due).await;
        self.count_copies(begin);
    }

    /// Notes that all keys were to be copied or warmed since `begin`.
    fn count_copies(&self, begin: Moment) {
        let keys = 0..self.world().plan().keys;
        let contended = self.world().oracle(|oracle| {
            keys.clone().filter(|key| oracle.was_changed_since(*key, begin)).count()
        });
        self.world().count_copies(u64::from(keys.end), contended as u64);
    }

    async fn reload(&mut self, keys: &[u32]) {
        let begin = self.begins(|| format!("refresh_many {keys:?}"));
        let changes: Vec<ChangeId> =
            keys.iter().map(|key| self.change_begins(Some(*key), What::Reload)).collect();
        let names: Vec<String> = keys.iter().map(|key| name(*key)).collect();
        let (cache, loader) = (self.process.cache.clone(), self.batch_loader(begin));
        let reads = self.limited(async move { cache.refresh_many(names, loader).await }).await;
        let outcome = if reads.is_some() { Outcome::Done } else { Outcome::Unknown };
        changes.into_iter().for_each(|change| self.change_ends(change, outcome));
        for (key, read) in keys.iter().zip(reads.into_iter().flatten()) {
            match read {
                Ok(Some(hit)) => self.loaded(begin, *key, Ok(hit)),
                Ok(None) => {
                    self.wrong(begin, &format!("the source has k{key}, and did not say so"));
                }
                Err(error) => self.loaded(begin, *key, Err(error)),
            }
        }
    }

    /// Copies every key from the lower tiers to the first one.
    async fn copy(&mut self) {
        let names: Vec<String> = (0..self.world().plan().keys).map(name).collect();
        let begin = self.begins(|| "copy_up".to_owned());
        let copied = if self.world().plan().defect == Some(Defect::UncheckedCopy) {
            let process = Arc::clone(&self.process);
            self.limited(async move { copy_unchecked(&process, &names).await }).await
        } else {
            let (cache, to) =
                (self.process.cache.clone(), self.process.tiers[0].info().name.clone());
            let copy = async move { cache.copy_up(&to, names).await.map(|c| format!("{c:?}")) };
            self.limited(copy).await
        };
        self.tell(|| match copied {
            Some(Ok(copied)) => format!("copy_up -> {copied}"),
            Some(Err(error)) => format!("copy_up -> {error}"),
            None => "copy_up has nobody who waits for it".to_owned(),
        });
        self.count_copies(begin);
    }

    fn loaded(&self, begin: Moment, key: u32, read: Result<Hit<u64>, LoadError<Failed>>) {
        match read {
            Ok(hit) => {
                let from = match hit.origin() {
                    Origin::Near => From::Near,
                    Origin::Load => From::Load,
                    _ => From::SharedTier,
                };
                self.judge(begin, key, &hit, from);
            }
            Err(error) => {
                self.tell(|| format!("k{key} -> error: {error}"));
                let process = self.process.life.process();
                let may_fail = self.world().oracle(|oracle| oracle.may_fail(process, key, begin));
                if !may_fail {
                    let wrong = format!("P4: k{key} failed, and no load of it did: {error}");
                    self.wrong(begin, &wrong);
                }
            }
        }
    }

    async fn write_and_invalidate(&mut self, key: u32, what: What) {
        let value = self.write(key).await;
        let what = match what {
            What::RemoveBefore(_) => What::RemoveBefore(value.version()),
            what => what,
        };
        self.invalidate(key, what).await;
    }

    /// Invalidates, and tries again for a while where it fails.
    async fn invalidate(&mut self, key: u32, what: What) {
        let tries = self.rng.random_range(1..=4);
        for _ in 0..tries {
            let begin = self.begins(|| format!("invalidate k{key} ({what:?})"));
            let change = self.change_begins(Some(key), what);
            let (cache, name) = (self.process.cache.clone(), name(key));
            let result = self
                .limited(async move {
                    match what {
                        What::Tag => cache.invalidate_tag(&tag(key)).await,
                        What::RemoveBefore(version) => {
                            cache.invalidate_before(&name, Version(version.into())).await
                        }
                        _ => cache.invalidate(&name).await,
                    }
                })
                .await;
            if self.changed(begin, change, result.as_ref()) {
                return;
            }
        }
    }

    async fn write_and_insert(&mut self, key: u32) {
        let value = self.write(key).await;
        let begin = self.begins(|| format!("insert {value}"));
        let change = self.change_begins(Some(key), What::Insert(value.version()));
        let item = item(value, self.world().plan());
        let (cache, name) = (self.process.cache.clone(), name(key));
        let result = self.limited(async move { cache.insert(&name, item).await }).await;
        self.changed(begin, change, result.as_ref());
    }

    async fn write_and_clear(&mut self, key: u32) {
        self.write(key).await;
        let begin = self.begins(|| "clear".to_owned());
        let change = self.change_begins(None, What::Clear);
        let cache = self.process.cache.clone();
        let result = self.limited(async move { cache.clear().await }).await;
        self.changed(begin, change, result.as_ref());
    }

    /// Writes a new value to the source, which takes a while on both ways.
    async fn write(&mut self, key: u32) -> Value {
        let way = self.world().plan().way_ms;
        tokio::time::sleep(millis(self.rng.random_range(0..=way))).await;
        let value = self.world().oracle(|oracle| oracle.write(key));
        self.tell(|| format!("the source now has {value}"));
        tokio::time::sleep(millis(self.rng.random_range(0..=way))).await;
        self.process.life.sends().await;
        value
    }

    /// Notes how a change ended; whether it is made.
    fn changed<T: Debug>(
        &self,
        begin: Moment,
        change: ChangeId,
        result: Option<&Result<T, Error>>,
    ) -> bool {
        let outcome = match result {
            Some(Ok(_)) => Outcome::Done,
            Some(Err(_)) | None => Outcome::Unknown,
        };
        self.change_ends(change, outcome);
        self.tell(|| match result {
            Some(Ok(value)) => format!("the change of {begin} -> Ok({value:?})"),
            Some(Err(error)) => format!("the change of {begin} -> {error}"),
            None => format!("the change of {begin} has nobody who waits for it"),
        });
        outcome == Outcome::Done
    }

    fn judge(&self, begin: Moment, key: u32, hit: &Hit<u64>, from: From) {
        let life = &self.process.life;
        let answer = Answer {
            process: life.process(),
            process_began: life.began(),
            begin,
            key,
            value: Value(**hit),
            is_stale: hit.is_stale(),
            from,
        };
        self.tell(|| {
            let stale = if answer.is_stale { ", stale" } else { "" };
            format!("k{key} -> {} ({}{stale})", answer.value, hit.origin())
        });
        if let Err(wrong) = self.world().oracle(|oracle| oracle.judge(&answer)) {
            self.world().fail(wrong);
        }
    }

    /// Waits for a call of the cache. Nothing when the caller goes away before it has ended, which
    /// it does now and then; a call that takes longer than it may is a finding.
    async fn limited<T>(&mut self, call: impl Future<Output = T>) -> Option<T> {
        let plan = self.world().plan();
        let (call_ms, load_ms, cancelled) = (plan.call_ms(), plan.load_ms, plan.cancelled);
        if self.rng.random_ratio(cancelled, 1_000) {
            let patience = self.rng.random_range(0..=load_ms);
            self.world().count_fault("callers that went away");
            return tokio::time::timeout(millis(patience), call).await.ok();
        }
        let began = self.world().now();
        let ended = tokio::time::timeout(millis(call_ms), call).await;
        if ended.is_err() {
            let wrong = format!("P3: a call has not ended after {call_ms} ms");
            self.wrong(began, &wrong);
        }
        ended.ok()
    }

    fn loader(&self, begin: Moment, key: u32) -> impl FnOnce() -> LoadFuture + Send + use<> {
        let process = Arc::clone(&self.process);
        move || {
            Box::pin(async move {
                let life = &process.life;
                let values = life.world().source().load(life, OperationId(begin), &[key]).await?;
                Ok(item(values[0], life.world().plan()))
            })
        }
    }

    fn batch_loader(
        &self,
        begin: Moment,
    ) -> impl FnOnce(Vec<String>) -> BatchFuture + Send + use<> {
        let process = Arc::clone(&self.process);
        move |asked| {
            Box::pin(async move {
                let asked: Vec<u32> = asked.iter().map(|name| number(name)).collect();
                let life = &process.life;
                let values = life.world().source().load(life, OperationId(begin), &asked).await?;
                let plan = life.world().plan();
                let items = values.into_iter().map(|value| (name(value.key()), item(value, plan)));
                Ok(items.collect())
            })
        }
    }

    fn begins(&self, what: impl FnOnce() -> String) -> Moment {
        self.tell(what);
        self.world().now()
    }

    fn change_begins(&self, key: Option<u32>, what: What) -> ChangeId {
        let life = &self.process.life;
        let failed = life.writes_failed();
        self.world().oracle(|oracle| oracle.change_begins(life.process(), key, what, failed))
    }

    fn change_ends(&self, change: ChangeId, outcome: Outcome) {
        let failed = self.process.life.writes_failed();
        self.world().oracle(|oracle| oracle.change_ends(change, outcome, failed));
    }

    fn wrong(&self, begin: Moment, wrong: &str) {
        let process = self.process.life.process();
        self.world().fail(format!("{process}, in a call that began at {begin}: {wrong}"));
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        self.process.life.tell(line);
    }

    fn world(&self) -> &World {
        self.process.life.world()
    }
}

type LoadFuture =
    std::pin::Pin<Box<dyn Future<Output = Result<Item<u64>, Failed>> + Send + 'static>>;

type BatchFuture =
    std::pin::Pin<Box<dyn Future<Output = Result<HashMap<String, Item<u64>>, Failed>> + Send>>;

/// The bug: what the lower tier has is written to the upper one in any case.
async fn copy_unchecked(process: &Process, names: &[String]) -> Result<String, Error> {
    let namespace = process.cache.namespace();
    let keys: Vec<Key> =
        names.iter().map(|name| namespace.key(name).expect("a short text is a key")).collect();
    let known = process.tiers[1].get_many(&keys).await?;
    let found = keys.into_iter().zip(known).filter_map(|(key, lookup)| {
        let entry = lookup.entry?.with_version(None);
        Some(Put { key, entry, condition: Condition::Always })
    });
    let puts: Vec<Put> = found.collect();
    Ok(format!("{:?}", process.tiers[0].put_many(&puts).await?))
}

fn item(value: Value, plan: &Plan) -> Item<u64> {
    let item = Item::new(value.0);
    let item = if plan.tags { item.tags([tag(value.key())]) } else { item };
    if plan.versions { item.version(Version(value.version().into())) } else { item }
}

fn tag(key: u32) -> String {
    format!("t{}", key % 2)
}

fn name(key: u32) -> String {
    format!("k{key}")
}

fn number(name: &str) -> u32 {
    name[1..].parse().expect("every key is `k` and its number")
}
