//! A query of PostgreSQL as a source of keys.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{Error, ErrorKind, Result, ServerUrl, Span, Ttl};
use futures::{StreamExt, pin_mut};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Candidate, KeySource};

/// What asks a database for keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// The database: `postgres://user:password@host/database`, with `?sslmode=require` for TLS, by
    /// the authorities of the web.
    pub url: ServerUrl,
    /// One query whose columns are named: `key`, a text, and of the numbers `hits` (within an
    /// hour), `load_ms`, `bytes` and `ttl_s` those that are known. Those first that matter most:
    /// what is above the limit of a plan is left out.
    pub query: String,
    /// How long connecting and the query may take together. `"30s"` unless set.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

const fn timeout() -> Span {
    Span::secs(30)
}

/// The keys that a query of PostgreSQL names, with what it knows of each. It is asked anew for each
/// plan, over a connection of its own, in a transaction that can only read.
#[derive(Clone, Debug)]
pub struct SqlKeys {
    config: SqlConfig,
    name: String,
}

impl SqlKeys {
    /// The keys of a query.
    #[must_use]
    pub fn new(config: SqlConfig) -> Self {
        Self { name: format!("query of {}", config.url), config }
    }

    async fn ask(&self, max: usize) -> Result<Vec<Candidate>> {
        let (client, _connection) = self.connect().await?;
        let failed = |error: tokio_postgres::Error| {
            let told = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            Error::new(ErrorKind::Config, format!("the query failed: {told}"))
                .hint("try it by hand, as the same user")
                .caused_by(error)
        };
        client.batch_execute("BEGIN READ ONLY").await.map_err(failed)?;
        // A prepared statement is one statement: nothing can follow the query and end the
        // transaction.
        let query = self.config.query.trim().trim_end_matches(';');
        client.prepare(query).await.map_err(failed)?;
        let rows = client.simple_query_raw(query).await.map_err(failed)?;
        pin_mut!(rows);
        let mut found = Vec::new();
        while found.len() < max
            && let Some(message) = rows.next().await
        {
            if let SimpleQueryMessage::Row(row) = message.map_err(failed)? {
                found.push(candidate(&row, found.len() + 1)?);
            }
        }
        Ok(found)
    }

    async fn connect(&self) -> Result<(Client, Connection)> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // The provider is named here, because a program that has two of them panics when none is.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot set up TLS").caused_by(e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connecting =
            tokio_postgres::connect(self.config.url.expose(), MakeRustlsConnect::new(tls));
        let (client, connection) = connecting.await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot connect: {error}"))
                .hint("check the address, the user, and that the server runs")
        })?;
        let carry = tokio::spawn(async move {
            // An error of the connection is told by the query that waits for it.
            let _ = connection.await;
        });
        Ok((client, Connection(carry)))
    }
}

#[async_trait]
impl KeySource for SqlKeys {
    fn name(&self) -> &str {
        &self.name
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        let limit = self.config.timeout.0;
        let found = tokio::time::timeout(limit, self.ask(max)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("there was no answer within {limit:?}"))
                .hint("make the query cheaper, or raise `timeout`"))
        });
        found.map_err(|error| error.context(self.name.clone()))
    }
}

/// What carries a client's calls; ends with it, a query that still runs too.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn candidate(row: &SimpleQueryRow, number: usize) -> Result<Candidate> {
    let bad = |what: &str| {
        Error::new(ErrorKind::Config, format!("row {number} of the query {what}")).hint(
            "name a column `key`, and of `hits`, `load_ms`, `bytes` and `ttl_s` what is known, each \
             a number of 0 or more",
        )
    };
    let cell = |name: &str| {
        let at = row.columns().iter().position(|column| column.name() == name)?;
        row.get(at)
    };
    let number = |name: &str| match cell(name).map(str::parse::<f64>) {
        None => Ok(None),
        Some(Ok(number)) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
        Some(_) => Err(bad(&format!("has no number as `{name}`"))),
    };
    let span = |name: &str, unit: f64| {
        Ok::<_, Error>(number(name)?.and_then(|n| Duration::try_from_secs_f64(n * unit).ok()))
    };
    let key = cell("key").ok_or_else(|| bad("has no `key`"))?;
    Ok(Candidate {
        load_cost: span("load_ms", 1e-3)?,
        // A cast of a number that is too large gives the largest.
        size: number("bytes")?.map(|bytes| bytes as u64),
        ttl: span("ttl_s", 1.0)?.map(Ttl::fresh),
        ..Candidate::new(key, number("hits")?.unwrap_or(1.0))
    })
}
