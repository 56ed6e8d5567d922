//! Leases on keys: rows with an owner's token and an end.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{Key, LeaseToken, Leases, Result, Timestamp};
use tokio::time::{Instant, timeout};

use crate::{calls::Calls, error::Access, listener::LEASE, puts::millis, sql, store::Store};

/// How long a waiter goes without looking itself, in case nothing is heard.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The leases of a [`PostgresTier`](crate::PostgresTier).
pub(crate) struct PostgresLeases {
    calls: Arc<Calls>,
}

impl PostgresLeases {
    pub(crate) fn new(calls: Arc<Calls>) -> Arc<Self> {
        Arc::new(Self { calls })
    }

    /// How much of the lease of `key` is left, if somebody has it.
    async fn left(&self, key: &Key) -> Result<Option<Duration>> {
        let key = bytes(key);
        let look = |store: Arc<Store>| async move {
            let mut session = store.connections.session().await?;
            let ends: Vec<(i64,)> = session.load(Access::Read, sql::LeaseEnd { key }).await?;
            let now = store.clock.now();
            let left = |(end,): &(i64,)| {
                Timestamp::from_millis(u64::try_from(*end).unwrap_or(0)).since(now)
            };
            Ok(ends.first().map(left).filter(|left| !left.is_zero()))
        };
        self.calls.detached("look at a lease", look).await
    }
}

#[async_trait]
impl Leases for PostgresLeases {
    async fn acquire(&self, key: &Key, period: Duration) -> Result<Option<LeaseToken>> {
        let token = random();
        let key = bytes(key);
        let acquire = |store: Arc<Store>| async move {
            let now = store.clock.now();
            let (ends_at, at) = (millis(now.after(period)), millis(now));
            let statement = sql::Acquire { key, token: signed(token), ends_at, at };
            let mut session = store.connections.session().await?;
            let taken: Vec<(bool,)> = session.load(Access::Write, statement).await?;
            Ok((!taken.is_empty()).then_some(token))
        };
        self.calls.detached("acquire a lease", acquire).await
    }

    async fn renew(&self, key: &Key, token: LeaseToken, period: Duration) -> Result<bool> {
        let key = bytes(key);
        let renew = |store: Arc<Store>| async move {
            let now = store.clock.now();
            let (ends_at, at) = (millis(now.after(period)), millis(now));
            let statement = sql::Renew { ends_at, key, token: signed(token), at };
            let mut session = store.connections.session().await?;
            let renewed: Vec<(bool,)> = session.load(Access::Write, statement).await?;
            Ok(!renewed.is_empty())
        };
        self.calls.detached("renew a lease", renew).await
    }

    async fn release(&self, key: &Key, token: LeaseToken) -> Result<()> {
        let payload = format!("{LEASE}{key}");
        let key = bytes(key);
        let release = |store: Arc<Store>| async move {
            let at = millis(store.clock.now());
            let channel = store.connections.setup().schema().to_owned();
            let statement = sql::Release { key, token: signed(token), at, channel, payload };
            let mut session = store.connections.session().await?;
            session.execute(Access::Write, statement).await.map(|_| ())
        };
        self.calls.detached("release a lease", release).await
    }

    async fn wait(&self, key: &Key, wait: Duration) -> Result<()> {
        let deadline = Instant::now() + wait;
        // Before the first look, so that a release after it is heard.
        let mut listening = self.calls.listener.listen();
        while let Some(left) = self.left(key).await? {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                break;
            }
            let pause = patience.min(left).min(LOOK_AGAIN);
            let _ = timeout(pause, listening.may_be_free(key.encoded())).await;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLeases").field("tier", &self.calls.name).finish_non_exhaustive()
    }
}

fn bytes(key: &Key) -> Vec<u8> {
    key.encoded().into()
}

/// A new `RandomState` is randomly seeded, which is all the randomness that is needed: a token must
/// not meet another one by chance.
fn random() -> LeaseToken {
    LeaseToken::new(RandomState::new().hash_one(Instant::now()))
}

/// A token as the server keeps it: the same bits.
const fn signed(token: LeaseToken) -> i64 {
    token.number().cast_signed()
}
