//! The tables: how they come to be, and what happens when they are not as expected.

use cache_core::{Error, ErrorKind, TierExt};
use cache_postgres::{PostgresConfig, PostgresTier};
use futures::future::join_all;

use crate::support::{Place, key, read};

async fn refused(place: &Place, config: &PostgresConfig) -> Error {
    place.connect(config).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn many_processes_may_start_at_once_on_an_empty_database() {
    let Some(place) = Place::from_env() else { return };
    let tiers = join_all((0..8).map(|_| place.tier())).await;
    for (i, tier) in tiers.iter().enumerate() {
        tier.put(key(&i.to_string()), place.entry("v")).await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM entries").await, 8);
    assert_eq!(place.number("SELECT count(*) FROM schema_version").await, 3);
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_left_alone() {
    let Some(place) = Place::from_env() else { return };
    drop(place.tier().await);
    place.execute("INSERT INTO schema_version VALUES (1000)").await;
    let error = refused(&place, &place.config()).await;
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("version 1000"), "{error}");
    assert!(error.to_string().contains("update this program"), "{error}");
}

#[tokio::test]
async fn tables_of_another_program_are_left_alone() {
    let Some(place) = Place::from_env() else { return };
    place.execute(&format!("CREATE SCHEMA {}", place.schema)).await;
    place.execute("CREATE TABLE entries (theirs text)").await;
    let error = refused(&place, &place.config()).await;
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("choose another `schema`"), "{error}");
    let made = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(place.number(made).await, 1, "nothing half done is left");
}

#[tokio::test]
async fn a_tier_may_be_made_before_its_server_is_asked() {
    let Some(place) = Place::from_env() else { return };
    let tier = PostgresTier::connect_lazy(&place.config(), place.shared_clock()).unwrap();
    let schemas = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{}'", place.schema);
    assert_eq!(place.number(&schemas).await, 0);
    tier.put(key("k"), place.entry("v")).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_tier_whose_schema_was_dropped_mends_itself() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { pool_size: 1, ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    tier.put(key("k"), place.entry("v")).await.unwrap();
    place.execute(&format!("DROP SCHEMA {} CASCADE", place.schema)).await;
    let error = tier.put(key("k"), place.entry("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    tier.put(key("k"), place.entry("again")).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("again"));
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_it_needs() {
    let Some(place) = Place::from_env() else { return };
    let config = place.config_with("options=-c%20role%3Dpg_monitor");
    let error = refused(&place, &config).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("GRANT"), "{error}");
    drop(place.tier().await);
    let error = refused(&place, &config).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_server_that_only_reads_is_read_from() {
    let Some(place) = Place::from_env() else { return };
    let config = place.config_with("options=-c%20default_transaction_read_only%3Don");
    let error = refused(&place, &config).await;
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");

    place.tier().await.put(key("k"), place.entry("v")).await.unwrap();
    let tier = place.connect(&config).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("v"));
    let error = tier.remove(key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert!(!error.may_have_happened());
}

#[tokio::test]
async fn a_missing_database_and_a_missing_role_are_told_apart() {
    let Some(place) = Place::from_env() else { return };
    let with = |parameter| PostgresConfig { pool_size: 1, ..place.config_with(parameter) };
    let error = refused(&place, &with("dbname=no_such_database")).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("create the database"), "{error}");
    let error = refused(&place, &with("user=no_such_role")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}
