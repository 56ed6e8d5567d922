//! The read path: where values come from, how they climb, and what a batch costs.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crate::support::{Ground, promoted};
use cache_core::{
    Cache, Codec, ErrorKind, Item, Json, LoadError, Origin, Postcard, PutOutcome, Removal, Tier,
    Version,
};

fn tier(level: usize, name: &str) -> Origin {
    Origin::Tier { level, name: name.into() }
}

#[tokio::test]
async fn a_read_says_where_its_value_came_from_and_how_old_it_is() {
    let ground = Ground::new();
    let writer = ground.cache();
    writer.insert("k", "v".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(3));

    let reader = ground.cache();
    let hit = reader.get("k").await.unwrap().unwrap();
    assert_eq!(
        (hit.as_str(), hit.origin(), hit.age()),
        ("v", &tier(1, "upper"), Duration::from_secs(3))
    );
    assert_eq!((hit.is_stale(), hit.fresh_for()), (false, Duration::from_secs(7)));
    assert_eq!(reader.get("k").await.unwrap().unwrap().origin(), &Origin::Near);
    assert_eq!(reader.get("missing").await.unwrap().map(|hit| hit.to_string()), None);
}

#[tokio::test]
async fn p6_time_does_not_stack() {
    let ground = Ground::new();
    // Only the lower tier has it, with 4 s left.
    let low: Cache<String> = Cache::builder("test")
        .clock(Arc::new(ground.clock.clone()))
        .tier(ground.lower.clone())
        .ttl(Duration::from_secs(10))
        .build()
        .unwrap();
    low.insert("k", "v".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(6));

    let cache = ground.cache();
    let hit = cache.get("k").await.unwrap().unwrap();
    assert_eq!((hit.origin(), hit.fresh_for()), (&tier(2, "lower"), Duration::from_secs(4)));
    for origin in [Origin::Near, tier(1, "upper")] {
        let reader = if origin == Origin::Near { cache.clone() } else { ground.cache() };
        let hit = reader.get("k").await.unwrap().unwrap();
        assert_eq!((hit.origin(), hit.fresh_for()), (&origin, Duration::from_secs(4)));
    }
    ground.clock.advance(Duration::from_secs(4));
    assert!(cache.get("k").await.unwrap().is_none(), "a promotion never lengthens a life");
    assert!(ground.cache().get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn the_near_tier_keeps_nothing_longer_than_its_own_limit() {
    let ground = Ground::new();
    let cache = ground.builder().near_ttl(Duration::from_secs(1)).build().unwrap();
    cache.insert("k", "v".to_owned()).await.unwrap();
    let hit = cache.get("k").await.unwrap().unwrap();
    assert_eq!((hit.origin(), hit.fresh_for()), (&Origin::Near, Duration::from_secs(10)));
    ground.clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get("k").await.unwrap().unwrap().origin(), &tier(1, "upper"));
}

#[tokio::test]
async fn a_near_hit_asks_nobody() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", "v".to_owned()).await.unwrap();
    ground.calls();
    cache.get("k").await.unwrap();
    cache.get_many(["k"]).await.unwrap();
    cache.get_or_load("k", || async { Err::<String, _>("not asked") }).await.unwrap();
    assert_eq!(ground.calls(), [0, 0]);
    assert_eq!(cache.peek("k").unwrap().as_str(), "v");
}

#[tokio::test]
async fn a_batch_is_one_call_a_tier_with_partial_hits() {
    let ground = Ground::new();
    let writer = ground.cache();
    let pairs = (0..10).map(|i| (format!("k{i}"), i.to_string()));
    assert_eq!(writer.insert_many(pairs).await.unwrap(), [PutOutcome::Stored; 10]);
    assert_eq!(ground.calls(), [1, 1]);

    let cache = ground.cache();
    cache.get("k0").await.unwrap();
    ground.calls();
    let keys = ["k0", "missing", "k5", "k0", "k9"];
    let hits = cache.get_many(keys).await.unwrap();
    let values: Vec<Option<&str>> =
        hits.iter().map(|hit| hit.as_ref().map(|h| h.as_str())).collect();
    assert_eq!(values, [Some("0"), None, Some("5"), Some("0"), Some("9")]);
    assert_eq!(ground.calls(), [1, 1], "the lower tier is asked for what is missing, in one call");
}

