//! What one run does.

use std::{sync::Arc, time::Duration};

use crate::support::{Fake, prices};
use cache_core::{
    ByteSize, Cache, ErrorKind, Item, Layer, ManualClock, MemoryTier, Origin, Span, Version,
    testkit::{Fault, Faults},
};
use cache_warmer::{
    Budget, Candidate, KeySource, Mode, Plan, Report, Source, Warmer, WarmerConfig,
};
use parking_lot::Mutex;

fn plan<const N: usize>(keys: [&str; N]) -> Plan {
    Plan::new(keys).expect("valid keys")
}

fn warmer(cache: &Cache<String>, source: &Arc<Fake>) -> Warmer<String> {
    warmer_with(cache, source, WarmerConfig::default())
}

fn warmer_with(cache: &Cache<String>, source: &Arc<Fake>, config: WarmerConfig) -> Warmer<String> {
    Warmer::new(cache.clone(), Arc::clone(source) as Arc<dyn Source<String>>, config)
        .expect("the settings are fine")
}

#[tokio::test]
async fn warming_writes_under_the_keys_that_readers_read() {
    let tier = MemoryTier::shared(ByteSize::mib(1), Arc::new(ManualClock::new()));
    let clock = Arc::new(ManualClock::new());
    let build = || Cache::builder("price").clock(clock.clone()).tier(tier.clone()).build().unwrap();
    let (cache, another): (Cache<String>, Cache<String>) = (build(), build());
    let report =
        warmer(&cache, &Arc::new(Fake::new())).warm(&plan(["AAPL", "IBM"]), Mode::Due).await;
    assert_eq!((report.planned, report.loaded, report.done()), (2, 2, 2));
    let hit = cache.get("AAPL").await.unwrap().unwrap();
    assert_eq!((hit.as_str(), hit.origin()), ("AAPL#1", &Origin::Near));
    // And in the tier below, for the caches of other processes.
    assert_eq!(another.get("IBM").await.unwrap().unwrap().as_str(), "IBM#1");
}

#[tokio::test]
async fn what_is_fresh_is_not_loaded_unless_it_is_forced() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let warmer = warmer(&cache, &source);
    cache.insert("AAPL", "inserted".to_owned()).await.unwrap();
    let plan = plan(["AAPL", "IBM"]);
    let report = warmer.warm(&plan, Mode::Due).await;
    assert_eq!((report.already_fresh, report.loaded, source.loads_of("AAPL")), (1, 1, 0));
    let report = warmer.warm(&plan, Mode::Forced).await;
    assert_eq!((report.already_fresh, report.loaded, source.loads_of("AAPL")), (0, 2, 1));
    assert_eq!(cache.get("AAPL").await.unwrap().unwrap().as_str(), "AAPL#1");
}

#[tokio::test(start_paused = true)]
async fn what_expires_within_the_lead_is_loaded_again() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let warmer = warmer(&cache, &source);
    let plan = plan(["AAPL"]);
    for (after_ms, loads) in [(0, 1), (6_999, 1), (1, 2), (20_000, 3)] {
        tokio::time::advance(Duration::from_millis(after_ms)).await;
        warmer.warm(&plan, Mode::Due).await;
        assert_eq!(source.loads_of("AAPL"), loads, "{after_ms} ms later");
    }
}

