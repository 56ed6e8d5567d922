//! The suite that every tier passes.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    Key, ManualClock, Position, Tier,
    testkit::{Harness, LogHarness},
};
use diesel::sql_types::{Binary, Text};

use crate::support::Place;

struct PostgresHarness(Place);

impl PostgresHarness {
    fn from_env() -> Option<Self> {
        Place::from_env().map(Self)
    }
}

#[async_trait]
impl Harness for PostgresHarness {
    async fn open(&self) -> Arc<dyn Tier> {
        self.0.tier().await
    }

    fn clock(&self) -> &ManualClock {
        &self.0.clock
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        use diesel_async::RunQueryDsl;

        let planting = diesel::sql_query(
            "INSERT INTO entries (key, namespace, fence, expires_at, retain_until, record) \
             VALUES ($1, $2, 0, 0, 0, $3) ON CONFLICT (key) DO UPDATE SET record = EXCLUDED.record",
        );
        planting
            .bind::<Binary, _>(key.encoded().as_bytes())
            .bind::<Text, _>(key.namespace())
            .bind::<Binary, _>(bytes)
            .execute(&mut self.0.connection().await)
            .await
            .unwrap();
        true
    }
}

#[async_trait]
impl LogHarness for PostgresHarness {
    async fn trim(&self, position: &Position) -> bool {
        let snapshot = position.as_str().split('/').nth(1).expect("a position has a snapshot");
        let trimming = format!(
            "UPDATE notice_state SET trimmed = '{snapshot}'; \
             DELETE FROM notices WHERE pg_visible_in_snapshot(xid, '{snapshot}')"
        );
        self.0.execute(&trimming).await;
        true
    }

    /// What the tiers find after a crash, or when another server has taken this one's place.
    async fn lose(&self) -> bool {
        self.0.execute("DELETE FROM lives; DELETE FROM notices; SELECT begin_life()").await;
        true
    }
}

cache_core::conformance_tests!(PostgresTier, PostgresHarness::from_env());
cache_core::log_conformance_tests!(PostgresTier, PostgresHarness::from_env());
cache_core::lease_conformance_tests!(PostgresTier, PostgresHarness::from_env());
