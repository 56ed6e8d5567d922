//! Copies from tier to tier.

use std::{sync::Arc, time::Duration};

use cache_core::{ByteSize, Cache, Event, MemoryTier, Namespace, Tier};
use cache_warmer::{Copier, Plan, Source, Warmer, WarmerConfig};

use crate::support::{Fake, TokioClock};

struct Tiers {
    clock: Arc<TokioClock>,
    upper: Arc<MemoryTier>,
    lower: Arc<MemoryTier>,
}

impl Tiers {
    fn new() -> Self {
        let clock = Arc::new(TokioClock::begin());
        let tier = |name: &str| {
            Arc::new(MemoryTier::new(ByteSize::mib(16), clock.clone()).named(name).as_server())
        };
        Self { upper: tier("upper"), lower: tier("lower"), clock: clock.clone() }
    }

    fn cache(&self, tiers: &[&Arc<MemoryTier>]) -> Cache<String> {
        let builder = Cache::builder("price")
            .ttl(Duration::from_secs(600))
            .without_near()
            .clock(self.clock.clone());
        let builder = tiers.iter().fold(builder, |builder, tier| builder.tier((*tier).clone()));
        builder.build().expect("the settings are fine")
    }
}

fn keys(count: usize) -> Plan {
    Plan::new((0..count).map(|i| format!("k{i}"))).expect("valid keys")
}

fn warmer(cache: &Cache<String>, source: &Arc<Fake>) -> Warmer<String> {
    let shared = Arc::clone(source) as Arc<dyn Source<String>>;
    Warmer::new(cache.clone(), shared, WarmerConfig::default()).expect("the settings are fine")
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_lost_its_data_is_refilled_from_below_without_the_source() {
    let tiers = Tiers::new();
    let cache = tiers.cache(&[&tiers.upper, &tiers.lower]);
    let (plan, source) = (keys(1_000), Arc::new(Fake::new()));
    for key in plan.keys() {
        cache.insert(key, key.clone()).await.unwrap();
    }
    let warmer = warmer(&cache, &source);
    let refilling = warmer.spawn_refill(&plan, "upper");
    // It is an event of another tier that says nothing of this one.
    cache.events().emit(Event::LogGap { tier: "lower".into() });
    tiers.upper.clear(cache.namespace()).await.unwrap();
    tiers.lower.remove_many(&[cache.namespace().key("k7").unwrap().into()]).await.unwrap();
    cache.events().emit(Event::TierLostData { tier: "upper".into(), error: "flushed".into() });
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(refilling);
    let upper = tiers.cache(&[&tiers.upper]);
    let hits = upper.get_many(plan.keys()).await.unwrap();
    assert_eq!(hits.iter().flatten().count(), 999);
    assert_eq!(source.calls(), 0);
    let stats = warmer.stats();
    let report = &stats.plans["refill of upper"];
    assert_eq!((stats.runs, report.copied, report.skipped["not_below"]), (1, 999, 1));
    assert_eq!((report.done(), report.source_calls), (1_000, 0));
}

#[tokio::test]
async fn a_tier_that_is_not_there_is_named() {
    let tiers = Tiers::new();
    let cache = tiers.cache(&[&tiers.upper, &tiers.lower]);
    let report = warmer(&cache, &Arc::new(Fake::new())).refill(&keys(2), "redis").await;
    let example = &report.failed["cache"].example;
    assert!(example.contains("`redis`") && example.contains("upper, lower"), "{example}");
}

#[tokio::test]
async fn a_service_moves_from_one_cluster_to_another_while_it_writes_to_both() {
    let tiers = Tiers::new();
    let (new, old) = (&tiers.upper, &tiers.lower);
    let before = tiers.cache(&[old]);
    let plan = keys(100);
    for key in plan.keys() {
        before.insert(key, "old".to_owned()).await.unwrap();
    }
    let both = tiers.cache(&[new, old]);
    both.insert("k1", "newer".to_owned()).await.unwrap();
    both.invalidate("k2").await.unwrap();
    let copier = Copier::new(old.clone(), new.clone(), tiers.clock.clone()).unwrap();
    let namespace = Namespace::new("price").unwrap();
    let report = copier.copy(&namespace, &plan).await;
    assert_eq!((report.copied, report.already_fresh), (98, 1));
    assert_eq!(report.skipped["not_below"], 1);
    let after = tiers.cache(&[new]);
    assert_eq!(after.get("k0").await.unwrap().unwrap().as_str(), "old");
    assert_eq!(after.get("k1").await.unwrap().unwrap().as_str(), "newer");
    assert!(after.get("k2").await.unwrap().is_none(), "what was removed stays so");
    let again = copier.copy(&namespace, &plan).await;
    assert_eq!((again.copied, again.already_fresh), (0, 99));
}
