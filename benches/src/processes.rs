//! A stack that several processes share, and the second process.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use cache_core::{Builder, Cache, SystemClock, Tier};
use cache_postgres::{PostgresConfig, PostgresTier};
use cache_redis::{RedisConfig, RedisTier};
use cache_sqlite::{SqliteConfig, SqliteTier};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Where the tiers are, top first, and the namespace. Handed to the second process as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The namespace that the processes share.
    pub namespace: String,
    /// The address of a Redis.
    pub redis: Option<String>,
    /// The address of a PostgreSQL, and a schema in it.
    pub postgres: Option<(String, String)>,
    /// A SQLite file.
    pub sqlite: Option<PathBuf>,
}

impl Place {
    /// Opens the tiers.
    ///
    /// # Errors
    ///
    /// What a tier says when it cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// A dropped future closes what it had opened.
    pub async fn open(&self) -> Result<Builder<String>> {
        let clock = SystemClock::shared();
        let mut tiers: Vec<Arc<dyn Tier>> = Vec::new();
        if let Some(url) = &self.redis {
            tiers.push(RedisTier::connect(&RedisConfig::new(url), clock.clone()).await?);
        }
        if let Some((url, schema)) = &self.postgres {
            let config = PostgresConfig { schema: schema.clone(), ..PostgresConfig::new(url) };
            tiers.push(PostgresTier::connect(&config, clock.clone()).await?);
        }
        if let Some(path) = &self.sqlite {
            tiers.push(SqliteTier::with_config(&SqliteConfig::new(path), clock.clone())?);
        }
        let builder = Cache::builder(&self.namespace).ttl(Duration::from_secs(600)).clock(clock);
        Ok(tiers.into_iter().fold(builder, Builder::tier))
    }
}

/// The other end of [`Peer`]: carries out commands from standard input until it ends. The program
/// `peer` does nothing else.
///
/// `load KEY` loads, asking the first process for the value: it prints `ask KEY`, and expects
/// `value TEXT`. `get KEY` reads.
///
/// # Errors
///
/// When a tier cannot be opened, or the input is not understood.
///
/// # Cancel safety
///
/// Not meant to be dropped.
pub async fn serve(place: Place) -> Result<()> {
    // Its near tier is not connected to the first process' one: it does without.
    let cache = place.open().await?.without_near().build()?;
    let input = Arc::new(tokio::sync::Mutex::new(BufReader::new(tokio::io::stdin()).lines()));
    println!("ready");
    loop {
        let Some(line) = input.lock().await.next_line().await? else { return Ok(()) };
        match line.split_once(' ') {
            Some(("load", key)) => {
                let (asked, source) = (key.to_owned(), Arc::clone(&input));
                let load = move || async move {
                    println!("ask {asked}");
                    let answer = source.lock().await.next_line().await?.unwrap_or_default();
                    let value = answer.strip_prefix("value ").map(str::to_owned);
                    value.ok_or_else(|| anyhow!("`{answer}` is no value"))
                };
                let hit = cache.get_or_load(key, load).await.map_err(|e| anyhow!("{e}"))?;
                println!("loaded {}", *hit);
            }
            Some(("get", key)) => {
                let hit = cache.get(key).await?;
                println!("got {}", hit.as_ref().map_or("-", |hit| hit.as_str()));
            }
            _ => bail!("`{line}` is no command"),
        }
    }
}

/// A second process with the same stack.
#[derive(Debug)]
pub struct Peer {
    // Held so that the process ends with this.
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts `program` on `place`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not get ready.
    ///
    /// # Cancel safety
    ///
    /// A dropped future ends the process.
    pub async fn start(program: &str, place: &Place) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(serde_json::to_string(place)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {program}"))?;
        let input = child.stdin.take().context("standard input is piped")?;
        let output = BufReader::new(child.stdout.take().context("standard output is piped")?);
        let mut peer = Self { _child: child, input, output: output.lines() };
        peer.expect("ready").await?;
        Ok(peer)
    }

    /// Sends a line.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have sent a part of the line.
    pub async fn send(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// Receives a line that begins with `start`, and answers with the rest of it.
    ///
    /// # Errors
    ///
    /// When another line comes, or the process has ended.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have received a part of a line.
    pub async fn expect(&mut self, start: &str) -> Result<String> {
        let line = self.output.next_line().await?.context("the second process has ended")?;
        let rest = line.strip_prefix(start).with_context(|| format!("`{line}` is no {start}"))?;
        Ok(rest.trim_start().to_owned())
    }
}
