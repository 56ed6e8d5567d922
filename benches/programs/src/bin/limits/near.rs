//! A hit in this process, beside bare maps.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use cache_benches::comparison::Row;
use cache_core::{ByteSize, Cache, Raw};
use futures::FutureExt;

use crate::{
    Setting,
    callers::Random,
    ours,
    turns::{Figure, Figures, Question, Wanted},
};

/// Reads between two looks at the clock.
const STRETCH: usize = 2_000;

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in [1_000, 100_000] {
        rows.extend(of_keys(setting, count).await?);
    }
    Ok(rows)
}

async fn of_keys(setting: &Setting, count: usize) -> Result<Vec<Row>> {
    let keys = ours::keys(count);
    let moka: moka::sync::Cache<String, Bytes> = moka::sync::Cache::new(4 * count as u64);
    let quick: quick_cache::sync::Cache<String, Bytes> = quick_cache::sync::Cache::new(2 * count);
    let builder = Cache::builder_with("limits", Raw).near(ByteSize::mib(1_024));
    let cache: Cache<Bytes> = builder.build()?;
    for key in &keys {
        moka.insert(key.clone(), ours::value());
        quick.insert(key.clone(), ours::value());
        cache.insert(key, ours::value()).await?;
    }
    moka.run_pending_tasks();

    let mut question = Question::new(setting);
    let keys = &keys;
    question.subject("get", |lasting| {
        reads(keys, lasting, |key| {
            cache.get(key).now_or_never().is_some_and(|hit| matches!(hit, Ok(Some(_))))
        })
    });
    question.subject("moka", |lasting| reads(keys, lasting, |key| moka.get(key).is_some()));
    question.subject("peek", |lasting| reads(keys, lasting, |key| cache.peek(key).is_some()));
    question.subject("quick_cache", |lasting| reads(keys, lasting, |key| quick.get(key).is_some()));
    let name = |what: &str| format!("near hit, {count} keys: {what}");
    question.row(Wanted::new(name("get"), Figure::Nanos, "get").beside("moka").at_most(1.3));
    question.row(Wanted::new(name("peek"), Figure::Nanos, "peek").beside("moka").at_most(1.3));
    let beside_quick_cache =
        Wanted::new(name("peek of quick_cache"), Figure::Nanos, "peek").beside("quick_cache");
    question.row(match count {
        100_000 => beside_quick_cache.at_most(1.2),
        _ => beside_quick_cache,
    });
    question.answer().await
}

/// Reads of one thread, each of another key.
async fn reads(keys: &[String], lasting: Duration, read: impl Fn(&str) -> bool) -> Result<Figures> {
    let (mut random, mut count) = (Random::new(1), 0);
    let began = Instant::now();
    while began.elapsed() < lasting {
        for _ in 0..STRETCH {
            let found = read(black_box(&keys[random.below(keys.len())]));
            assert!(black_box(found), "it was put there");
        }
        count += STRETCH;
    }
    Ok(Figures { per_s: count as f64 / began.elapsed().as_secs_f64(), ..Figures::default() })
}
