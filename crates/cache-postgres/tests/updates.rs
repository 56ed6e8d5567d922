//! That an update stays in its page and touches no index. In a program of its own: a transaction
//! that writes anywhere on the server, and stays open, keeps old rows from being taken away.

use std::time::Duration;

use cache_core::{
    Clock, CodecId, Condition, Entry, Key, Namespace, Put, Span, SystemClock, Tier, Ttl,
    testkit::{service_url, unique_name},
};
use cache_postgres::{PostgresConfig, PostgresTier};
use tokio_postgres::{Client, NoTls};

const KEYS: usize = 2_000;
const ROUNDS: usize = 40;

#[tokio::test]
async fn an_update_stays_in_its_page_and_touches_no_index() {
    let Some(url) = service_url("DATABASE_URL", "updates in their page") else { return };
    let config = PostgresConfig {
        schema: unique_name("cache_test"),
        statement_timeout: Span::secs(20),
        sweep_interval: None,
        ..PostgresConfig::new(url.as_str())
    };
    let tier = PostgresTier::connect(&config, SystemClock::shared()).await.unwrap();
    let now = SystemClock::new().now();
    let put = |nth: usize| {
        let entry =
            Entry::new(vec![7; 300].into(), CodecId(3), now, Ttl::fresh(Duration::from_secs(600)));
        Put { key: key(nth), entry, condition: Condition::Always }
    };
    tier.put_many(&(0..KEYS).map(put).collect::<Vec<_>>()).await.unwrap();
    // A batch has a key of each page, about, and not all of one.
    for round in 0..ROUNDS {
        let batch: Vec<Put> = (0..KEYS).skip(round % 20).step_by(20).map(put).collect();
        tier.put_many(&batch).await.unwrap();
    }
    // A connection tells what it has counted when it ends.
    tier.close().await.unwrap();

    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let updates = (ROUNDS * KEYS / 20) as i64;
    let (mut all, mut hot) = (0, 0);
    while all < updates {
        (all, hot) = counted(&client, &config.schema).await;
    }
    let drop = format!("SET client_min_messages TO warning; DROP SCHEMA {} CASCADE", config.schema);
    client.batch_execute(&drop).await.unwrap();
    assert!(hot * 100 >= all * 95, "{hot} of {all} updates");
}

fn key(nth: usize) -> Key {
    let namespace = Namespace::new("test").expect("it is plain");
    namespace.key(&format!("{nth:05}")).expect("so is a number")
}

/// Updates that the server has counted, and how many of these touched no index.
async fn counted(client: &Client, schema: &str) -> (i64, i64) {
    let query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
                 WHERE schemaname = $1 AND relname = 'entries'";
    let row = client.query_one(query, &[&schema]).await.expect("the table is there");
    (row.get(0), row.get(1))
}
