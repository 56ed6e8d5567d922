//! The way from one process to one server: a tier whose calls are delayed, lost and refused.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    Change, Durability, Error, ErrorKind, Key, LeaseToken, Leases, Log, Lookup, Namespace,
    PAYLOAD_LEN_MAX, Page, Position, Put, PutOutcome, Removal, Result, Scope, Tier, TierInfo,
    TierRoom, Timestamp, Usage,
};
use parking_lot::Mutex;
use rand::{Rng, rngs::SmallRng};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    moment::millis,
    plan::{CALL_TIMEOUT_MS, Network},
    process::Life,
    store::Store,
};

/// A server as one process reaches it.
///
/// A request that is on its way is carried out whatever becomes of the process, and of the call's
/// future: nothing that was sent can be taken back.
#[derive(Clone)]
pub struct Link {
    info: TierInfo,
    store: Arc<Store>,
    life: Arc<Life>,
    wire: Arc<Wire>,
}

/// The state of the way. It outlives the processes that use it.
#[derive(Debug)]
pub struct Wire {
    network: Network,
    way_ms: u64,
    rng: Mutex<SmallRng>,
    cut: Mutex<Cut>,
}

/// What is wrong with a way as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Open,
    /// Nothing gets through, and nobody says so.
    Silent,
    /// Connections are refused.
    Refusing,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Carried,
    RequestLost,
    AnswerLost,
    Refused,
    /// The server fails after a part of the batch.
    Halved,
}

impl Wire {
    /// A way on which a call takes up to `way_ms` in each direction.
    #[must_use]
    pub fn new(network: Network, way_ms: u64, rng: SmallRng) -> Self {
        Self { network, way_ms, rng: Mutex::new(rng), cut: Mutex::new(Cut::Open) }
    }

    /// What is wrong with it from now on.
    pub fn cut(&self, cut: Cut) {
        *self.cut.lock() = cut;
    }

    /// Spoils no more single calls: the run comes to its end.
    fn fate(&self, calm: bool) -> (Fate, u64, u64) {
        let mut rng = self.rng.lock();
        let mut way = || match self.way_ms {
            0 => 0,
            way_ms => rng.random_range(0..=way_ms),
        };
        let (mut out, mut back) = (way(), way());
        if calm {
            return (Fate::Carried, out, back);
        }
        match *self.cut.lock() {
            Cut::Open => {}
            Cut::Silent if rng.random_bool(0.5) => return (Fate::RequestLost, out, back),
            Cut::Silent => return (Fate::AnswerLost, out, back),
            Cut::Refusing => return (Fate::Refused, out, back),
        }
        if rng.random_ratio(self.network.slow, 1_000) {
            let late = rng.random_range(1..=2 * CALL_TIMEOUT_MS);
            *(if rng.random_bool(0.5) { &mut out } else { &mut back }) += late;
        }
        let Network { lost_requests, lost_answers, refused, halved, .. } = self.network;
        let mut roll = rng.random_range(0..1_000);
        for (share, fate) in [
            (lost_requests, Fate::RequestLost),
            (lost_answers, Fate::AnswerLost),
            (refused, Fate::Refused),
            (halved, Fate::Halved),
        ] {
            if roll < share {
                return (fate, out, back);
            }
            roll -= share;
        }
        (Fate::Carried, out, back)
    }

    fn part(&self, len: usize) -> usize {
        self.rng.lock().random_range(0..=len)
    }
}

