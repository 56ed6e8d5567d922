//! A server that is gone, slow, frozen or in the way.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use cache_core::{ErrorKind, ServerUrl, Span, SystemClock, Tier, TierExt, testkit::left_out};
use cache_postgres::{PostgresConfig, PostgresTier};
use diesel_async::SimpleAsyncConnection;
use futures::future::join_all;

use crate::support::{Network, Place, key, read};

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_without_the_password() {
    let url = format!("postgres://user:s3cret@127.0.0.1:{}/db", free_port());
    let begun = Instant::now();
    let error = PostgresTier::open(&url).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && !error.may_have_happened());
    let text = format!("{error} {error:?}");
    assert!(text.contains("127.0.0.1") && !text.contains("s3cret"), "{text}");

    let config = PostgresConfig { connect_timeout: Span::secs(60), ..PostgresConfig::new(url) };
    let tier = PostgresTier::connect_lazy(&config, SystemClock::shared()).unwrap();
    let calls = join_all((0..100).map(|i| {
        let tier = Arc::clone(&tier);
        async move { tier.get(&key(&i.to_string())).await.map(|_| ()).unwrap_err() }
    }));
    for error in calls.await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let error = tier.remove(key("k")).await.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for the timeout");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u@{}/d", listener.local_addr().unwrap());
    let config = PostgresConfig { connect_timeout: Span::millis(100), ..PostgresConfig::new(url) };
    let tier = PostgresTier::connect_lazy(&config, SystemClock::shared()).unwrap();
    let begun = Instant::now();
    let error = tier.get(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("`connect_timeout`"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_is_given_up_in_its_time() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { statement_timeout: Span::millis(400), ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    let mut in_the_way = place.connection().await;
    in_the_way.batch_execute("BEGIN; LOCK TABLE entries").await.unwrap();
    let begun = Instant::now();
    let error = tier.put(key("k"), place.entry("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("put in postgres"), "{error}");
    assert!(!error.may_have_happened(), "the server undid it");
    assert!(begun.elapsed() < Duration::from_secs(10));
    in_the_way.batch_execute("ROLLBACK").await.unwrap();
    tier.put(key("k"), place.entry("v")).await.unwrap();
}

#[tokio::test]
async fn a_frozen_server_costs_the_timeout_and_is_used_again_when_it_thaws() {
    let Some(place) = Place::from_env() else { return };
    let Some((network, url)) = Network::before(&place.url).await else {
        return left_out("a_frozen_server", "DATABASE_URL is not reached over TCP");
    };
    let config = PostgresConfig {
        url: ServerUrl::new(url),
        pool_size: 1,
        connect_timeout: Span::millis(300),
        statement_timeout: Span::millis(300),
        ..place.config()
    };
    drop(place.tier().await);
    let tier = PostgresTier::connect_lazy(&config, place.shared_clock()).unwrap();
    while tier.ping().await.is_err() {
        // A busy machine: three tenths of a second may be short for the first connection.
    }
    network.freeze();
    let error = tier.put(key("k"), place.entry("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.may_have_happened(), "nobody knows");
    let error = tier.get(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    network.thaw();
    let begun = Instant::now();
    while tier.get(&key("k")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it recovers");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_spoil_its_connection() {
    let Some(place) = Place::from_env() else { return };
    let name = &place.schema;
    let config =
        PostgresConfig { pool_size: 1, ..place.config_with(&format!("application_name={name}")) };
    let tier = place.connect(&config).await.unwrap();
    let backend =
        format!("SELECT pid::bigint FROM pg_stat_activity WHERE application_name = '{name}'");
    let before = place.number(&backend).await;

    let mut in_the_way = place.connection().await;
    in_the_way.batch_execute("BEGIN; LOCK TABLE entries").await.unwrap();
    let (one, two) = (key("k"), [key("k").into(), key("l").into()]);
    let mut alone = Box::pin(tier.get(&one));
    let mut batch = Box::pin(tier.remove_many(&two));
    assert!(futures::poll!(&mut alone).is_pending());
    assert!(futures::poll!(&mut batch).is_pending());
    place.until_a_statement_waits(name).await;
    drop((alone, batch));
    in_the_way.batch_execute("ROLLBACK").await.unwrap();

    tier.put(key("k"), place.entry("v")).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("v"));
    assert_eq!(place.number(&backend).await, before, "it is still the same");
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced() {
    let Some(place) = Place::from_env() else { return };
    let name = &place.schema;
    let config =
        PostgresConfig { pool_size: 4, ..place.config_with(&format!("application_name={name}")) };
    let tier = place.connect(&config).await.unwrap();
    tier.put(key("k"), place.entry("v")).await.unwrap();
    for _ in 0..3 {
        let keys = [key("k"), key("l")];
        for found in join_all((0..8).map(|_| tier.get_many(&keys))).await {
            found.unwrap();
        }
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = '{name}'"
        );
        assert!(place.number(&end).await >= 1);
        // At worst every connection has one call that finds out.
        let mut failed = 0;
        while let Err(error) = tier.get(&key("k")).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            failed += 1;
            assert!(failed <= 4, "{error}");
        }
    }
}

#[tokio::test]
async fn after_the_close_calls_fail_and_no_connection_is_left() {
    let Some(place) = Place::from_env() else { return };
    let name = &place.schema;
    let config = place.config_with(&format!("application_name={name}"));
    let tier = place.connect(&config).await.unwrap();
    let mut writes = Box::pin(tier.put(key("k"), place.entry("v")));
    assert!(futures::poll!(&mut writes).is_pending());
    let (closed, stored) = tokio::join!(tier.close(), writes);
    closed.unwrap();
    stored.unwrap();
    for error in [
        tier.get(&key("k")).await.map(|_| ()).unwrap_err(),
        tier.remove(key("k")).await.unwrap_err(),
        tier.ping().await.unwrap_err(),
        tier.sweep().await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    tier.close().await.unwrap();
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    while place.number(&left).await > 0 {
        tokio::task::yield_now().await;
    }
}

/// Told by a trigger in the server's own words, on the same way as by the server itself.
#[tokio::test]
async fn what_the_server_cannot_do_has_its_kind() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    for (state, message, kind) in [
        ("53100", "could not extend file \"base/1/2\": No space left on device", ErrorKind::Full),
        ("53200", "out of memory", ErrorKind::Full),
        ("40P01", "deadlock detected", ErrorKind::Unavailable),
        ("40001", "could not serialize access", ErrorKind::Unavailable),
        ("57P01", "terminating connection due to administrator command", ErrorKind::Unavailable),
        ("25006", "cannot execute INSERT in a read-only transaction", ErrorKind::ReadOnly),
        ("57014", "canceling statement due to statement timeout", ErrorKind::Timeout),
    ] {
        let failing = format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$; \
             CREATE OR REPLACE TRIGGER failing BEFORE INSERT ON entries EXECUTE FUNCTION fail()"
        );
        place.execute(&failing).await;
        let error = tier.put(key("k"), place.entry("v")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let error = tier.remove(key("k")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(tier.get(&key("k")).await.is_ok(), "reads go on");
    }
    place.execute("DROP TRIGGER failing ON entries").await;
    tier.put(key("k"), place.entry("v")).await.unwrap();
}