#[tokio::test]
async fn failures_are_counted_by_reason_and_do_not_stop_the_others() {
    for batch_len_max in [1, 2, 100] {
        let cache = prices();
        let source = Arc::new(Fake::new().batches_of(batch_len_max));
        cache.insert("fails-2", "kept".to_owned()).await.unwrap();
        let plan = plan(["fails-1", "AAPL", "missing", "fails-2", "garbage", "IBM"]);
        let report = warmer(&cache, &source).warm(&plan, Mode::Forced).await;
        assert_eq!((report.loaded, report.missing_at_source, report.done()), (2, 1, 6));
        let reasons: Vec<(&str, u64)> =
            report.failed.iter().map(|(reason, of)| (reason.as_str(), of.keys)).collect();
        assert_eq!(reasons, [("malformed", 1), ("rejected_429", 2)]);
        let example = &report.failed["rejected_429"].example;
        assert!(example.contains("asked too often; ask less"), "{example}");
        // A source that fails leaves what is there, and nothing false.
        assert_eq!(cache.get("fails-2").await.unwrap().unwrap().as_str(), "kept");
        assert!(cache.get("garbage").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_source_that_panics_is_a_reason_like_any_other() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let report = warmer(&cache, &source).warm(&plan(["panics", "AAPL"]), Mode::Due).await;
    assert_eq!((report.loaded, report.failed["source_panicked"].keys), (1, 1));
}

#[tokio::test]
async fn a_source_that_answers_for_too_few_keys_is_malformed() {
    #[derive(Debug)]
    struct Short;

    #[async_trait::async_trait]
    impl Source<String> for Short {
        async fn load(&self, _: &str) -> cache_warmer::Answer<String> {
            Ok(Some(Item::new("shifted".to_owned())))
        }

        async fn load_many(&self, keys: &[String]) -> Vec<cache_warmer::Answer<String>> {
            vec![self.load(&keys[1]).await]
        }

        fn batch_len_max(&self) -> usize {
            2
        }
    }

    let cache = prices();
    let warmer = Warmer::new(cache.clone(), Arc::new(Short), WarmerConfig::default()).unwrap();
    let report = warmer.warm(&plan(["a", "b"]), Mode::Due).await;
    assert_eq!(report.failed["malformed"].keys, 2);
    assert!(cache.get("a").await.unwrap().is_none());
}

#[tokio::test]
async fn calls_of_the_source_are_bounded_over_all_runs() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(2).closed()));
    let config = WarmerConfig { concurrency: 3, ..WarmerConfig::default() };
    let warmer = warmer_with(&cache, &source, config);
    let keys = |prefix: &str| Plan::new((0..20).map(|i| format!("{prefix}{i}"))).unwrap();
    let (one, two) = (keys("a"), keys("b"));
    let test = async {
        source.under_way(3).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(source.calls(), 3);
        source.open();
    };
    let (one, two, ()) =
        tokio::join!(warmer.warm(&one, Mode::Due), warmer.warm(&two, Mode::Forced), test);
    assert_eq!((one.loaded, two.loaded), (20, 20));
    assert_eq!((source.calls(), source.most_under_way()), (20, 3));
}

#[tokio::test]
async fn a_batch_is_as_long_as_both_the_source_and_the_setting_permit() {
    for (source_max, batch_len, calls) in [(100, 100, 1), (100, 4, 3), (5, 100, 2), (0, 100, 10)] {
        let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(source_max)));
        let config = WarmerConfig { batch_len, ..WarmerConfig::default() };
        let plan = Plan::new((0..10).map(|i| i.to_string())).unwrap();
        let report = warmer_with(&cache, &source, config).warm(&plan, Mode::Due).await;
        assert_eq!((report.loaded, source.calls()), (10, calls), "{source_max} and {batch_len}");
    }
}

#[tokio::test]
async fn an_invalidation_during_a_warm_up_is_not_undone() {
    for mode in [Mode::Due, Mode::Forced] {
        let (cache, source) = (prices(), Arc::new(Fake::new().closed()));
        let warmer = warmer(&cache, &source);
        let plan = plan(["AAPL", "IBM"]);
        let change = async {
            source.under_way(1).await;
            cache.invalidate("AAPL").await.unwrap();
            cache.insert("IBM", "newer".to_owned()).await.unwrap();
            source.open();
        };
        tokio::join!(warmer.warm(&plan, mode), change);
        assert!(cache.get("AAPL").await.unwrap().is_none());
        assert_eq!(cache.get("IBM").await.unwrap().unwrap().as_str(), "newer");
    }
}

#[tokio::test]
async fn a_warm_up_does_not_replace_a_newer_version() {
    let (cache, source) = (prices(), Arc::new(Fake::new().version(Version(7))));
    let newer = Item::new("newer".to_owned()).version(Version(8));
    cache.insert("AAPL", newer).await.unwrap();
    warmer(&cache, &source).warm(&plan(["AAPL", "IBM"]), Mode::Forced).await;
    assert_eq!(source.loads_of("AAPL"), 1);
    assert_eq!(cache.get("AAPL").await.unwrap().unwrap().as_str(), "newer");
    assert_eq!(cache.get("IBM").await.unwrap().unwrap().version(), Some(Version(7)));
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_its_deadline_and_says_what_is_left() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let config =
        WarmerConfig { concurrency: 2, deadline: Some(Span::secs(1)), ..WarmerConfig::default() };
    let warmer = warmer_with(&cache, &source, config);
    let plan = plan(["hangs-1", "AAPL", "hangs-2", "IBM", "MSFT"]);
    let report = warmer.warm(&plan, Mode::Due).await;
    assert_eq!((report.loaded, report.failed["deadline"].keys, report.done()), (1, 4, 5));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up_after_the_caches_load_timeout() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let report = warmer(&cache, &source).warm(&plan(["hangs", "AAPL"]), Mode::Due).await;
    assert_eq!((report.loaded, report.failed["timed_out"].keys), (1, 1));
    let example = &report.failed["timed_out"].example;
    assert!(example.contains("`hangs`") && example.contains("load_timeout"), "{example}");
}