impl Link {
    /// The way of the process `life` to `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, life: Arc<Life>, wire: Arc<Wire>) -> Self {
        let info = TierInfo {
            name: Arc::clone(store.name()),
            scope: Scope::Network,
            durability: if life.world().plan().loses_data() {
                Durability::Volatile
            } else {
                Durability::Relaxed
            },
            fence_retention: store.retention(),
            payload_len_max: PAYLOAD_LEN_MAX,
            patience: None,
        };
        Self { info, store, life, wire }
    }

    /// Sends a request, has the server carry it out with `apply`, and brings its answer.
    async fn call<T: fmt::Debug + Send + 'static>(
        &self,
        what: impl Fn() -> String + Send + Sync,
        apply: impl FnOnce(&Store, Timestamp, Option<f64>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.life.alive().await;
        let (fate, out, back) = self.wire.fate(self.life.world().is_calm());
        let number = self.life.world().next_call();
        let tell = |event: &str| {
            self.life.tell(|| format!("  {:<3} #{number} {} {event}", self.info.name, what()));
        };
        if fate != Fate::Carried {
            self.life.world().count_fault(match fate {
                Fate::RequestLost => "requests lost",
                Fate::AnswerLost => "answers lost",
                Fate::Refused => "calls refused",
                Fate::Halved | Fate::Carried => "batches broken off",
            });
        }
        match fate {
            Fate::Refused => {
                tell("is refused");
                pass(out).await;
                self.life.alive().await;
                return Err(self.error(ErrorKind::Unavailable, "cannot be reached"));
            }
            Fate::RequestLost => {
                tell("is lost");
                return std::future::pending().await;
            }
            Fate::Carried | Fate::AnswerLost | Fate::Halved => tell("is sent"),
        }
        let (store, life, now) = (Arc::clone(&self.store), Arc::clone(&self.life), self.life.now());
        let part = (fate == Fate::Halved).then(|| self.wire.part(1_000) as f64 / 1_000.0);
        let (answer, answered) = oneshot::channel();
        let described = life.world().is_told().then(what);
        tokio::spawn(async move {
            pass(out).await;
            life.sends().await;
            store.thaw().await;
            let result = apply(&store, now, part);
            let name = store.name();
            life.world().tell(|| {
                let lost = if fate == Fate::AnswerLost { ", answer lost" } else { "" };
                format!(
                    "       {name:<3} #{number} {} -> {}{lost}",
                    described.unwrap_or_default(),
                    brief(&result)
                )
            });
            if fate != Fate::AnswerLost {
                pass(back).await;
                life.sends().await;
                // Nobody may be waiting any more.
                let _ = answer.send(result);
            }
        });
        match answered.await {
            Ok(result) => {
                self.life.alive().await;
                if fate == Fate::Halved && result.is_ok() {
                    return Err(self.error(ErrorKind::Unavailable, "broke off").indeterminate());
                }
                result
            }
            Err(_) => std::future::pending().await,
        }
    }

    /// A call that changes the server: the process may be killed before it and after it.
    async fn write<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let open = self.life.open_write();
        self.life.crash_point().await;
        let result = call.await;
        self.life.crash_point().await;
        open.end(result.is_err());
        result
    }

    /// A call about a lease, which nobody else limits.
    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limited = tokio::time::timeout(millis(CALL_TIMEOUT_MS), call).await;
        limited.unwrap_or_else(|_| Err(self.error(ErrorKind::Timeout, "does not answer")))
    }

    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("{} {what}", self.info.name))
    }
}

/// Takes `ms` milliseconds; none at all is nothing but a chance for others.
async fn pass(ms: u64) {
    if ms == 0 {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(millis(ms)).await;
    }
}

/// How many of `len` are carried out before the server fails.
fn part_of(len: usize, part: Option<f64>) -> usize {
    part.map_or(len, |part| (part * (len + 1) as f64) as usize)
}

