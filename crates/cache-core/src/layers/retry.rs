//! Trying again, within a budget.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Layer, call::Call, jitter::Jitter};
use crate::{
    bus::Log,
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
    lease::Leases,
    pressure::TierRoom,
    tier::{Lookup, Put, PutOutcome, Removal, Tier, TierInfo, Usage},
};

/// A retry, in the unit of the budget: hundredths, so that a call brings its percentage.
const RETRY: i64 = 100;

/// What is tried again, how often and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// How often a read is tried at most. One is not again: there is a next tier, or the loader.
    pub read_tries: u32,
    /// How often a put, a removal or a clear is tried at most.
    pub write_tries: u32,
    /// The longest pause before the second try; it doubles with each. All of a pause is random.
    pub pause: Duration,
    /// The most to which it grows.
    pub pause_max: Duration,
    /// After this time since the call began nothing is tried again.
    pub total: Duration,
    /// How many retries there may be, of a hundred calls.
    pub budget_percent: u32,
    /// How many there may be at once above that, after a time without any.
    pub budget_reserve: u32,
    /// What pauses are drawn from: a simulation sets it to repeat itself.
    pub jitter_seed: Option<u64>,
}

impl Default for RetryConfig {
    /// Writes once more, reads not.
    fn default() -> Self {
        Self {
            read_tries: 1,
            write_tries: 2,
            pause: Duration::from_millis(4),
            pause_max: Duration::from_millis(50),
            total: Duration::from_millis(50),
            budget_percent: 10,
            budget_reserve: 10,
            jitter_seed: None,
        }
    }
}

/// A layer that tries a call again that failed and may succeed a little later.
///
/// - What is tried again: `Unavailable`, `Timeout` and `LostData`. Not `Full` and `Overloaded`,
///   which more calls make worse.
/// - Reads, fills, removals and clears can be repeated without harm: a fill that has happened is
///   refused or is the same again, and a removal that comes twice costs a load at most. An insert
///   is repeated only when it has certainly not happened
///   ([`may_have_happened`](Error::may_have_happened)): a second one could undo what another writer
///   has written since.
/// - All calls together have a budget, so that retries never multiply the load of a server in
///   trouble: [`budget_percent`](RetryConfig::budget_percent) of the calls, and a small reserve.
///
/// # Order
///
/// Inside of a breaker, which then counts all tries of a call as one; outside it would try again
/// what an open breaker refuses. [`Guarded`](super::Guarded) stops when its breaker opens.
#[must_use]
pub fn retry(config: RetryConfig) -> impl Layer {
    move |inner: Arc<dyn Tier>| {
        Arc::new(Retry { retries: Retries::new(config.clone()), inner }) as Arc<dyn Tier>
    }
}

struct Retry {
    retries: Retries,
    inner: Arc<dyn Tier>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tier for Retry {
    fn info(&self) -> &TierInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.retries.run(Call::Get, || true, || self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.retries.run(Call::Get, || true, || self.inner.get_many(keys)).await
    }

    async fn put_many(&self, puts: &[Put]) -> Result<Vec<PutOutcome>> {
        self.retries.run(Call::of_puts(puts), || true, || self.inner.put_many(puts)).await
    }

    async fn remove_many(&self, removals: &[Removal]) -> Result<()> {
        self.retries.run(Call::Remove, || true, || self.inner.remove_many(removals)).await
    }

    async fn clear(&self, namespace: &Namespace) -> Result<()> {
        self.retries.run(Call::Clear, || true, || self.inner.clear(namespace)).await
    }

    /// Who pings wants to know of a failure.
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.retries.run(Call::Usage, || true, || self.inner.usage()).await
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.inner.log()
    }

    fn leases(&self) -> Option<Arc<dyn Leases>> {
        self.inner.leases()
    }

    fn room(&self) -> Option<TierRoom<'_>> {
        self.inner.room()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retry").field(&self.retries.config).field(&self.inner).finish()
    }
}

/// The budget of all calls of a tier.
#[derive(Debug)]
pub(super) struct Retries {
    config: RetryConfig,
    /// In hundredths of a retry.
    balance: AtomicI64,
    jitter: Jitter,
}

impl Retries {
    pub(super) fn new(config: RetryConfig) -> Self {
        Self {
            balance: AtomicI64::new(reserve(&config)),
            jitter: Jitter::new(config.jitter_seed),
            config,
        }
    }

    /// Whether a call of this kind may be tried more than once.
    pub(super) const fn has_retries(&self, call: Call) -> bool {
        self.tries(call) > 1
    }