#[tokio::test]
async fn a_batch_loader_receives_exactly_the_keys_that_missed() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("a", "cached".to_owned()).await.unwrap();
    ground.calls();
    let answers = cache
        .get_many_or_load(["a", "b", "nowhere", "b", ""], |missing: Vec<String>| async move {
            assert_eq!(missing, ["b", "nowhere"]);
            Ok::<_, Infallible>([
                ("b".to_owned(), "loaded".to_owned()),
                ("c".to_owned(), "?".to_owned()),
            ])
        })
        .await;
    let [a, b, nowhere, again, empty] = &answers[..] else { panic!("{answers:?}") };
    let value = |answer: &Result<Option<cache_core::Hit<String>>, _>| {
        answer.as_ref().unwrap().as_ref().map(|hit| hit.to_string())
    };
    assert_eq!(value(a).as_deref(), Some("cached"));
    assert_eq!((value(b).as_deref(), value(again).as_deref()), (Some("loaded"), Some("loaded")));
    assert_eq!(value(nowhere), None);
    assert!(matches!(empty, Err(LoadError::Cache(e)) if e.kind() == ErrorKind::InvalidKey));
    // One lookup of the upper and lower tier, and one fill of each.
    assert_eq!(ground.calls(), [2, 2]);
    assert!(cache.get("c").await.unwrap().is_none(), "what was not asked for is not kept");
}

#[tokio::test]
async fn a_batch_loader_may_fail_for_single_keys() {
    let cache = Ground::new().cache();
    let answers = cache
        .get_many_or_load(["good", "bad", "nowhere"], |_| async {
            Ok::<_, &str>([
                ("good".to_owned(), Ok(Item::new("v".to_owned()))),
                ("bad".to_owned(), Err("rate limited")),
            ])
        })
        .await;
    let [good, bad, nowhere] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(good.as_ref().unwrap().as_ref().unwrap().as_str(), "v");
    assert!(matches!(bad, Err(LoadError::Source(e)) if **e == "rate limited"));
    assert!(matches!(nowhere, Ok(None)));
}

#[tokio::test]
async fn the_type_of_the_loaders_error_reaches_the_caller() {
    #[derive(Debug, PartialEq)]
    struct RateLimited {
        retry_after_s: u32,
    }
    impl std::fmt::Display for RateLimited {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "retry after {} s", self.retry_after_s)
        }
    }
    let cache = Ground::new().cache();
    let failed = cache
        .get_or_load("k", || async { Err::<String, _>(RateLimited { retry_after_s: 7 }) })
        .await;
    match failed {
        Err(LoadError::Source(e)) => assert_eq!(*e, RateLimited { retry_after_s: 7 }),
        other => panic!("{other:?}"),
    }
    let stats = cache.stats().await;
    assert_eq!((stats.loads, stats.load_errors, stats.misses), (1, 1, 1));
}

#[tokio::test]
async fn p5_stale_beats_nothing() {
    let ground = Ground::new();
    for without_near in [false, true] {
        let cache = if without_near {
            ground.builder().without_near().build().unwrap()
        } else {
            ground.cache()
        };
        cache.insert("k", "old".to_owned()).await.unwrap();
        ground.clock.advance(Duration::from_secs(11));
        let hit = cache.get_or_load("k", || async { Err::<String, _>("down") }).await.unwrap();
        assert_eq!((hit.as_str(), hit.is_stale()), ("old", true));
        assert_eq!(cache.stats().await.stale_served, 1);
        let hit = cache
            .get_or_load("k", || async { Ok::<_, Infallible>("new".to_owned()) })
            .await
            .unwrap();
        assert_eq!((hit.as_str(), hit.is_stale(), hit.origin()), ("new", false, &Origin::Load));
    }
    ground.clock.advance(Duration::from_secs(70));
    let cache = ground.cache();
    let gone = cache.get_or_load("k", || async { Err::<String, _>("down") }).await;
    assert!(matches!(gone, Err(LoadError::Source(_))), "beyond max_stale nothing is served");
}

#[tokio::test]
async fn a_stale_value_in_an_upper_tier_does_not_hide_a_fresh_one_below() {
    let ground = Ground::new();
    ground.cache().insert("k", "old".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(11));
    // Another node wrote the lower tier only: the upper one was away.
    let low: Cache<String> = Cache::builder("test")
        .clock(Arc::new(ground.clock.clone()))
        .tier(ground.lower.clone())
        .build()
        .unwrap();
    low.insert("k", "new".to_owned()).await.unwrap();
    let hit = ground.cache().get("k").await.unwrap().unwrap();
    assert_eq!((hit.as_str(), hit.origin()), ("new", &tier(2, "lower")));
    promoted().await;
    let promoted = ground.cache().get("k").await.unwrap().unwrap();
    assert_eq!((promoted.as_str(), promoted.origin()), ("new", &tier(1, "upper")));
}

