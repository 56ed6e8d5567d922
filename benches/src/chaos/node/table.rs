//! A source that is a table of the cache's own PostgreSQL: changed, and its key invalidated, in one
//! transaction.

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, kill_process};
use tokio_postgres::{Client, NoTls};

/// What a key begins with whose source is the table.
pub(in super::super) const SQL: &str = "sql";

/// What makes the table.
pub(in super::super) const CREATE: &str =
    "CREATE TABLE public.source (key text PRIMARY KEY, version bigint NOT NULL)";

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum End {
    /// With `COMMIT`, after which this process kills itself at once.
    CommitAndDie,
    /// With `ROLLBACK`.
    Rollback,
}

/// The version of `key`.
pub(super) async fn load(url: &str, key: &str) -> Result<u64> {
    let client = connect(url).await?;
    let row = client.query_opt("SELECT version FROM public.source WHERE key = $1", &[&key]).await?;
    Ok(u64::try_from(row.map_or(0, |row| row.get::<_, i64>(0)))?)
}

/// Gives `key` its next version and invalidates it in the cache, in one transaction.
///
/// Written as any program would that knows only SQL.
pub(super) async fn change(url: &str, namespace: &str, key: &str, end: End) -> Result<()> {
    let client = connect(url).await?;
    let update = format!(
        "BEGIN;
         INSERT INTO public.source AS s VALUES ('{key}', 1)
             ON CONFLICT (key) DO UPDATE SET version = s.version + 1;
         SELECT cache.invalidate('{namespace}', '{key}')"
    );
    client.batch_execute(&update).await.context("the transaction")?;
    match end {
        End::Rollback => Ok(client.batch_execute("ROLLBACK").await?),
        End::CommitAndDie => {
            client.batch_execute("COMMIT").await?;
            Ok(kill_process(getpid(), Signal::KILL)?)
        }
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with its client.
    tokio::spawn(connection);
    Ok(client)
}
