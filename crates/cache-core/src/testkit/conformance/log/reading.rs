//! Positions, waiting, and gaps.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Ground, PATIENCE};
use crate::{
    bus::{Change, Notice, Position},
    clock::Clock,
    key::Key,
    tier::{Removal, TierExt},
};

fn keys_of(notices: Vec<Notice>) -> Vec<Key> {
    let key = |notice: Notice| match notice.change {
        Change::Key(key) => key,
        other => panic!("{other:?} is not of a key"),
    };
    notices.into_iter().map(key).collect()
}

pub(super) async fn a_reader_at_the_end_sees_later_changes_only(ground: &Ground<'_>) {
    ground.base.tier.remove(ground.key("before")).await.unwrap();
    let mut reader = ground.reader(&ground.log).await;
    ground.base.other.remove(ground.key("after")).await.unwrap();
    assert_eq!(keys_of(reader.rest().await), [ground.key("after")]);
    assert_eq!(reader.gaps, 0);
}

pub(super) async fn reading_on_loses_and_repeats_nothing(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    let mut expected = Vec::new();
    for len in [1, 2_500, 7] {
        let round = expected.len();
        let mut keys: Vec<Key> = (0..len).map(|i| ground.key(&format!("{round} {i}"))).collect();
        let removals: Vec<Removal> = keys.iter().cloned().map(Removal::from).collect();
        ground.base.other.remove_many(&removals).await.unwrap();
        let mut told = keys_of(reader.take(len).await);
        // A batch is told in any order.
        told.sort();
        keys.sort();
        assert_eq!(told, keys);
        expected.extend(keys);
    }
    assert_eq!(reader.rest().await, []);
    assert_eq!(reader.gaps, 0);
}

pub(super) async fn two_readers_are_independent(ground: &Ground<'_>) {
    let mut one = ground.reader(&ground.log).await;
    ground.base.tier.remove(ground.key("a")).await.unwrap();
    let mut two = ground.reader(&ground.log).await;
    assert_eq!(keys_of(one.take(1).await), [ground.key("a")]);
    ground.base.tier.remove(ground.key("b")).await.unwrap();
    assert_eq!(keys_of(two.take(1).await), [ground.key("b")]);
    assert_eq!(keys_of(one.take(1).await), [ground.key("b")]);

    // A position is good on every handle.
    let mut elsewhere = ground.reader_at(&ground.other, one.at.clone());
    ground.base.tier.remove(ground.key("c")).await.unwrap();
    assert_eq!(keys_of(elsewhere.take(1).await), [ground.key("c")]);
    assert_eq!((one.gaps, two.gaps, elsewhere.gaps), (0, 0, 0));
}

pub(super) async fn a_waiting_reader_is_woken_by_another_handles_change(ground: &Ground<'_>) {
    for change in 0..5 {
        let (log, start) = (Arc::clone(&ground.log), ground.log.end().await.unwrap());
        let reading = tokio::spawn(async move { log.read(&start, 10 * PATIENCE).await.unwrap() });
        // Without this the read would mostly begin after the change.
        tokio::time::sleep(Duration::from_millis(5)).await;
        ground.base.other.remove(ground.key(&format!("k{change}"))).await.unwrap();
        let page = timeout(PATIENCE, reading).await.expect("the reader is woken").unwrap();
        assert!(!page.notices.is_empty() && !page.gap, "{page:?}");
    }
}

pub(super) async fn an_empty_wait_answers_an_empty_page(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    for wait in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(80)] {
        let page = reader.page(wait).await;
        assert!(!page.gap && page.notices.iter().all(|notice| !reader.is_own(notice)), "{page:?}");
    }
    ground.base.tier.remove(ground.key("k")).await.unwrap();
    assert_eq!(keys_of(reader.rest().await), [ground.key("k")]);
    assert_eq!(reader.gaps, 0);
}

pub(super) async fn a_dropped_read_loses_nothing(ground: &Ground<'_>) {
    let mut reader = ground.reader(&ground.log).await;
    for i in 0..20 {
        // Dropped while it waits, and later perhaps with its answer.
        let read = ground.log.read(&reader.at, Duration::from_secs(60));
        let _ = timeout(Duration::from_millis(2), read).await;
        ground.base.tier.remove(ground.key(&format!("k{i}"))).await.unwrap();
    }
    let expected: Vec<Key> = (0..20).map(|i| ground.key(&format!("k{i}"))).collect();
    assert_eq!(keys_of(reader.rest().await), expected);
    assert_eq!(reader.gaps, 0);
}

pub(super) async fn a_beat_is_told(ground: &Ground<'_>) {
    // A moment that no beat of another test has.
    ground.base.advance(Duration::from_millis(123_457));
    let at = ground.base.harness.clock().now();
    let mut reader = ground.reader(&ground.log).await;
    ground.other.beat().await.unwrap();
    timeout(PATIENCE, async {
        let own = |notice: &Notice| notice.change == Change::Beat && notice.at == at;
        while !reader.page(Duration::from_secs(1)).await.notices.iter().any(own) {}
    })
    .await
    .expect("the beat is told");
}

pub(super) async fn an_unknown_position_is_a_gap_once(ground: &Ground<'_>) {
    ground.base.tier.remove(ground.key("before")).await.unwrap();
    let known = ground.log.end().await.unwrap();
    let garbage = ["", "0", "-", "-1", "garbage", "1-1", "18446744073709551616-0", "\0", "'; --"];
    let garbage = garbage.map(str::to_owned).into_iter();
    // The first is that of a log that looks almost like this one.
    let near = [format!("9{}", known.as_str()), "9".repeat(10_000)];
    for (i, text) in garbage.chain(near).enumerate() {
        let mut reader = ground.reader_at(&ground.log, Position::new(&text));
        reader.page(Duration::ZERO).await;
        assert_eq!(reader.gaps, 1, "at {text:?}");
        let key = ground.key(&format!("after {i}"));
        ground.base.tier.remove(key.clone()).await.unwrap();
        assert!(keys_of(reader.rest().await).contains(&key), "at {text:?}");
        assert_eq!(reader.gaps, 1, "at {text:?}");
    }
}

pub(super) async fn a_trimmed_log_tells_of_a_gap(ground: &Ground<'_>) {
    let mut behind = ground.reader(&ground.log).await;
    ground.base.tier.remove(ground.key("a")).await.unwrap();
    ground.base.tier.remove(ground.key("b")).await.unwrap();
    let mut current = ground.reader(&ground.log).await;
    if !ground.harness.trim(&current.at).await {
        return;
    }
    ground.base.tier.remove(ground.key("c")).await.unwrap();
    assert_eq!(keys_of(current.rest().await), [ground.key("c")]);
    assert_eq!(current.gaps, 0, "it had read what was trimmed");
    assert!(keys_of(behind.rest().await).contains(&ground.key("c")));
    assert_eq!(behind.gaps, 1);
}

pub(super) async fn a_log_that_lost_its_data_tells_of_a_gap(ground: &Ground<'_>) {
    ground.base.tier.remove(ground.key("before")).await.unwrap();
    let mut reader = ground.reader(&ground.log).await;
    if !ground.harness.lose().await {
        return;
    }
    reader.page(Duration::ZERO).await;
    assert_eq!(reader.gaps, 1);
    let key = ground.key("after");
    ground.remove(key.clone()).await;
    assert!(keys_of(reader.rest().await).contains(&key));
    assert_eq!(reader.gaps, 1, "it is told once");
}
