//! How often a payload is copied between an entry and the connection: counted by the allocator.

use std::{alloc::System, sync::Arc, time::Duration};

use cache_core::{
    Clock, CodecId, Entry, Namespace, PutOutcome, Span, SystemClock, Tier, TierExt, Ttl,
    testkit::{service_url, unique_name},
};
use cache_postgres::{PostgresConfig, PostgresTier};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LEN: usize = 256 * 1024;
/// What does not grow with the payload, for the tier's own tasks too.
const BESIDE: usize = LEN / 4;

/// How many buffers of the payload's length are made for a call.
async fn buffers(calls: usize, call: impl AsyncFn()) -> f64 {
    // Buffers that the connections keep grow at the first calls.
    for _ in 0..8 {
        call().await;
    }
    let mut least = usize::MAX;
    for _ in 0..calls {
        let region = Region::new(ALLOCATOR);
        call().await;
        least = least.min(region.change().bytes_allocated);
    }
    least as f64 / LEN as f64
}

/// Everything in one test: what another one allocates at the same time would be counted too.
#[tokio::test]
async fn a_payload_is_copied_into_the_statement_and_by_the_client_only() {
    let Some(url) = service_url("DATABASE_URL", "copies of a payload") else { return };
    let config = PostgresConfig {
        schema: unique_name("cache_test"),
        statement_timeout: Span::secs(20),
        ..PostgresConfig::new(url.as_str())
    };
    let tier: Arc<dyn Tier> = PostgresTier::connect(&config, SystemClock::shared()).await.unwrap();
    let key = Namespace::new(&unique_name("copies")).unwrap().key("k").unwrap();
    let ttl = Ttl::fresh(Duration::from_secs(60));
    let entry = Entry::new(vec![7; LEN].into(), CodecId(3), SystemClock::new().now(), ttl);
    let fence = tier.get(&key).await.unwrap().fence;
    let put = buffers(20, async || {
        let outcome = tier.fill(key.clone(), entry.clone(), fence.clone()).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored);
    })
    .await;
    let get = buffers(20, async || {
        assert!(tier.get(&key).await.unwrap().entry.is_some());
    })
    .await;
    let most = |copies: usize| copies as f64 + BESIDE as f64 / LEN as f64;
    assert!(put <= most(2), "{put:.2} buffers of the payload's length for a put");
    assert!(get <= most(2), "{get:.2} buffers of the payload's length for a get");
    tier.close().await.unwrap();
    drop_schema(&url, &config.schema).await;
}

async fn drop_schema(url: &str, schema: &str) {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it just did");
    tokio::spawn(connection);
    let drop = format!("SET client_min_messages TO warning; DROP SCHEMA {schema} CASCADE");
    client.batch_execute(&drop).await.expect("it is ours");
}
