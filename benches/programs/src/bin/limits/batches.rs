//! Many keys in one call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use cache_benches::comparison::Row;
use cache_core::{ByteSize, Cache};

use crate::{
    Setting, bare,
    callers::closed_loop,
    ours::{self, KEYS, Ours},
    turns::{Figure, Figures, Question, Wanted},
};

/// The keys of one call.
const LEN: usize = 100;
const BATCHES: usize = KEYS / LEN;
const PARTS: u32 = LEN as u32;

/// The 100 keys that make up the batch number `i`.
fn batch(keys: &[String], i: usize) -> &[String] {
    &keys[i * LEN..(i + 1) * LEN]
}

pub(crate) async fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let ours = Ours::open(setting).await?;
    through_the_stack(setting, &ours).await
}

/// Through Redis alone, which has all `keys`.
pub(crate) async fn many_keys(
    setting: &Setting,
    cache: &Cache<Bytes>,
    keys: &Arc<[String]>,
) -> Result<Vec<Row>> {
    let connection = bare::redis_connection(setting).await?;

    let many = |callers, lasting| {
        let (cache, keys) = (cache.clone(), Arc::clone(keys));
        closed_loop(callers, BATCHES, lasting, move |i| {
            let (cache, keys) = (cache.clone(), Arc::clone(&keys));
            async move { read(&cache, batch(&keys, i)).await }
        })
    };
    let bare = |callers, lasting| {
        let (connection, keys) = (connection.clone(), Arc::clone(keys));
        closed_loop(callers, BATCHES, lasting, move |i| {
            let (connection, keys) = (connection.clone(), Arc::clone(&keys));
            async move { bare::get_many(connection, batch(&keys, i)).await }
        })
    };

    let mut question = Question::new(setting);
    question.subject("get_many", |lasting| many(1, lasting));
    question.subject("100 gets", |lasting| {
        let (cache, keys) = (cache.clone(), Arc::clone(keys));
        closed_loop(1, BATCHES, lasting, move |i| {
            let (cache, keys) = (cache.clone(), Arc::clone(&keys));
            async move {
                for key in batch(&keys, i) {
                    ours::read(&cache, key).await?;
                }
                Ok(())
            }
        })
    });
    question.subject("MGET by redis-rs", |lasting| bare(1, lasting));
    question.subject("get_many, 4 callers", |lasting| many(4, lasting));
    question.subject("MGET by redis-rs, 4 callers", |lasting| bare(4, lasting));

    let key = Figure::MicrosOfEach(PARTS);
    let name = |what: &str| format!("get_many of 100 through Redis, a key: {what}");
    question.row(Wanted::new(name("in all"), key, "get_many").at_most(6.0));
    question.row(
        Wanted::new(name("of gets one after another"), key, "get_many")
            .beside("100 gets")
            .at_most(1.0 / 15.0),
    );
    question.row(Wanted::new(name("of a bare MGET"), key, "get_many").beside("MGET by redis-rs"));
    question.row(
        Wanted::new(name("of a bare MGET, 4 callers"), key, "get_many, 4 callers")
            .beside("MGET by redis-rs, 4 callers"),
    );
    question.answer().await
}

/// The whole stack: near, Redis, PostgreSQL.
async fn through_the_stack(setting: &Setting, ours: &Ours) -> Result<Vec<Row>> {
    let stack = ours
        .builder("stack")
        .near(ByteSize::mib(1_024))
        .tier(ours.redis.clone())
        .tier(ours.postgres.clone())
        .build()?;
    let lower = ours.over("stack", ours.postgres.clone())?;
    let fresh = Fresh::default();

    let mut question = Question::new(setting);
    question.subject("all in the near tier", |lasting| {
        let stack = stack.clone();
        async move {
            let keys: Arc<[String]> = ours::keys(LEN).into();
            ours::fill(&stack, &keys).await?;
            closed_loop(1, 1, lasting, move |_| {
                let (stack, keys) = (stack.clone(), Arc::clone(&keys));
                async move { read(&stack, &keys).await }
            })
            .await
        }
    });
    // Each batch is read once: it is in the near tier then.
    question.subject("half in the near tier, half in PostgreSQL", |lasting| {
        fresh.reads(&stack, &lower, lasting)
    });
    let name = |what: &str| format!("get_many of 100 through the stack, a key: {what}");
    let key = Figure::MicrosOfEach(PARTS);
    question.row(Wanted::new(name("warm"), key, "all in the near tier"));
    question.row(
        Wanted::new(name("half warm"), key, "half in the near tier, half in PostgreSQL")
            .noted("50 from the near tier; 50 asked of Redis, read in PostgreSQL, put into Redis"),
    );
    question.answer().await
}

/// Batches that were never read.
#[derive(Debug, Default)]
struct Fresh(AtomicUsize);

impl Fresh {
    /// Reads so many new batches, and divides their time by their number.
    async fn reads(
        &self,
        stack: &Cache<Bytes>,
        lower: &Cache<Bytes>,
        lasting: Duration,
    ) -> Result<Figures> {
        // About as many as are read in that time.
        let batches = (lasting.as_millis() as usize).max(50);
        let from = self.0.fetch_add(batches * LEN, Ordering::Relaxed);
        let keys: Vec<String> =
            (from..from + batches * LEN).map(|i| format!("fresh:{i:07}:2026-12-01")).collect();
        let (warm, cold): (Vec<_>, Vec<_>) =
            keys.iter().cloned().enumerate().partition(|(i, _)| i % 2 == 0);
        let texts = |part: Vec<(usize, String)>| -> Vec<String> {
            part.into_iter().map(|(_, key)| key).collect()
        };
        ours::fill(lower, &texts(cold)).await?;
        ours::fill(stack, &texts(warm)).await?;
        let began = std::time::Instant::now();
        for i in 0..batches {
            read(stack, batch(&keys, i)).await?;
        }
        let per_s = batches as f64 / began.elapsed().as_secs_f64();
        Ok(Figures { per_s, ..Figures::default() })
    }
}

async fn read(cache: &Cache<Bytes>, keys: &[String]) -> Result<()> {
    let hits = cache.get_many(keys).await?;
    let right = |hit: &Option<cache_core::Hit<Bytes>>| {
        hit.as_ref().is_some_and(|hit| hit.len() == ours::VALUE_LEN)
    };
    ensure!(hits.len() == keys.len() && hits.iter().all(right), "a key is gone");
    Ok(())
}
