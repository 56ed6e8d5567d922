//! The layer that compresses, between caches and tiers: nothing above it is another than without.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{
    AuditConfig, Auditor, Builder, ByteSize, Cache, Clock, CodecId, Compression, Entry, Events,
    Key, Layer, ManualClock, MemoryTier, Namespace, Origin, Tier, TierExt, Ttl, compress,
};

struct Ground {
    clock: ManualClock,
    upper: Arc<MemoryTier>,
    lower: Arc<MemoryTier>,
}

impl Ground {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tier = |name: &str| {
            let tier = MemoryTier::new(ByteSize::mib(16), Arc::new(clock.clone()));
            Arc::new(tier.named(name).as_server())
        };
        Self { upper: tier("upper"), lower: tier("lower"), clock }
    }

    fn builder(&self) -> Builder<String> {
        Cache::builder("c").clock(Arc::new(self.clock.clone())).ttl(Duration::from_secs(60))
    }

    /// A node on both tiers, the upper one compressed.
    fn compressing_node(&self) -> Cache<String> {
        let upper = compress(Compression::zstd()).wrap(self.upper.clone());
        self.builder().tier(upper).tier(self.lower.clone()).build().expect("valid settings")
    }

    /// A node on both tiers as they are.
    fn plain_node(&self) -> Cache<String> {
        let builder = self.builder().tier(self.upper.clone()).tier(self.lower.clone());
        builder.build().expect("valid settings")
    }

    async fn stored(&self, tier: &MemoryTier) -> Option<Entry> {
        tier.get(&key("k")).await.expect("memory answers").entry
    }
}

fn key(text: &str) -> Key {
    Namespace::new("c").expect("it is plain").key(text).expect("so is this")
}

fn news(nth: usize) -> String {
    format!("{nth}: the price of AAPL rose by a cent. ").repeat(200)
}

/// Waits until `holds`, for as long as the test's time allows.
async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to pass within 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_node_knows_the_notice_of_its_own_insert_though_the_tier_has_it_compressed() {
    let ground = Ground::new();
    let upper = compress(Compression::lz4()).wrap(ground.upper.clone());
    let node = ground.builder().tier(upper).build().unwrap();
    let other = ground.builder().tier(ground.upper.clone()).build().unwrap();
    node.get("k").await.unwrap();
    node.insert("k", news(1)).await.unwrap();
    // A removal of another key, which is told later: when it has come the insert's notice has too.
    node.insert("later", "short".to_owned()).await.unwrap();
    node.get("later").await.unwrap();
    other.invalidate("later").await.unwrap();
    until(async || node.get("later").await.unwrap().is_none()).await;
    let hit = node.get("k").await.unwrap().expect("it was inserted");
    assert_eq!((hit.origin(), hit.value().as_str()), (&Origin::Near, news(1).as_str()));
    assert_eq!(ground.stored(&ground.upper).await.unwrap().codec, CodecId::LZ4);
}

/// Not even by a node without the layer, to which the two copies look different.
#[tokio::test(start_paused = true)]
async fn a_compressed_copy_is_not_mended_away() {
    let ground = Ground::new();
    let (compressing, plain) = (ground.compressing_node(), ground.plain_node());
    for node in [&compressing, &plain] {
        node.get("k").await.unwrap();
    }
    compressing.insert("k", news(1)).await.unwrap();
    compressing.insert("later", "short".to_owned()).await.unwrap();
    ground.lower.remove(key("later")).await.unwrap();
    // Both have read the logs up to here.
    until(async || ground.upper.get(&key("later")).await.unwrap().entry.is_none()).await;
    until(async || {
        let hits = [compressing.get("later").await.unwrap(), plain.get("later").await.unwrap()];
        hits.iter().all(Option::is_none)
    })
    .await;
    assert_eq!(ground.stored(&ground.upper).await.unwrap().codec, CodecId::ZSTD);
    assert_eq!(ground.stored(&ground.lower).await.unwrap().codec, CodecId(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_promoted_through_the_layer_agrees_with_the_tier_below() {
    let ground = Ground::new();
    let plain = ground.builder().tier(ground.lower.clone()).build().unwrap();
    plain.insert("k", news(1)).await.unwrap();
    let node = ground.compressing_node();
    assert_eq!(**node.get("k").await.unwrap().unwrap().value(), news(1));
    until(async || ground.stored(&ground.upper).await.is_some()).await;
    let (above, below) = (ground.stored(&ground.upper).await, ground.stored(&ground.lower).await);
    let (above, below) = (above.unwrap(), below.unwrap());
    assert_eq!(above.codec, CodecId::ZSTD);
    assert_eq!((above.digest(), above.expires_at), (below.digest(), below.expires_at));
    assert!(above.payload.len() * 4 < below.payload.len(), "{} bytes", above.payload.len());

    let upper = compress(Compression::off()).wrap(ground.upper.clone());
    let (clock, config) = (Arc::new(ground.clock.clone()), AuditConfig::default());
    let tiers: Vec<Arc<dyn Tier>> = vec![upper, ground.lower.clone()];
    let auditor = Auditor::new(tiers, clock, config, Events::new());
    auditor.note_read(&key("k"));
    let report = auditor.run_once().await;
    assert_eq!((report.samples, report.consistent), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn to_a_node_without_the_layer_a_compressed_value_is_a_miss_and_no_garbage() {
    let ground = Ground::new();
    let upper = compress(Compression::lz4()).wrap(ground.upper.clone());
    let with = ground.builder().without_near().tier(upper).build().unwrap();
    let without = ground.builder().without_near().tier(ground.upper.clone()).build().unwrap();
    with.insert("k", news(1)).await.unwrap();
    assert!(without.get("k").await.unwrap().is_none());
    let loaded = without.get_or_load("k", || async { Ok::<_, Infallible>(news(2)) }).await;
    assert_eq!(loaded.unwrap().origin(), &Origin::Load);
    // What that node stores is read by both.
    for node in [&with, &without] {
        assert_eq!(**node.get("k").await.unwrap().unwrap().value(), news(2));
    }
}

#[tokio::test]
async fn a_compressed_payload_that_is_no_good_is_a_miss_that_is_counted_and_overwritten() {
    let ground = Ground::new();
    let bad = |codec, payload: &'static [u8]| {
        let ttl = Ttl::fresh(Duration::from_secs(60));
        Entry::new(Bytes::from_static(payload), codec, ground.clock.now(), ttl)
    };
    let upper = compress(Compression::zstd()).wrap(ground.upper.clone());
    let node = ground.builder().without_near().tier(upper).build().unwrap();
    let bomb = b"\0\x01\xff\xff\xff\xffa bomb, by what it says\0\0\0\0";
    let cut = b"\0\x01\0\0\0\x05cut\0\0\0\0";
    for (nth, codec) in [CodecId::LZ4, CodecId::ZSTD].into_iter().enumerate() {
        for payload in [&b""[..], bomb, cut] {
            ground.upper.put(key("k"), bad(codec, payload)).await.unwrap();
            let load = move || async move { Ok::<_, Infallible>(news(nth)) };
            let hit = node.get_or_load("k", load).await.unwrap();
            assert_eq!((hit.origin(), hit.value().as_str()), (&Origin::Load, news(nth).as_str()));
            assert_eq!(ground.stored(&ground.upper).await.unwrap().codec, CodecId::ZSTD);
            assert!(node.get("k").await.unwrap().is_some());
        }
    }
    assert_eq!(node.stats().await.tiers[0].corrupt, 6);
}
