//! A tier that missed a change does not bring the old value back.

use std::{convert::Infallible, time::Duration};

use cache_core::{
    ErrorKind, Layer, Origin, TierExt,
    testkit::{Fault, Faults},
};

use crate::support::{Ground, until};

#[tokio::test(start_paused = true)]
async fn a_tier_that_missed_a_removal_is_not_believed_until_it_was_told() {
    let ground = Ground::new();
    let faults = Faults::new();
    let node = ground.tall_node(&faults);
    node.insert("k", "old".to_owned()).await.unwrap();

    faults.always(Fault::Fail(ErrorKind::Unavailable));
    // The log of the tier below has it, so it is not lost: whoever reads the upper one hears of it.
    node.invalidate("k").await.unwrap();
    assert_eq!(node.stats().await.pending_removals, 1);

    // The tier still has the old value, and is back for one call before the repair.
    faults.heal();
    let hit = node.get_or_load("k", || async { Ok::<_, Infallible>("new".to_owned()) }).await;
    assert_eq!(hit.unwrap().origin(), &Origin::Load);

    until(async || node.stats().await.pending_removals == 0).await;
    let key = cache_core::Namespace::new("c").unwrap().key("k").unwrap();
    let upper = cache_core::Tier::get(&*ground.upper, &key).await.unwrap();
    assert!(upper.entry.is_none_or(|entry| entry.payload == "\"new\""));
    let events = node.stats().await.events;
    assert_eq!((events["tier_suspect"], events["tier_repaired"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_missed_a_clear_is_cleared_when_it_answers() {
    let ground = Ground::new();
    let faults = Faults::new();
    let node = ground.tall_node(&faults);
    node.insert("k", "old".to_owned()).await.unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    node.clear().await.unwrap();
    faults.heal();
    assert!(node.get("k").await.unwrap().is_none());
    until(async || node.stats().await.pending_removals == 0).await;
    assert!(node.get("k").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_a_tier_missed_leaves_no_older_value_there() {
    let ground = Ground::new();
    let faults = Faults::new();
    let node = ground.tall_node(&faults);
    node.insert("k", "old".to_owned()).await.unwrap();
    faults.always(Fault::LoseAnswer);
    node.insert("k", "new".to_owned()).await.unwrap();
    faults.always(Fault::Fail(ErrorKind::Timeout));
    node.insert("k", "newer".to_owned()).await.unwrap();
    faults.heal();
    let other = ground.builder().without_near().tier(ground.lower.clone()).build().unwrap();
    assert_eq!(**other.get("k").await.unwrap().unwrap().value(), *"newer");
    until(async || node.stats().await.pending_removals == 0).await;
    let key = cache_core::Namespace::new("c").unwrap().key("k").unwrap();
    let upper = cache_core::Tier::get(&*ground.upper, &key).await.unwrap();
    assert!(upper.entry.is_none_or(|entry| entry.payload == "\"newer\""));
}

#[tokio::test(start_paused = true)]
async fn a_change_below_by_another_program_is_carried_up() {
    let ground = Ground::new();
    let node = ground.tall_node(&Faults::new());
    node.insert("k", "old".to_owned()).await.unwrap();
    let key = cache_core::Namespace::new("c").unwrap().key("k").unwrap();
    ground.lower.remove(key).await.unwrap();
    until(async || node.get("k").await.unwrap().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_reached_no_log_is_an_error_that_names_the_tier() {
    let ground = Ground::new();
    let faults = Faults::new();
    let upper: std::sync::Arc<dyn cache_core::Tier> = ground.upper.clone();
    let node = ground.builder().tier(faults.layer().wrap(upper)).build().unwrap();
    node.insert("k", "old".to_owned()).await.unwrap();
    faults.always(Fault::Fail(ErrorKind::Unavailable));
    let error = node.invalidate("k").await.unwrap_err();
    assert!(error.to_string().contains("upper") && error.may_have_happened(), "{error}");
    // This process does not serve it any more all the same.
    faults.heal();
    assert!(node.get("k").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_comes_back_with_old_data_is_mended_from_its_old_place() {
    let ground = Ground::new();
    let node = ground.tall_node(&Faults::new());
    node.insert("k", "old".to_owned()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(node);
    // While nobody follows, the value goes below and stays above: a process died in between.
    let key = cache_core::Namespace::new("c").unwrap().key("k").unwrap();
    ground.lower.remove(key).await.unwrap();
    let node = ground.tall_node(&Faults::new());
    node.get("other").await.unwrap();
    until(async || node.get("k").await.unwrap().is_none()).await;
    assert_eq!(node.stats().await.events["tier_repaired"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_audit_finds_a_copy_that_outlived_its_removal() {
    let ground = Ground::new();
    let node = ground.tall_node(&Faults::new());
    let auditing = node.audit(cache_core::AuditConfig::default());
    node.insert("k", "old".to_owned()).await.unwrap();
    ground.clock.advance(Duration::from_secs(5));
    node.invalidate("k").await.unwrap();
    // Somebody writes the old value back behind the cache's back, as a tier's snapshot would.
    let key = cache_core::Namespace::new("c").unwrap().key("k").unwrap();
    let ttl = cache_core::Ttl::fresh(Duration::from_secs(60));
    let old = cache_core::Entry::new(
        "\"old\"".into(),
        cache_core::CodecId(1),
        cache_core::Timestamp::from_millis(1_700_000_000_000),
        ttl,
    );
    ground.upper.put(key, old).await.unwrap();
    let found = async || {
        let audit = node.stats().await.audit.expect("an audit runs");
        audit.findings.values().sum::<u64>() > 0
    };
    until(found).await;
    assert!(node.stats().await.events["inconsistent"] >= 1);
    drop(auditing);
}

/// The writer cannot reach the upper tier, or may only read it. Another node can, and trusts it.
#[tokio::test(start_paused = true)]
async fn a_node_that_reads_the_upper_tier_hears_that_a_writer_could_not_change_it() {
    let ground = Ground::new();
    let cut = Faults::new();
    let (writer, reader) = (ground.tall_node(&cut), ground.tall_node(&Faults::new()));
    writer.insert("k", "old".to_owned()).await.unwrap();
    assert!(reader.get("k").await.unwrap().is_some());
    cut.always(Fault::Fail(ErrorKind::ReadOnly));
    writer.invalidate("k").await.unwrap();
    until(async || reader.get("k").await.unwrap().is_none()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(reader.get("k").await.unwrap().is_none(), "it stays gone");
}

/// Nobody can remove from the upper tier, and everybody can read it.
#[tokio::test(start_paused = true)]
async fn an_upper_tier_that_takes_no_removals_is_not_believed_by_anybody() {
    let ground = Ground::new();
    let upper = Faults::new();
    let (writer, reader) = (ground.tall_node(&upper), ground.tall_node(&upper));
    writer.insert("k", "old".to_owned()).await.unwrap();
    assert!(reader.get("k").await.unwrap().is_some());
    upper.writes(Fault::Fail(ErrorKind::ReadOnly));
    writer.invalidate("k").await.unwrap();
    until(async || reader.get("k").await.unwrap().is_none()).await;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(reader.get("k").await.unwrap().is_none());
    }
    upper.heal();
    until(async || reader.stats().await.pending_removals == 0).await;
    assert!(reader.get("k").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_clear_is_heard_of_where_the_upper_tier_takes_no_clears() {
    let ground = Ground::new();
    let upper = Faults::new();
    let (writer, reader) = (ground.tall_node(&upper), ground.tall_node(&upper));
    writer.insert("k", "old".to_owned()).await.unwrap();
    assert!(reader.get("k").await.unwrap().is_some());
    upper.writes(Fault::Fail(ErrorKind::ReadOnly));
    writer.clear().await.unwrap();
    until(async || reader.get("k").await.unwrap().is_none()).await;
    upper.heal();
    until(async || reader.stats().await.pending_removals == 0).await;
    assert!(reader.get("k").await.unwrap().is_none());
}
