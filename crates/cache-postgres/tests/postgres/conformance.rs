//! The suite that every tier passes.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{Key, ManualClock, Tier, testkit::Harness};
use diesel::sql_types::{Binary, Text};
use diesel_async::RunQueryDsl;

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

cache_core::conformance_tests!(PostgresTier, PostgresHarness::from_env());