#[tokio::test]
async fn a_dropped_run_starts_nothing_more_and_what_it_started_fills_the_cache() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1).closed()));
    let config = WarmerConfig { concurrency: 1, ..WarmerConfig::default() };
    let warmer = warmer_with(&cache, &source, config);
    let plan = plan(["AAPL", "IBM"]);
    tokio::select! {
        _ = warmer.warm(&plan, Mode::Due) => unreachable!("the source is closed"),
        () = source.under_way(1) => {}
    }
    source.open();
    cache.shutdown(Duration::from_secs(60)).await.unwrap();
    assert!(cache.peek("AAPL").is_some());
    assert_eq!((source.calls(), warmer.stats().runs), (1, 0));
}

#[tokio::test]
async fn a_tier_that_is_down_keeps_nobody_from_warming_the_others() {
    let faults = Faults::new();
    let clock = Arc::new(ManualClock::new());
    let tier = MemoryTier::shared(ByteSize::mib(1), clock.clone());
    let tier = faults.layer().wrap(tier);
    let cache: Cache<String> = Cache::builder("price").clock(clock).tier(tier).build().unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    let report = warmer(&cache, &Arc::new(Fake::new())).warm(&plan(["AAPL"]), Mode::Due).await;
    assert_eq!(report.loaded, 1);
    assert_eq!(cache.get("AAPL").await.unwrap().unwrap().origin(), &Origin::Near);
}

#[tokio::test]
async fn a_closed_cache_is_a_reason_like_any_other() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    cache.shutdown(Duration::ZERO).await.unwrap();
    let report = warmer(&cache, &source).warm(&plan(["AAPL"]), Mode::Due).await;
    assert_eq!((report.failed["cache_closed"].keys, source.calls()), (1, 0));
}

#[tokio::test]
async fn progress_goes_on_to_the_last_key() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(3)));
    let seen = Mutex::new(Vec::new());
    let progress = |so_far: &Report| seen.lock().push((so_far.done(), so_far.planned));
    let plan = Plan::new((0..10).map(|i| i.to_string())).unwrap();
    let report = warmer(&cache, &source).warm_with(&plan, Mode::Due, &progress).await;
    let seen = seen.into_inner();
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&(report.done(), 10)));
    assert!(seen.len() >= 4, "{seen:?}");
}

#[tokio::test]
async fn looking_at_what_is_cached_counts_as_no_read() {
    let clock = Arc::new(ManualClock::new());
    let tier = MemoryTier::shared(ByteSize::mib(1), clock.clone());
    let cache: Cache<String> = Cache::builder("price").clock(clock).tier(tier).build().unwrap();
    let warmer = warmer(&cache, &Arc::new(Fake::new()));
    for mode in [Mode::Due, Mode::Due, Mode::Forced] {
        warmer.warm(&plan(["AAPL", "IBM", "missing"]), mode).await;
    }
    let stats = cache.stats().await;
    assert_eq!((stats.hits, stats.misses), (0, 0));
    for tier in &stats.tiers {
        assert_eq!((tier.hits, tier.misses), (0, 0), "{}", tier.name);
    }
}

#[tokio::test]
async fn what_was_changed_during_its_load_does_not_count_as_loaded() {
    let (cache, source) = (prices(), Arc::new(Fake::new().closed()));
    let warmer = warmer(&cache, &source);
    let plan = plan(["AAPL", "IBM"]);
    let change = async {
        source.under_way(1).await;
        cache.invalidate("AAPL").await.unwrap();
        source.open();
    };
    let (report, ()) = tokio::join!(warmer.warm(&plan, Mode::Due), change);
    assert_eq!((report.loaded, report.skipped["superseded"], report.done()), (1, 1, 2));
}

