//! Live traffic beside a warmer whose source is not well. Time is simulated: what a read takes is
//! what it waits for the tier, the warmer or the source, and for nothing else.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    ByteSize, Cache, Item, LatencyHistogram, Layer, MemoryTier, Span,
    testkit::{Fault, Faults},
};
use cache_warmer::{
    Answer, Mode, Plan, Report, Source, SourceError, SourceErrorKind, Warmer, WarmerConfig,
    load_each,
};
use tokio::time::{Instant, sleep};

use crate::support::TokioClock;

/// What a call of the tier, and of the source, takes.
const TIER: Duration = Duration::from_millis(1);
const LOAD: Duration = Duration::from_millis(20);

/// For how long warming and reading go on.
const TIME: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Ailment {
    Fails,
    Hangs,
    Garbage,
    TooMany,
}

#[derive(Debug)]
struct Unwell {
    ailment: Ailment,
    calls: AtomicUsize,
}

#[async_trait::async_trait]
impl Source<String> for Unwell {
    async fn load(&self, key: &str) -> Answer<String> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        sleep(LOAD).await;
        if call % 10 >= 3 {
            return Ok(Some(Item::new(format!("{key} is true"))));
        }
        let rejected = |status| SourceErrorKind::Rejected { status };
        Err(match self.ailment {
            Ailment::Fails => SourceError::new(rejected(503), "it is down"),
            Ailment::Hangs => std::future::pending().await,
            Ailment::Garbage => SourceError::new(SourceErrorKind::Malformed, "not JSON"),
            Ailment::TooMany => SourceError::new(rejected(429), "too often"),
        })
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
        load_each(self, keys, 1).await
    }

    fn batch_len_max(&self) -> usize {
        1
    }
}

/// A cache over a tier that takes its time, in which every tenth key is.
async fn cache(load_timeout: Duration) -> Cache<String> {
    let clock = Arc::new(TokioClock::begin());
    let faults = Faults::new();
    let tier = faults.layer().wrap(MemoryTier::shared(ByteSize::mib(16), clock.clone()));
    let cache = Cache::builder("price")
        .ttl(Duration::from_secs(3_600))
        .load_timeout(load_timeout)
        .without_near()
        .clock(clock)
        .tier(tier)
        .build()
        .expect("the settings are fine");
    for i in 0..100 {
        cache
            .insert(&format!("live {i}"), format!("live {i} is true"))
            .await
            .expect("memory takes it");
    }
    faults.always(Fault::Delay(TIER));
    cache
}

/// Reads what the cache has, and what it has not and a well source brings, a read every 5 ms: what
/// those took.
async fn readers(cache: &Cache<String>) -> [LatencyHistogram; 2] {
    let mut took = [(); 2].map(|()| LatencyHistogram::new());
    let end = Instant::now() + TIME;
    for i in 0_u64.. {
        if Instant::now() >= end {
            break;
        }
        let is_miss = i % 10 == 0;
        let key = if is_miss { format!("cold {i}") } else { format!("live {}", i % 100) };
        let began = Instant::now();
        let of = key.clone();
        let load = || async move {
            sleep(LOAD).await;
            Ok::<_, Infallible>(format!("{of} is true"))
        };
        let hit = cache.get_or_load(&key, load).await.expect("this source is well");
        assert_eq!(*hit.value().as_str(), format!("{key} is true"));
        took[usize::from(is_miss)].record(began.elapsed(), 1);
        sleep(Duration::from_millis(5)).await;
    }
    took
}

async fn warm(cache: &Cache<String>, ailment: Ailment) -> (Report, Warmer<String>) {
    let source = Arc::new(Unwell { ailment, calls: AtomicUsize::new(0) });
    let config = WarmerConfig { deadline: Some(Span(TIME)), ..WarmerConfig::default() };
    let warmer = Warmer::new(cache.clone(), source, config).expect("the settings are fine");
    let plan = Plan::new((0..100_000).map(|i| format!("warm {i}"))).expect("valid keys");
    let report = warmer.warm(&plan, Mode::Forced).await;
    for keys in plan.keys().chunks(500) {
        for (key, hit) in keys.iter().zip(cache.get_many(keys).await.expect("the tier is well")) {
            let is_false = hit.is_some_and(|hit| *hit.value().as_str() != format!("{key} is true"));
            assert!(!is_false, "{key}");
        }
    }
    (report, warmer)
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_well_costs_live_reads_nothing() {
    let load_timeout = Duration::from_secs(2);
    let alone = readers(&cache(load_timeout).await).await;
    for (ailment, reason) in [
        (Ailment::Fails, "rejected_503"),
        (Ailment::Hangs, "timed_out"),
        (Ailment::Garbage, "malformed"),
        (Ailment::TooMany, "rejected_429"),
    ] {
        let cache = cache(load_timeout).await;
        let ((report, warmer), beside) = tokio::join!(warm(&cache, ailment), readers(&cache));
        for (alone, beside) in alone.iter().zip(&beside) {
            for quantile in [0.5, 0.99, 1.0] {
                let (alone, beside) = (alone.quantile_us(quantile), beside.quantile_us(quantile));
                assert!(beside <= alone * 1.1, "{ailment:?}: {beside} µs, and alone {alone} µs");
            }
        }
        assert_eq!(report.done(), report.planned, "{report}");
        assert!(report.loaded > 50 && report.failed[reason].keys > 10, "{ailment:?}: {report}");
        assert!(warmer.concurrency_now() <= 8.0);
    }
}