    /// Tries until it succeeds, or there is no sense in another try, or `is_welcome` says no.
    pub(super) async fn run<T, F>(
        &self,
        call: Call,
        is_welcome: impl Fn() -> bool + Send,
        try_once: impl Fn() -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        if !self.has_retries(call) {
            return try_once().await;
        }
        let began = Instant::now();
        self.earn();
        for tried in 1..self.tries(call) {
            let result = try_once().await;
            match &result {
                Err(error) if is_worth_it(call, error) && is_welcome() => {}
                _ => return result,
            }
            let pause = self.pause(tried);
            if began.elapsed() + pause > self.config.total || !self.spend() {
                return result;
            }
            sleep(pause).await;
        }
        try_once().await
    }

    const fn tries(&self, call: Call) -> u32 {
        if call.is_write() { self.config.write_tries } else { self.config.read_tries }
    }

    fn pause(&self, tried: u32) -> Duration {
        let doubled = self.config.pause.saturating_mul(1 << (tried - 1).min(16));
        self.jitter.part(doubled.min(self.config.pause_max), 0.0)
    }

    fn earn(&self) {
        let (share, max) = (i64::from(self.config.budget_percent), reserve(&self.config));
        let earned = |balance: i64| (balance < max).then(|| (balance + share).min(max));
        // It fails when there is nothing to add.
        let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    fn spend(&self) -> bool {
        let spent = |balance: i64| (balance >= RETRY).then(|| balance - RETRY);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

fn reserve(config: &RetryConfig) -> i64 {
    i64::from(config.budget_reserve) * RETRY
}

fn is_worth_it(call: Call, error: &Error) -> bool {
    error.is_retryable()
        && !matches!(error.kind(), ErrorKind::Full | ErrorKind::Overloaded)
        && !(call == Call::Insert && error.may_have_happened())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    /// Runs one call that fails with `error` each time, and answers how often it was tried.
    async fn tries(retries: &Retries, call: Call, error: &Error) -> u32 {
        let tried = AtomicU32::new(0);
        let result: Result<()> = retries
            .run(
                call,
                || true,
                || async {
                    tried.fetch_add(1, Ordering::Relaxed);
                    Err(error.clone())
                },
            )
            .await;
        assert!(result.is_err());
        tried.into_inner()
    }

    fn eager() -> RetryConfig {
        RetryConfig { read_tries: 3, write_tries: 3, jitter_seed: Some(1), ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_can_be_repeated_without_harm_is_tried_again() {
        let retries = Retries::new(RetryConfig { budget_reserve: 1_000, ..eager() });
        let unavailable = Error::new(ErrorKind::Unavailable, "gone");
        let unknown = unavailable.clone().indeterminate();
        for (call, error, expected) in [
            (Call::Get, &unavailable, 3),
            (Call::Fill, &unknown, 3),
            (Call::Remove, &unknown, 3),
            (Call::Clear, &unknown, 3),
            (Call::Insert, &unavailable, 3),
            (Call::Insert, &unknown, 1),
            (Call::Remove, &Error::new(ErrorKind::Full, ""), 1),
            (Call::Get, &Error::new(ErrorKind::Overloaded, ""), 1),
            (Call::Get, &Error::new(ErrorKind::Denied, ""), 1),
        ] {
            assert_eq!(tries(&retries, call, error).await, expected, "{call:?} {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn by_default_a_write_is_tried_once_more_and_a_read_is_not() {
        let retries = Retries::new(RetryConfig::default());
        let gone = Error::new(ErrorKind::Unavailable, "gone");
        assert_eq!(tries(&retries, Call::Get, &gone).await, 1);
        assert_eq!(tries(&retries, Call::Remove, &gone).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_again_after_the_total_time() {
        let retries = Retries::new(eager());
        let tried = AtomicU32::new(0);
        let slow: Result<()> = retries
            .run(
                Call::Get,
                || true,
                || async {
                    tried.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(60)).await;
                    Err(Error::new(ErrorKind::Timeout, ""))
                },
            )
            .await;
        assert!(slow.is_err());
        assert_eq!(tried.into_inner(), 1);
    }

    proptest! {
        #[test]
        fn retries_stay_within_the_budget(calls in 1_u32..400, percent in 0_u32..50) {
            let config = RetryConfig { budget_percent: percent, ..eager() };
            let reserve = config.budget_reserve;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().expect("a runtime can be built");
            let tried: u32 = runtime.block_on(async {
                let retries = Retries::new(config);
                let gone = Error::new(ErrorKind::Unavailable, "gone");
                let mut tried = 0;
                for _ in 0..calls {
                    tried += tries(&retries, Call::Get, &gone).await;
                }
                tried
            });
            prop_assert!(tried - calls <= reserve + calls * percent / 100);
        }
    }
}
