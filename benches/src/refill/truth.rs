//! What the source has.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use cache_core::{Item, Version};
use cache_warmer::{Answer, Source, load_each};
use parking_lot::Mutex;

/// The truth: the version of each key, and how often it was asked for.
#[derive(Debug, Default)]
pub(super) struct Truth {
    versions: Mutex<HashMap<String, u64>>,
    pub(super) calls: AtomicU64,
}

impl Truth {
    pub(super) fn next(&self, key: &str) -> u64 {
        let mut versions = self.versions.lock();
        let version = versions.entry(key.to_owned()).or_insert(0);
        *version += 1;
        *version
    }

    pub(super) fn item(&self, key: &str) -> Item<String> {
        let version = self.versions.lock().get(key).copied().unwrap_or(0);
        value(key, version)
    }
}

pub(super) fn value(key: &str, version: u64) -> Item<String> {
    Item::new(format!("{key} {version} {}", "x".repeat(200))).version(Version(version))
}

#[async_trait::async_trait]
impl Source<String> for Truth {
    async fn load(&self, key: &str) -> Answer<String> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Some(self.item(key)))
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
        load_each(self, keys, 8).await
    }

    fn batch_len_max(&self) -> usize {
        1
    }
}
