//! The way in by a Unix socket.

use cache_core::{ErrorKind, ServerUrl, TierExt, testkit::left_out};
use cache_postgres::PostgresConfig;
use diesel::{dsl::sql, sql_types::Text};
use diesel_async::RunQueryDsl;

use crate::support::{Place, key, read};

/// The directory of the server's socket, where this process sees it.
async fn directory(place: &Place) -> Option<String> {
    let setting = diesel::select(sql::<Text>("current_setting('unix_socket_directories')"));
    let directories: String = setting.get_result(&mut place.connection().await).await.unwrap();
    let mut directories = directories.split(',').map(|directory| directory.trim().to_owned());
    directories.find(|directory| std::fs::metadata(directory).is_ok())
}

/// The address of the same server and database by the socket in `directory`.
fn by_socket(url: &str, directory: &str) -> ServerUrl {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let user = config.get_user().expect("a test's address names its user");
    let database = config.get_dbname().unwrap_or(user);
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let password = config.get_password().map(|word| format!(":{}", str::from_utf8(word).unwrap()));
    let password = password.unwrap_or_default();
    ServerUrl::new(format!("postgres://{user}{password}@/{database}?host={directory}&port={port}"))
}

#[tokio::test]
async fn a_unix_socket_is_a_way_in() {
    let Some(place) = Place::from_env() else { return };
    let Some(directory) = directory(&place).await else {
        return left_out("PostgreSQL on a Unix socket", "its directory is not on this machine");
    };
    let url = by_socket(&place.url, &directory);
    let name = format!("{}_socket", place.schema);
    let url = ServerUrl::new(format!("{}&application_name={name}", url.expose()));
    let tier = place.connect(&PostgresConfig { url, ..place.config() }).await.unwrap();
    tier.put(key("k"), place.entry("v")).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("v"));
    let by_network = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE application_name = '{name}' AND client_addr IS NOT NULL"
    );
    let at_all = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    assert!(place.number(&at_all).await > 0);
    assert_eq!(place.number(&by_network).await, 0);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_an_error_that_names_the_setting() {
    let Some(place) = Place::from_env() else { return };
    let empty = std::env::temp_dir().join(&place.schema);
    let url = by_socket(&place.url, empty.to_str().unwrap());
    let error = place.connect(&PostgresConfig { url, ..place.config() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("`url`"), "{error}");
}
