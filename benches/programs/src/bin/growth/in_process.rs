//! The near tier, and moka by itself with the same keys and values.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use cache_benches::resident::resident;
use cache_core::{ByteSize, Cache, Raw};

use super::subject::{Growing, anywhere, payload, text};

/// Of one caller.
const HITS: u64 = 500_000;
const SEED: u64 = 42;

/// A cache that has nothing but its near tier, with room for all.
pub(crate) struct Near(Cache<Bytes>);

impl Near {
    pub(crate) fn new() -> Result<Self> {
        let builder = Cache::builder_with("growth", Raw).near(ByteSize::mib(64 << 10));
        Ok(Self(builder.ttl(Duration::from_secs(3_600)).build()?))
    }
}

#[async_trait]
impl Growing for Near {
    async fn insert(&self, from: u64, to: u64) -> Result<()> {
        let mut buffer = String::new();
        for number in from..to {
            self.0.insert(text(&mut buffer, number), payload(number)).await?;
        }
        Ok(())
    }

    async fn hit(&self, entries: u64, count: u64) -> Result<()> {
        let mut buffer = String::new();
        for number in anywhere(entries, SEED).take(count as usize) {
            self.0.get(text(&mut buffer, number)).await?.context("an entry is gone")?;
        }
        Ok(())
    }

    fn hits(&self) -> u64 {
        HITS
    }

    async fn bytes(&self) -> Result<u64> {
        resident("self")
    }

    async fn clean(&self) -> Result<()> {
        Ok(())
    }
}

/// Owns its keys and shares its values, as the near tier does.
pub(crate) struct Moka(moka::sync::Cache<String, Arc<Bytes>>);

impl Moka {
    pub(crate) fn new() -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(u64::MAX);
        Self(builder.time_to_live(Duration::from_secs(3_600)).build())
    }
}

#[async_trait]
impl Growing for Moka {
    async fn insert(&self, from: u64, to: u64) -> Result<()> {
        let mut buffer = String::new();
        for number in from..to {
            self.0.insert(text(&mut buffer, number).to_owned(), Arc::new(payload(number)));
        }
        // What it has put off is a part of inserting.
        self.0.run_pending_tasks();
        Ok(())
    }

    async fn hit(&self, entries: u64, count: u64) -> Result<()> {
        let mut buffer = String::new();
        for number in anywhere(entries, SEED).take(count as usize) {
            self.0.get(text(&mut buffer, number)).context("an entry is gone")?;
        }
        Ok(())
    }

    fn hits(&self) -> u64 {
        HITS
    }

    async fn bytes(&self) -> Result<u64> {
        resident("self")
    }

    async fn clean(&self) -> Result<()> {
        Ok(())
    }
}