fn brief<T: fmt::Debug>(result: &Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(Key::text).collect::<Vec<_>>().join(",")
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Link {
    fn info(&self) -> &TierInfo {
        &self.info
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        let lookups = self.get_many(std::slice::from_ref(key)).await?;
        Ok(lookups.into_iter().next().expect("one key has one lookup"))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        cache_core::check_batch(keys.len())?;
        let asked = keys.to_vec();
        let lookups = self.call(
            || format!("get {}", names(keys)),
            move |store, now, _| store.get(&asked, now).map(Lookups),
        );
        Ok(lookups.await?.0)
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        cache_core::check_batch(puts.len())?;
        let batch = puts.to_vec();
        let put = self.call(
            || format!("put {}", describe_puts(puts)),
            move |store, now, part| store.put(&batch, part_of(batch.len(), part), now),
        );
        self.write(put).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        cache_core::check_batch(removals.len())?;
        let batch = removals.to_vec();
        let removal = self.call(
            || format!("remove {}", describe_removals(removals)),
            move |store, now, part| store.remove(&batch, part_of(batch.len(), part), now),
        );
        self.write(removal).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        let cleared = namespace.clone();
        self.write(
            self.call(|| "clear".to_owned(), move |store, now, _| store.clear(&cleared, now)),
        )
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.call(|| "ping".to_owned(), |store, _, _| store.ping()).await
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.store.has_log().then(|| Arc::new(self.clone()) as Arc<dyn Log>)
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        Some(Arc::new(self.clone()))
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Log for Link {
    fn tier(&self) -> &Arc<str> {
        &self.info.name
    }

    async fn end(&self) -> Result<Position> {
        self.call(|| "log's end".to_owned(), |store, _, _| store.log_end()).await
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let until = Instant::now() + wait;
        loop {
            // Made before the request, so that nothing is appended unnoticed between the two.
            let appended = self.store.appended();
            let from = after.clone();
            let page = self.call(
                || format!("log after {}", after.as_str()),
                move |store, _, _| store.log_page(&from).map(Told),
            );
            let page = page.await?.0;
            if page.gap || !page.notices.is_empty() {
                return Ok(page);
            }
            if timeout_at(until, appended).await.is_err() {
                return Ok(page);
            }
        }
    }

    async fn beat(&self) -> Result<()> {
        self.call(|| "beat".to_owned(), |store, now, _| store.beat(now)).await
    }
}

#[async_trait]
impl Leases for Link {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let token = LeaseToken::new(self.wire.rng.lock().random());
        let of = key.clone();
        let acquired = self.call(
            || format!("lease of {}", key.text()),
            move |store, _, _| store.acquire(&of, token, period),
        );
        Ok(self.limited(acquired).await?.then_some(token))
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        let of = key.clone();
        let renewed = self.call(
            || format!("renew the lease of {}", key.text()),
            move |store, _, _| store.renew(&of, token, period),
        );
        self.limited(renewed).await
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        let of = key.clone();
        let released = self.call(
            || format!("release the lease of {}", key.text()),
            move |store, _, _| store.release(&of, token),
        );
        self.limited(released).await
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        let until = Instant::now() + wait;
        loop {
            let released = self.store.released();
            let of = key.clone();
            let held_for = self.call(
                || format!("wait for the lease of {}", key.text()),
                move |store, _, _| store.held_for(&of),
            );
            let held_for = self.limited(held_for).await?;
            if held_for.is_zero() || Instant::now() >= until {
                return Ok(());
            }
            // Woken or not: it is looked at once more.
            let _ = timeout_at(until.min(Instant::now() + held_for), released).await;
        }
    }
}

/// A part of a log as a trace shows it.
struct Told(Page);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.0.gap { "a gap, then " } else { "" };
        let each = self.0.notices.iter().map(|notice| match &notice.change {
            Change::Key(key) => format!("{} at {:x}", key.text(), notice.mark),
            Change::Clear(_) => format!("clear at {:x}", notice.mark),
            Change::Beat => "beat".to_owned(),
        });
        write!(f, "{gap}[{}]", each.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.info.name).finish()
    }
}

/// Lookups as a trace shows them.
struct Lookups(Vec<Lookup>);

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|lookup| {
            let mark = lookup.fence.as_mark().unwrap_or_default();
            let entry = lookup.entry.as_ref().map_or("nothing".to_owned(), payload);
            format!("{entry} at mark {mark:x}")
        });
        f.write_str(&each.collect::<Vec<_>>().join(", "))
    }
}

/// The value of an entry as a trace shows it.
fn payload(entry: &cache_core::Entry) -> String {
    let text = std::str::from_utf8(&entry.payload).unwrap_or_default();
    text.parse()
        .map_or_else(|_| "?".to_owned(), |value: u64| crate::source::Value(value).to_string())
}

fn describe_puts(puts: &[Put]) -> String {
    let each = puts.iter().map(|put| {
        let condition = match &put.condition {
            cache_core::Condition::Always => "always".to_owned(),
            cache_core::Condition::Unmoved(fence) => match fence.as_mark() {
                Some(mark) => format!("if at {mark:x}"),
                None => "if unread".to_owned(),
            },
        };
        format!("{} {condition}", payload(&put.entry))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn describe_removals(removals: &[Removal]) -> String {
    let each = removals.iter().map(|removal| match removal.version {
        Some(version) => format!("{} before v{}", removal.key.text(), version.0),
        None => removal.key.text().to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}