#[tokio::test]
async fn a_refresh_loads_what_is_fresh_and_fills_every_tier() {
    let ground = Ground::new();
    let cache = ground.cache();
    cache.insert("k", "old".to_owned()).await.unwrap();
    let hit = cache.refresh("k", || async { Ok::<_, Infallible>("new".to_owned()) }).await.unwrap();
    assert_eq!((hit.as_str(), hit.origin()), ("new", &Origin::Load));
    assert_eq!(cache.get("k").await.unwrap().unwrap().as_str(), "new");
    assert_eq!(ground.cache().get("k").await.unwrap().unwrap().as_str(), "new");
    let failed = cache.refresh("k", || async { Err::<String, _>("down") }).await;
    assert!(matches!(failed, Err(LoadError::Source(_))));
    assert_eq!(cache.get("k").await.unwrap().unwrap().as_str(), "new", "it keeps what it has");
}

#[tokio::test]
async fn an_entry_of_another_codec_is_a_miss_that_the_next_load_mends() {
    let ground = Ground::new();
    let with = |codec: Arc<dyn Codec<String>>| {
        Cache::builder_with("test", codec)
            .clock(Arc::new(ground.clock.clone()))
            .tier(ground.upper.clone())
            .tier(ground.lower.clone())
            .build()
            .unwrap()
    };
    with(Arc::new(Postcard)).insert("k", "by postcard".to_owned()).await.unwrap();
    let cache = with(Arc::new(Json));
    assert!(cache.get("k").await.unwrap().is_none());
    assert_eq!(cache.stats().await.undecodable, 2, "one in each tier");
    cache.get_or_load("k", || async { Ok::<_, Infallible>("by json".to_owned()) }).await.unwrap();
    assert_eq!(with(Arc::new(Json)).get("k").await.unwrap().unwrap().as_str(), "by json");
}

#[tokio::test]
async fn p2_newer_wins_through_the_front() {
    let ground = Ground::new();
    let cache = ground.cache();
    let at = |version, text: &str| Item::new(text.to_owned()).version(Version(version));
    cache.insert("k", at(2, "new")).await.unwrap();
    assert_eq!(cache.insert("k", at(1, "old")).await.unwrap(), PutOutcome::Superseded);
    assert_eq!(cache.get("k").await.unwrap().unwrap().as_str(), "new");

    // The source is at version 3 now, and a load from its replica still brings version 2.
    cache.invalidate_before("k", Version(3)).await.unwrap();
    let replica = move || async move { Ok::<_, Infallible>(at(2, "lagging")) };
    let hit = cache.get_or_load("k", replica).await.unwrap();
    assert_eq!((hit.as_str(), hit.version()), ("lagging", Some(Version(2))));
    assert!(ground.cache().get("k").await.unwrap().is_none(), "no tier took the older version");
    assert_eq!(cache.stats().await.superseded_fills, 1);
}

#[tokio::test]
async fn an_insert_that_is_older_than_the_lowest_tier_knows_leaves_nothing_above() {
    let ground = Ground::new();
    let cache = ground.cache();
    let at = |version: u64| Item::new(version.to_string()).version(Version(version));
    cache.insert("k", at(3)).await.unwrap();
    // Another process removes what is older than version 5, and has not come to the upper tier.
    let key = cache.namespace().key("k").unwrap();
    let removal = Removal { key, version: Some(Version(5)) };
    ground.lower.remove_many(&[removal]).await.unwrap();

    assert_eq!(cache.insert("k", at(4)).await.unwrap(), PutOutcome::Superseded);
    assert!(cache.get("k").await.unwrap().is_none(), "version 3 is older than what was inserted");
}

#[tokio::test]
async fn statistics_add_up() {
    let ground = Ground::new();
    let cache = ground.cache();
    for i in 0..10 {
        let load = move || async move { Ok::<_, Infallible>(i.to_string()) };
        cache.get_or_load(&format!("k{i}"), load).await.unwrap();
    }
    for _ in 0..3 {
        for i in 0..10 {
            cache.get(&format!("k{i}")).await.unwrap();
        }
    }
    let stats = cache.stats().await;
    assert_eq!((stats.hits, stats.misses, stats.loads), (30, 10, 10));
    assert_eq!(stats.hit_ratio, Some(0.75));
    let names: Vec<&str> = stats.tiers.iter().map(|tier| tier.name.as_str()).collect();
    assert_eq!(names, ["near", "upper", "lower"]);
    assert_eq!((stats.tiers[0].hits, stats.tiers[0].misses), (30, 10));
    assert_eq!((stats.tiers[1].hits, stats.tiers[1].misses, stats.tiers[1].errors), (0, 10, 0));
    assert_eq!(stats.tiers[2].put.done.unwrap().count, 10);
    assert!(stats.tiers[0].usage.unwrap().bytes.unwrap() > 0);
    assert!(stats.to_string().contains("hit ratio 75.0 %"), "{stats}");
}
