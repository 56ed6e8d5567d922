//! What a learner knows, and what of it outlives its process.

use cache_core::{ByteSize, Cache, ManualClock, MemoryTier, Ttl};

use super::*;

struct Setup {
    clock: ManualClock,
    durable: Arc<dyn Tier>,
}

impl Setup {
    fn new() -> Self {
        let clock = ManualClock::new();
        let durable = MemoryTier::shared(ByteSize::mib(4), Arc::new(clock.clone()));
        Self { clock, durable }
    }

    /// A process: its cache and its learner.
    async fn process(&self) -> (Cache<u64>, Learner) {
        let tap = ReadTap::new(1.0).unwrap();
        let builder = Cache::builder("n").read_tap(tap.clone());
        let cache = builder.clock(Arc::new(self.clock.clone())).build().unwrap();
        let config = LearnerConfig::default();
        let learner = Learner::new(config, tap, Arc::new(self.clock.clone())).unwrap();
        let learner = learner.keep_in(Arc::clone(&self.durable), "n").unwrap();
        learner.restore().await.unwrap();
        (cache, learner)
    }
}

async fn read(cache: &Cache<u64>, key: &str, times: usize) {
    for _ in 0..times {
        cache.get(key).await.unwrap();
    }
}

async fn hot(learner: &Learner) -> Vec<String> {
    let hot = learner.hot().candidates(10).await.unwrap();
    hot.into_iter().map(|candidate| candidate.key).collect()
}

#[tokio::test]
async fn what_was_hot_is_known_to_the_next_process_and_fades_there() {
    let setup = Setup::new();
    let (cache, learner) = setup.process().await;
    read(&cache, "a", 30).await;
    read(&cache, "b", 50).await;
    let learning = learner.spawn();
    assert_eq!(hot(&learner).await, ["b", "a"]);
    learning.stop().await.unwrap();

    let (cache, learner) = setup.process().await;
    assert_eq!(hot(&learner).await, ["b", "a"]);
    setup.clock.advance(Duration::from_secs(20 * 3_600));
    read(&cache, "c", 2).await;
    assert_eq!(hot(&learner).await, ["c", "b", "a"]);
}

#[tokio::test]
async fn what_follows_what_is_read_now_is_a_source_of_keys() {
    let setup = Setup::new();
    let (cache, learner) = setup.process().await;
    let config = PredictorConfig::default();
    let followers = learner.followers(config, |key| key == "cached").unwrap();
    for i in 0..10 {
        for key in ["login", "home", "cached", &format!("page-{i}")] {
            read(&cache, key, 1).await;
        }
        learner.listen();
    }
    followers.candidates(10).await.unwrap();
    read(&cache, "login", 1).await;
    let next = followers.candidates(10).await.unwrap();
    assert!(next.iter().all(|candidate| candidate.key != "cached"), "{next:?}");
    let foresight = learner.foresight().unwrap();
    assert!(foresight.is_on && foresight.named > 0, "{foresight:?}");
    assert!(followers.candidates(10).await.unwrap().is_empty(), "each is named once");
}

#[tokio::test]
async fn processes_add_what_each_of_them_found_hot() {
    let setup = Setup::new();
    let ((one, learns_one), (two, learns_two)) = (setup.process().await, setup.process().await);
    read(&one, "a", 9).await;
    read(&two, "b", 5).await;
    for learner in [learns_one, learns_two] {
        learner.listen();
        learner.save().await.unwrap();
    }
    let (_, third) = setup.process().await;
    assert_eq!(hot(&third).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_writes_at_intervals_and_what_a_tier_has_broken_is_learnt_anew() {
    let setup = Setup::new();
    let (cache, learner) = setup.process().await;
    let _learning = learner.spawn();
    read(&cache, "a", 3).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let store = Store::new(Arc::clone(&setup.durable), "n").unwrap();
    assert_eq!(store.load().await.unwrap().unwrap().keys[0].key, "a");

    let key = cache_core::Namespace::new("n").unwrap().reserved("warming").key("hot-set");
    let entry = cache_core::Entry::new(
        bytes::Bytes::from_static(b"HOT1 garbage"),
        cache_core::CodecId(0),
        setup.clock.now(),
        Ttl::fresh(Duration::from_secs(9_999)),
    );
    let condition = cache_core::Condition::Always;
    let put = cache_core::Put { key: key.unwrap(), entry, condition };
    setup.durable.put_many(&[put]).await.unwrap();
    assert_eq!(learner.restore().await.unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(learner.save().await.unwrap(), 1);
    assert_eq!(learner.restore().await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_market_opening_wants_is_known_before_it() {
    let setup = Setup::new();
    // ManualClock begins on Tuesday, 14 November 2023, at 22:13:20 UTC.
    let (cache, learner) = setup.process().await;
    for _day in 0..3 {
        setup.clock.advance(Duration::from_secs(11 * 3_600 + 20 * 60));
        read(&cache, "open", 40).await;
        learner.listen();
        setup.clock.advance(Duration::from_secs(12 * 3_600 + 40 * 60));
        read(&cache, "night", 40).await;
        learner.listen();
    }
    let ahead = |hours: u64| learner.seasonal(Duration::from_secs(hours * 3_600 + 20 * 60));
    let first = ahead(11).candidates(10).await.unwrap();
    assert_eq!(first[0].key, "open");
    assert!(first.iter().all(|candidate| candidate.key != "night"), "{first:?}");
    assert!(ahead(5).candidates(10).await.unwrap().is_empty(), "nobody reads then");
}

#[test]
fn a_setting_out_of_range_is_named() {
    let default = LearnerConfig::default;
    for (config, name) in [
        (LearnerConfig { keys_max: 0, ..default() }, "keys_max"),
        (LearnerConfig { half_life: Span::millis(5), ..default() }, "half_life"),
        (LearnerConfig { kept_max: 20_000, ..default() }, "kept_max"),
        (LearnerConfig { save_every: Span::millis(5), ..default() }, "save_every"),
        (LearnerConfig { listen_every: Span::millis(5), ..default() }, "listen_every"),
        (LearnerConfig { time_zone: "Mars".to_owned(), ..default() }, "Mars"),
    ] {
        let tap = ReadTap::new(1.0).unwrap();
        let error = Learner::new(config, tap, Arc::new(ManualClock::new())).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