#[tokio::test]
async fn what_a_lower_tier_has_is_copied_up_and_the_source_is_not_asked() {
    let clock = Arc::new(ManualClock::new());
    let tier = |name: &str| -> Arc<MemoryTier> {
        Arc::new(MemoryTier::new(ByteSize::mib(1), clock.clone()).named(name))
    };
    let (upper, lower) = (tier("upper"), tier("lower"));
    let build = |tiers: &[&Arc<MemoryTier>]| -> Cache<String> {
        let builder = Cache::builder("price").clock(clock.clone());
        let builder = tiers.iter().fold(builder, |builder, tier| builder.tier((*tier).clone()));
        builder.build().unwrap()
    };
    let before = build(&[&lower]);
    for key in ["AAPL", "IBM"] {
        before.insert(key, key.to_owned()).await.unwrap();
    }
    let (cache, source) = (build(&[&upper, &lower]), Arc::new(Fake::new()));
    let warmer = warmer(&cache, &source);
    let plan = plan(["AAPL", "IBM", "MSFT"]);
    let report = warmer.warm(&plan, Mode::Due).await;
    assert_eq!((report.copied, report.loaded, report.source_calls), (2, 1, 1));
    assert!(report.bytes > 0, "{report}");
    assert_eq!(source.loaded_keys().len(), 1);
    let third = build(&[&upper]);
    assert_eq!(third.get("IBM").await.unwrap().unwrap().as_str(), "IBM");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_says_when_to_come_again_is_left_alone_until_then() {
    #[derive(Debug, Default)]
    struct Busy(Mutex<Vec<tokio::time::Instant>>);

    #[async_trait::async_trait]
    impl Source<String> for Busy {
        async fn load(&self, key: &str) -> cache_warmer::Answer<String> {
            let mut calls = self.0.lock();
            calls.push(tokio::time::Instant::now());
            if calls.len() > 4 {
                return Ok(Some(Item::new(key.to_owned())));
            }
            let kind = cache_warmer::SourceErrorKind::Rejected { status: 429 };
            let error = cache_warmer::SourceError::new(kind, "too often");
            Err(error.retry_after(Duration::from_secs(5)))
        }

        async fn load_many(&self, keys: &[String]) -> Vec<cache_warmer::Answer<String>> {
            cache_warmer::load_each(self, keys, 1).await
        }

        fn batch_len_max(&self) -> usize {
            1
        }
    }

    let (cache, source) = (prices(), Arc::new(Busy::default()));
    let shared = Arc::clone(&source) as Arc<dyn Source<String>>;
    let config = WarmerConfig { concurrency: 4, ..WarmerConfig::default() };
    let warmer = Warmer::new(cache, shared, config).unwrap();
    let keys = Plan::new((0..10).map(|i| i.to_string())).unwrap();
    let report = warmer.warm(&keys, Mode::Due).await;
    assert_eq!((report.loaded, report.failed_keys(), report.source_calls), (10, 0, 14));
    let calls = source.0.lock().clone();
    assert!(calls[4] - calls[3] >= Duration::from_secs(5), "four were under way, then nothing");
    assert!(warmer.concurrency_now() <= 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_its_rate() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let config =
        WarmerConfig { keys_per_s_max: Some(100.0), batch_len: 10, ..WarmerConfig::default() };
    let keys = Plan::new((0..500).map(|i| i.to_string())).unwrap();
    let start = tokio::time::Instant::now();
    let report = warmer_with(&cache, &source, config).warm(&keys, Mode::Forced).await;
    assert_eq!((report.loaded, report.source_calls), (500, 50));
    let took = start.elapsed();
    assert!((4_800..=5_100).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_hangs_or_talks_nonsense_is_asked_less_and_leaves_nothing_false() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(1)));
    let kinds = ["fails", "hangs", "garbage", "good", "fine", "well", "right", "ok", "yes", "so"];
    let keys = Plan::new((0..200).map(|i| format!("{}-{i}", kinds[i % 10]))).unwrap();
    let warmer = warmer(&cache, &source);
    let report = warmer.warm(&keys, Mode::Due).await;
    assert_eq!((report.done(), report.loaded), (200, 140));
    let reasons: Vec<(&str, u64)> =
        report.failed.iter().map(|(reason, of)| (reason.as_str(), of.keys)).collect();
    assert_eq!(reasons, [("malformed", 20), ("rejected_429", 20), ("timed_out", 20)]);
    assert!(warmer.concurrency_now() < 8.0, "{}", warmer.concurrency_now());
    assert!(source.most_under_way() <= 8 + 20, "those that hang were given up");
    for key in keys.keys() {
        let hit = cache.peek(key);
        let is_false = hit.is_some_and(|hit| *hit.value().as_str() != format!("{key}#1"));
        assert!(!is_false, "{key}");
    }
}

#[tokio::test]
async fn statistics_tell_what_warming_was_good_for() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let warmer = warmer(&cache, &source);
    let plan = plan(["AAPL", "IBM"]);
    warmer.watch(&plan);
    warmer.warm(&plan, Mode::Due).await;
    for _ in 0..5 {
        cache.get("AAPL").await.unwrap();
        cache.get("other").await.unwrap();
    }
    let payoff = warmer.stats().payoff.unwrap();
    assert_eq!((payoff.hits, payoff.misses, payoff.hits_per_call), (5, 0, Some(5.0)));
}

