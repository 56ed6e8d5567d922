//! A query as a source of keys, on the server that `DATABASE_URL` names.

#![cfg(all(test, feature = "sql"))]

use std::{env, time::Duration};

use cache_core::{ErrorKind, Span, Ttl};
use cache_warmer::{Candidate, KeySource, SqlConfig, SqlKeys};

fn keys(url: &str, query: &str) -> SqlKeys {
    let config = serde_json::json!({ "url": url, "query": query, "timeout": "20s" });
    SqlKeys::new(serde_json::from_value::<SqlConfig>(config).expect("the settings are whole"))
}

fn url() -> Option<String> {
    let url = env::var("DATABASE_URL").ok();
    assert!(url.is_some() || env::var_os("CI").is_none(), "CI needs DATABASE_URL");
    if url.is_none() {
        println!("left out: DATABASE_URL does not name a server");
    }
    url
}

#[tokio::test]
async fn a_query_tells_of_each_key_what_it_knows() {
    let Some(url) = url() else { return };
    let query = "SELECT * FROM (VALUES ('AAPL', 120, 300.0, 2048, 10), ('IBM', 3, NULL, NULL, NULL)) \
                 AS t (key, hits, load_ms, bytes, ttl_s) ORDER BY hits DESC;";
    let found = keys(&url, query).candidates(9).await.unwrap();
    let aapl = Candidate::new("AAPL", 120.0)
        .load_cost(Duration::from_millis(300))
        .size(2_048)
        .ttl(Ttl::fresh(Duration::from_secs(10)));
    assert_eq!(found, [aapl, Candidate::new("IBM", 3.0)]);
    let many = "SELECT i AS key FROM generate_series(1, 1000000) AS i";
    assert_eq!(keys(&url, many).candidates(5).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_query_cannot_write_and_is_one_statement() {
    let Some(url) = url() else { return };
    for bad in [
        "CREATE TABLE no_such_place (key text)",
        "SELECT 1 AS key; COMMIT; SELECT 2 AS key",
        "SELECT 1 AS name",
        "SELECT 'a' AS key, 'often' AS hits",
        "SELECT",
    ] {
        let outcome = keys(&url, bad).candidates(9).await;
        let error = outcome.map(|found| format!("{bad} found {found:?}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{bad}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_its_password() {
    let config = SqlConfig {
        url: cache_core::ServerUrl::new("postgres://user:secret@127.0.0.1:1/none"),
        query: "SELECT 1 AS key".to_owned(),
        timeout: Span::secs(20),
    };
    let error = SqlKeys::new(config).candidates(9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("secret"), "{error}");
}
