//! What writes leave on the server.

use std::time::Duration;

use cache_core::{Durability, PutOutcome, Tier, TierExt};
use cache_postgres::{PostgresConfig, PostgresDurability};
use diesel_async::SimpleAsyncConnection;

use crate::support::{Place, key, mark, namespace, read};

/// Bytes of the server's log so far, written and safely on disk.
const WRITTEN: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
const SAFE: &str = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint";

#[tokio::test]
async fn what_a_caller_says_is_on_disk_when_the_call_returns() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    assert_eq!(tier.info().durability, Durability::Relaxed);
    // Often, because a commit that does not wait is on disk a moment later all the same.
    for round in 0..20 {
        let written = place.number(WRITTEN).await;
        match round % 3 {
            0 => drop(tier.put(key("k"), place.entry("v")).await.unwrap()),
            1 => tier.remove(key("k")).await.unwrap(),
            _ => tier.clear(&namespace()).await.unwrap(),
        }
        assert!(place.number(SAFE).await > written, "round {round}");
    }
}

#[tokio::test]
async fn what_a_loader_can_bring_again_is_not_waited_for() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    // Often, because something else may have the log written at any time.
    for _ in 0..50 {
        let fence = tier.get(&key("k")).await.unwrap().fence;
        let written = place.number(WRITTEN).await;
        tier.fill(key("k"), place.entry("v"), fence).await.unwrap();
        if place.number(SAFE).await <= written {
            return;
        }
    }
    panic!("each fill was on disk when it returned");
}

#[tokio::test]
async fn full_durability_waits_for_the_disk_at_each_write() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { durability: PostgresDurability::Full, ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    assert_eq!(tier.info().durability, Durability::Full);
    for round in 0..10 {
        let fence = tier.get(&key("k")).await.unwrap().fence;
        let written = place.number(WRITTEN).await;
        tier.fill(key("k"), place.entry("v"), fence).await.unwrap();
        assert!(place.number(SAFE).await > written, "round {round}");
    }
}

/// A crash may lose how far the counter of marks was, by what was given in its last moments.
#[tokio::test]
async fn each_new_connection_moves_the_marks_well_on() {
    let Some(place) = Place::from_env() else { return };
    let first = place.tier().await;
    first.remove(key("k")).await.unwrap();
    let before = mark(&first.get(&key("k")).await.unwrap().fence);
    let second = place.tier().await;
    second.remove(key("k")).await.unwrap();
    let after = mark(&second.get(&key("k")).await.unwrap().fence);
    assert!(after > before + 900_000, "{before} then {after}");
}

/// An insert takes a mark, waits for its row, and by then others have taken theirs. Its row must
/// get one that was really given, or a clear would take the same.
#[tokio::test]
async fn a_clear_is_above_an_insert_that_waited_for_its_row() {
    let Some(place) = Place::from_env() else { return };
    let name = &place.schema;
    let tier =
        place.connect(&place.config_with(&format!("application_name={name}"))).await.unwrap();
    tier.put(key("k"), place.entry("first")).await.unwrap();

    let mut other = place.connection().await;
    other.batch_execute("BEGIN; SELECT FROM entries FOR UPDATE").await.unwrap();
    let mut insert = Box::pin(tier.put(key("k"), place.entry("second")));
    assert!(futures::poll!(&mut insert).is_pending());
    place.until_a_statement_waits(name).await;
    let newer = "UPDATE entries SET fence = nextval('fence_marks'); COMMIT";
    other.batch_execute(newer).await.unwrap();
    assert_eq!(insert.await.unwrap(), PutOutcome::Stored);

    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("second"));
    tier.clear(&namespace()).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await, None);
}

/// A page gives the room of old rows back when no transaction can see them any more, so long ones
/// of other tests can spoil a round.
#[tokio::test]
async fn updates_stay_in_their_page() {
    let Some(place) = Place::from_env() else { return };
    let count = |column: &str| {
        let of_ours = "WHERE relname = 'entries' AND schemaname = current_schema()";
        format!("SELECT {column} FROM pg_stat_user_tables {of_ours}")
    };
    let (updates_of_a_round, mut before) = (39 * 50, (0, 0));
    for _ in 0..10 {
        update_often(&place).await;
        let mut after = before;
        while after.0 < before.0 + updates_of_a_round {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let updates = place.number(&count("n_tup_upd")).await;
            after = (updates, place.number(&count("n_tup_hot_upd")).await);
        }
        if (after.1 - before.1) * 10 > (after.0 - before.0) * 9 {
            return;
        }
        before = after;
    }
    panic!("(updates, updates in their page) are {before:?}");
}

async fn update_often(place: &Place) {
    let tier = place.tier().await;
    for round in 0..40 {
        for i in 0..50 {
            tier.put(key(&format!("k{i}")), place.entry(&format!("value {round}"))).await.unwrap();
        }
    }
    // A connection that ends hands its counts over.
    tier.close().await.unwrap();
}

#[tokio::test]
async fn usage_is_what_the_server_counts() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    assert_eq!(tier.usage().await.unwrap().entries, None, "nothing was counted yet");
    tier.put(key("k"), place.entry("v")).await.unwrap();
    place.execute("ANALYZE entries").await;
    let usage = tier.usage().await.unwrap();
    assert_eq!(usage.entries, Some(1));
    assert!(usage.bytes.is_some_and(|bytes| bytes >= 8_192), "{usage:?}");
}

#[tokio::test]
async fn an_inspection_tells_how_the_server_is_set_up() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let report = tier.inspect().await.unwrap();
    assert_eq!((report.schema_version, report.synchronous_commit.as_str()), (3, "off"));
    assert!(report.connections >= 1 && report.connections_max >= report.connections, "{report:?}");
    assert!(!report.is_standby && report.table_bytes > 0, "{report:?}");
}