/// Names its keys, and expects them to be read so often.
#[derive(Debug)]
struct Named(&'static str, f64, Vec<&'static str>);

#[async_trait::async_trait]
impl KeySource for Named {
    fn name(&self) -> &str {
        self.0
    }

    async fn candidates(&self, _max: usize) -> cache_core::Result<Vec<Candidate>> {
        Ok(self.2.iter().map(|key| Candidate::new(*key, self.1)).collect())
    }
}

#[tokio::test]
async fn hits_afterwards_are_told_by_plan_and_by_source_of_keys() {
    let (cache, source) = (prices(), Arc::new(Fake::new().batches_of(4)));
    let warmer = warmer(&cache, &source);
    let sources: [Arc<dyn KeySource>; 2] = [
        Arc::new(Named("hot", 9.0, vec!["AAPL", "IBM", "MSFT"])),
        Arc::new(Named("guessed", 1.0, vec!["GOOG"])),
    ];
    let ranked = Plan::from_sources(&sources, Budget::keys(9)).await.unwrap().called("ranked");
    let other = plan(["TSLA"]).called("other");
    for plan in [&ranked, &other] {
        warmer.watch(plan);
        warmer.warm(plan, Mode::Due).await;
    }
    for key in ["AAPL", "AAPL", "IBM", "GOOG", "TSLA", "missing"] {
        cache.get(key).await.unwrap();
    }
    // Another plan of this name: what came of the first one still counts.
    warmer.watch(&ranked);
    cache.get("MSFT").await.unwrap();
    let stats = warmer.stats();
    let payoff = &stats.payoffs["ranked"];
    assert_eq!((payoff.all.hits, payoff.all.hits_per_call), (5, Some(5.0)));
    let of = |source: &str| (payoff.sources[source].hits, payoff.sources[source].hits_per_call);
    // A call of four keys, three of them its own.
    assert_eq!((of("hot"), of("guessed")), ((4, Some(4.0 / 0.75)), (1, Some(1.0 / 0.25))));
    assert_eq!(stats.payoffs["other"].all.hits, 1);
    assert_eq!(stats.payoff.unwrap().hits, 6);
    let told = stats.to_string();
    assert!(told.contains("afterwards, keys of hot: 4 hits"), "{told}");
    assert!(told.contains("hot: 3 keys, 3 loaded"), "{told}");
}

#[tokio::test]
async fn statistics_are_of_all_runs_and_of_the_last() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let warmer = warmer(&cache, &source);
    warmer.warm(&plan(["AAPL", "missing"]), Mode::Due).await;
    let report = warmer.clone().warm(&plan(["AAPL"]), Mode::Due).await;
    let stats = warmer.stats();
    assert_eq!((stats.runs, stats.total.planned, stats.total.loaded), (2, 3, 1));
    assert_eq!(stats.last, Some(report));
    assert_eq!(source.loaded_keys().len(), 2);
}

#[tokio::test]
async fn an_empty_plan_is_done_at_once() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let report = warmer(&cache, &source).warm(&plan([]), Mode::Forced).await;
    assert_eq!((report.planned, report.done(), source.calls()), (0, 0, 0));
}

#[tokio::test]
async fn warming_that_is_switched_off_is_done_on_demand_only() {
    let (cache, source) = (prices(), Arc::new(Fake::new()));
    let config = WarmerConfig { cache_warming_enabled: false, ..WarmerConfig::default() };
    let off = warmer_with(&cache, &source, config);
    let plan = plan(["AAPL"]);
    assert_eq!(off.run_at_startup(&plan).await, None);
    assert!(off.spawn_schedule(&plan).is_none());
    assert_eq!(source.calls(), 0);
    assert_eq!(off.warm(&plan, Mode::Due).await.loaded, 1);
    let on = warmer(&cache, &source);
    assert_eq!(on.run_at_startup(&plan).await.map(|report| report.already_fresh), Some(1));
}

#[tokio::test]
async fn settings_out_of_range_make_no_warmer() {
    let config = WarmerConfig { concurrency: 0, ..WarmerConfig::default() };
    let error = Warmer::new(prices(), Arc::new(Fake::new()), config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
