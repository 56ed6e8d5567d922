//! What the near tier does with the priorities of its entries.

use cache_core::{ByteSize, Cache, Eviction, EvictionPriority, Item, NearEngine, Result};

fn cache(eviction: Eviction, engine: NearEngine) -> Result<Cache<String>> {
    let builder = Cache::builder("test").near(ByteSize::kib(256));
    builder.near_eviction(eviction).near_engine(engine).build()
}

async fn insert(cache: &Cache<String>, key: &str, priority: EvictionPriority) {
    let item = Item::new("x".repeat(200)).priority(priority);
    cache.insert(key, item).await.expect("there is only the near tier");
}

#[tokio::test]
async fn the_own_engine_keeps_what_is_pinned_under_every_policy() {
    for eviction in Eviction::ALL {
        let cache = cache(*eviction, NearEngine::Own).unwrap();
        for i in 0..20 {
            insert(&cache, &format!("pinned {i}"), EvictionPriority::Pinned).await;
        }
        for i in 0..5_000 {
            insert(&cache, &i.to_string(), EvictionPriority::Normal).await;
        }
        let left = (0..20).filter(|i| cache.peek(&format!("pinned {i}")).is_some()).count();
        assert_eq!(left, 20, "{eviction}");
        assert_eq!(cache.events().count("priority_ignored"), 0);
        let usage = cache.stats().await.tiers[0].usage.unwrap();
        let evicted = usage.evicted.unwrap();
        assert_eq!(usage.entries.unwrap() + evicted.total(), 5_020, "{eviction}: {evicted:?}");
    }
}

#[tokio::test]
async fn where_priorities_count_for_nothing_that_is_told_once() {
    for (eviction, told) in [(Eviction::Lru, 1), (Eviction::WTinyLfu, 1), (Eviction::Fifo, 0)] {
        let cache = cache(eviction, NearEngine::default()).unwrap();
        insert(&cache, "usual", EvictionPriority::Normal).await;
        assert_eq!(cache.events().count("priority_ignored"), 0);
        insert(&cache, "a", EvictionPriority::Low).await;
        insert(&cache, "b", EvictionPriority::Pinned).await;
        assert_eq!(cache.events().count("priority_ignored"), told, "{eviction}");
    }
}
