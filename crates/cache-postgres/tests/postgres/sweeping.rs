//! What the sweeper deletes, and what it must not.

use std::time::Duration;

use cache_core::{Namespace, PutOutcome, Span, Tier, TierExt};
use cache_postgres::PostgresConfig;

use crate::support::{Place, key, namespace, read};

const ROWS: &str = "SELECT count(*) FROM entries";

#[tokio::test]
async fn the_dead_are_deleted_and_the_living_and_the_remembered_are_kept() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let brief = place.entry_for("brief", Duration::from_secs(1));
    let long = place.entry_for("long", Duration::from_secs(600));

    let unseen = tier.get(&key("filled")).await.unwrap().fence;
    tier.fill(key("filled"), brief.clone(), unseen).await.unwrap();
    tier.put(key("inserted"), brief).await.unwrap();
    tier.put(key("living"), long.clone()).await.unwrap();
    let before_removal = tier.get(&key("removed")).await.unwrap().fence;
    tier.remove(key("removed")).await.unwrap();

    place.clock.advance(Duration::from_secs(30));
    assert_eq!(tier.sweep().await.unwrap(), 1, "the fill: it moved no fence");
    let late = tier.fill(key("removed"), long, before_removal).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded, "the removal is still known");

    place.clock.advance(Duration::from_secs(31));
    assert_eq!(tier.sweep().await.unwrap(), 2, "the expired insert and the tombstone");
    assert_eq!(place.number(ROWS).await, 1);
    assert_eq!(read(&*tier, &key("living")).await.as_deref(), Some("long"));
    assert_eq!(tier.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_clear_left_is_deleted_and_its_floor_is_kept() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let neighbour = Namespace::new("neighbour").unwrap().key("k").unwrap();
    let long = place.entry_for("v", Duration::from_secs(600));
    let before = tier.get(&key("k")).await.unwrap().fence;
    for key in [key("k"), key("l"), neighbour.clone()] {
        tier.put(key, long.clone()).await.unwrap();
    }
    tier.clear(&namespace()).await.unwrap();
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(tier.sweep().await.unwrap(), 2);
    assert!(read(&*tier, &neighbour).await.is_some());
    let late = tier.fill(key("k"), long, before).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded);
}

#[tokio::test]
async fn a_large_table_is_swept_in_small_statements() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.connect(&PostgresConfig { sweep_batch: 700, ..place.config() }).await.unwrap();
    // 20,000 dead rows of 1 kB are more than two windows of pages.
    place
        .execute(
            "INSERT INTO entries (key, namespace, fence, expires_at, retain_until, record) \
             SELECT convert_to('test:' || i, 'UTF8'), 'test', 0, \
                CASE WHEN i % 1000 = 0 THEN 99999999999999 ELSE 1 END, 0, \
                convert_to(repeat('x', 1000), 'UTF8') \
             FROM generate_series(1, 20000) AS i",
        )
        .await;
    assert_eq!(tier.sweep().await.unwrap(), 19_980);
    assert_eq!(place.number(ROWS).await, 20);
}

#[tokio::test]
async fn the_sweeper_runs_by_itself_and_once_for_all_processes() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { sweep_interval: Some(Span::millis(20)), ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    let other = place.connect(&config).await.unwrap();
    let brief = place.entry_for("v", Duration::from_secs(1));
    let unseen = tier.get(&key("k")).await.unwrap().fence;
    tier.fill(key("k"), brief.clone(), unseen.clone()).await.unwrap();
    place.clock.advance(Duration::from_secs(2));
    while place.number(ROWS).await > 0 {
        tokio::task::yield_now().await;
    }
    // By this clock no time passes, so nobody's turn comes again; at most once, where the row went in
    // a turn that was taken before the clock moved.
    let mut swept = 0;
    loop {
        tier.fill(key("k"), brief.clone(), unseen.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if place.number(ROWS).await == 1 {
            break;
        }
        swept += 1;
        assert_eq!(swept, 1, "the turn of one moment was taken more than once");
    }
    drop((tier, other));
}
